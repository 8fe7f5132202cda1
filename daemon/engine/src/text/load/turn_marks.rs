//! Tokens that templates write between turns although the model's files do not call them special.
//!
//! DeepSeek's distilled models have `<｜User｜>` so, GGUF files of its coder `<|EOT|>`, tuned models often the ChatML
//! pair. What users write must not become one. `<think>` or `<tool_call>` are none: templates look for them in messages.
//! Names do not tell which tokens between bars are marks: all of them are text in messages, `<|fim_prefix|>` and the like
//! too. Who wants these writes prompts by `/v1/completions`.

use crate::request::TokenId;
use crate::text::tokenize::Tokenizer;

/// Their texts. `frame`: the tokens that begin or end a text of this model.
pub(super) fn of(tokenizer: &Tokenizer, frame: &[TokenId]) -> impl Iterator<Item = String> {
    let ordinary = tokenizer.ordinary_added();
    let marks = ordinary.filter(move |(id, text)| frame.contains(id) || is_between_bars(text));
    marks.map(|(_, text)| text.to_owned())
}

/// `<|im_start|>`, or with DeepSeek's bars.
fn is_between_bars(text: &str) -> bool {
    [("<|", "|>"), ("<｜", "｜>")].iter().any(|(begin, end)| {
        let inner = text.strip_prefix(*begin).and_then(|rest| rest.strip_suffix(*end));
        inner.is_some_and(|inner| !inner.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_tell_marks_from_words() {
        for (text, expected) in [
            ("<|im_start|>", true),
            ("<｜Assistant｜>", true),
            ("<|>", false),
            ("<||>", false),
            ("<think>", false),
            ("<tool_call>", false),
            ("        ", false),
        ] {
            assert_eq!(is_between_bars(text), expected, "{text}");
        }
    }
}
