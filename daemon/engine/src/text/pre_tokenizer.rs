//! How byte-level BPE vocabularies cut a text into words before merging.
//!
//! A GGUF file only names the scheme (`tokenizer.ggml.pre`). The patterns are those of the models'
//! own tokenizer.json, written for the same regular expression library. Schemes are checked against
//! golden tokenisations (`tests/vocabularies.rs`); names not listed here are refused.

use tokenizers::normalizers::{NFC, NFKC, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::vocabulary::VocabularyError;

/// How one family of models prepares a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scheme {
    /// Applied in turn: each cuts the pieces of the one before into matches and what is between.
    patterns: &'static [&'static str],
    normal_form: NormalForm,
    /// A word that is a token stays whole, even where no merges lead to it.
    pub ignore_merges: bool,
    /// Whether texts begin with BOS when the file does not say.
    pub add_bos: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum NormalForm {
    AsIs,
    Nfc,
    Nfkc,
}

pub(super) const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";

const DEEPSEEK_LLM: &[&str] = &[
    r"[\r\n]",
    r"\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+",
    r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+",
    r"\s+$",
    r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+",
    r"\p{N}+",
];
const DEEPSEEK_CODER: &[&str] = &[
    r"[\r\n]",
    r"\s?\p{L}+",
    r"\s?\p{P}+",
    r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+",
    r"\p{N}",
];
const DEEPSEEK_V3: &[&str] = &[
    r"\p{N}{1,3}",
    r"[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];
const FALCON: &[&str] = &[r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, r"[0-9][0-9][0-9]"];
const DEFAULT: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"];

const fn scheme(patterns: &'static [&'static str]) -> Scheme {
    Scheme { patterns, normal_form: NormalForm::AsIs, ignore_merges: false, add_bos: false }
}

/// The scheme of that name. Files older than the key have none and get `default`.
pub fn scheme_named(name: &str) -> Result<Scheme, VocabularyError> {
    let scheme = match name {
        "default" => scheme(DEFAULT),
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "mellum" | "exaone4" | "gigachat" => {
            scheme(&[GPT_2])
        }
        "smollm" | "starcoder" | "refact" | "codeshell" | "minerva-7b" => scheme(&[DIGIT, GPT_2]),
        "command-r" => Scheme { normal_form: NormalForm::Nfc, ..scheme(&[DIGIT, GPT_2]) },
        "exaone" => Scheme { normal_form: NormalForm::Nfkc, ..scheme(&[DIGIT, GPT_2]) },
        "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" | "midm-2.0" | "lfm2" => {
            Scheme { ignore_merges: true, add_bos: true, ..scheme(&[LLAMA_3]) }
        }
        "dbrx" | "smaug-bpe" | "chatglm-bpe" => scheme(&[LLAMA_3]),
        "glm4" => Scheme { ignore_merges: true, ..scheme(&[LLAMA_3]) },
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "megrez" | "hunyuan" | "grok-2" => {
            Scheme { normal_form: NormalForm::Nfc, ..scheme(&[QWEN_2]) }
        }
        "qwen35" => scheme(&[QWEN_3_5]),
        "tekken" => Scheme { ignore_merges: true, add_bos: true, ..scheme(&[TEKKEN]) },
        "gpt-4o" | "llama4" | "kanana2" => scheme(&[GPT_4O]),
        "deepseek-llm" => scheme(DEEPSEEK_LLM),
        "deepseek-coder" => scheme(DEEPSEEK_CODER),
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" => scheme(DEEPSEEK_V3),
        "falcon" => scheme(FALCON),
        other => return Err(VocabularyError::UnknownPreTokenizer(other.to_owned())),
    };
    Ok(scheme)
}

impl Scheme {
    pub fn normalizer(&self) -> Option<NormalizerWrapper> {
        match self.normal_form {
            NormalForm::AsIs => None,
            NormalForm::Nfc => Some(NFC.into()),
            NormalForm::Nfkc => Some(NFKC.into()),
        }
    }

    /// Cuts, then spells the pieces in GPT-2's byte alphabet.
    pub fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper, VocabularyError> {
        let mut steps: Vec<PreTokenizerWrapper> = Vec::with_capacity(self.patterns.len() + 1);
        for pattern in self.patterns {
            let pattern = SplitPattern::Regex((*pattern).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            steps.push(split.map_err(VocabularyError::build)?.into());
        }
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falcon3_cuts_as_llama_3_does() {
        assert_eq!(scheme_named("falcon3").unwrap(), scheme_named("llama-bpe").unwrap());
    }
}
