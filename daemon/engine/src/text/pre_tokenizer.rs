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

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_3_5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";

const DEEPSEEK_LLM: &[&str] = &[
    r"[\r\n]",
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
    r"\p{N}+",
];
const DEEPSEEK_CODER: &[&str] = &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", r"\p{N}"];
const DEEPSEEK_V3: &[&str] = &[
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
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
        "llama-bpe" | "llama3" | "llama-v3" | "pixtral" | "midm-2.0" | "lfm2" => {
            Scheme { ignore_merges: true, add_bos: true, ..scheme(&[LLAMA_3]) }
        }
        "dbrx" | "smaug-bpe" | "chatglm-bpe" => scheme(&[LLAMA_3]),
        "glm4" => Scheme { ignore_merges: true, ..scheme(&[LLAMA_3]) },
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "megrez" | "hunyuan" | "grok-2" => {
            Scheme { normal_form: NormalForm::Nfc, ..scheme(&[QWEN_2]) }
        }
        "qwen35" => Scheme { normal_form: NormalForm::Nfc, ..scheme(&[QWEN_3_5]) },
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
