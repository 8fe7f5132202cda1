//! The tiny models' byte-level BPE vocabulary: three special tokens, 256 bytes, common English merges.

use serde_json::{Map, Value, json};

use crate::weights::gguf::{Metadata, Strings};

/// `<|im_start|>`, as in SmolLM2.
pub(super) const BEGIN_ID: u32 = 1;
/// `<|im_end|>`.
pub(super) const END_ID: u32 = 2;
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Best first. `Ġ` is how the byte-level alphabet writes a space.
const MERGES: [&str; 61] = [
    "Ġ t", "h e", "i n", "Ġ a", "e r", "o n", "Ġt he", "r e", "o u", "Ġ s", "a t", "Ġ w", "Ġ o", "e n",
    "i t", "i s", "o r", "Ġ b", "e d", "e s", "Ġ c", "in g", "a n", "Ġ f", "Ġ p", "a l", "Ġ m", "Ġt o",
    "Ġ in", "l l", "a r", "Ġ h", "Ġa n", "Ġan d", "Ġo f", "Ġ d", "l e", "i c", "Ġ l", "o m", "v e", "Ġ n",
    "a s", "Ġ e", "Ġ g", "u s", "Ġ y", "Ġy ou", "s t", "c t", "u t", "l o", "Ġ is", "Ġw h", "a y", "i m",
    "e t", "Ġt h", "Ġ re", "Ġ u", "Ġ it",
];

/// ChatML with the tool description of Qwen's template.
const CHAT_TEMPLATE: &str = "\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- '# Tools\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}
        {{- '\\n' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role != 'system' or not loop.first %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
";

/// All tokens by id.
pub(super) fn tokens() -> Vec<String> {
    let special = SPECIAL.into_iter().map(str::to_owned);
    let bytes = (0..=u8::MAX).map(|byte| byte_letter(byte).to_string());
    special.chain(bytes).chain(MERGES.into_iter().map(|pair| pair.replace(' ', ""))).collect()
}

/// GPT-2's alphabet: printable Latin-1 stands for itself, other bytes for letters from 256 on.
fn byte_letter(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if is_printable(byte) {
        return char::from(byte);
    }
    let place = (0..byte).filter(|&earlier| !is_printable(earlier)).count() as u32;
    char::from_u32(256 + place).expect("there are 68 such letters, all assigned")
}

/// tokenizer.json.
pub(super) fn tokenizer() -> Value {
    let added = |(id, content): (usize, &str)| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let vocab: Map<String, Value> =
        tokens().into_iter().zip(0..).map(|(token, id): (_, u32)| (token, json!(id))).collect();
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": SPECIAL.into_iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": true},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            ],
        },
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "vocab": vocab,
            "merges": MERGES.as_slice(),
        },
    })
}

/// tokenizer_config.json.
pub(super) fn tokenizer_config(context_length: usize) -> Value {
    json!({
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": SPECIAL[BEGIN_ID as usize],
        "eos_token": SPECIAL[END_ID as usize],
        "pad_token": SPECIAL[END_ID as usize],
        "unk_token": SPECIAL[0],
        "add_bos_token": false,
        "model_max_length": context_length,
        "chat_template": CHAT_TEMPLATE,
    })
}

/// The same as `tokenizer.*` keys.
pub(super) fn add_to(metadata: &mut Metadata) {
    const NORMAL: i32 = 1;
    const CONTROL: i32 = 3;
    let tokens = tokens();
    let types: Vec<i32> =
        (0..tokens.len()).map(|id| if id < SPECIAL.len() { CONTROL } else { NORMAL }).collect();
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.pre", "smollm");
    metadata.insert("tokenizer.ggml.tokens", tokens.iter().map(String::as_str).collect::<Strings>());
    metadata.insert("tokenizer.ggml.token_type", types.as_slice());
    metadata.insert("tokenizer.ggml.merges", MERGES.into_iter().collect::<Strings>());
    metadata.insert("tokenizer.ggml.bos_token_id", BEGIN_ID);
    metadata.insert("tokenizer.ggml.eos_token_id", END_ID);
    metadata.insert("tokenizer.ggml.padding_token_id", END_ID);
    metadata.insert("tokenizer.ggml.unknown_token_id", 0u32);
    metadata.insert("tokenizer.ggml.add_bos_token", false);
    metadata.insert("tokenizer.ggml.add_space_prefix", false);
    metadata.insert("tokenizer.chat_template", CHAT_TEMPLATE);
}
