//! Key names in the two cases: `paged_attn.memory_mb` in TOML, `pagedAttn.memoryMb` in Kubernetes objects.

/// Snake case to camel case; also for whole paths, since dots and brackets stay.
pub fn to_camel(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut is_word_start = false;
    for character in name.chars() {
        match character {
            '_' => is_word_start = true,
            character if is_word_start => {
                camel.push(character.to_ascii_uppercase());
                is_word_start = false;
            }
            character => camel.push(character),
        }
    }
    camel
}

/// Camel case to snake case. `None` for what `to_camel` never gives, such as a name in snake case: the API server
/// would drop it as unknown.
pub fn to_snake(name: &str) -> Option<String> {
    let mut snake = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    (to_camel(&snake) == name).then_some(snake)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::keys;

    #[test]
    fn every_key_comes_back() {
        for key in keys() {
            let camel = to_camel(&key.path);
            assert!(!camel.contains('_'), "{camel}");
            assert_eq!(to_snake(&camel).as_deref(), Some(key.path.as_str()));
        }
    }

    #[test]
    fn names_in_snake_case_are_no_names_of_objects() {
        assert_eq!(to_snake("memory_mb"), None);
        assert_eq!(to_snake("memoryMb").as_deref(), Some("memory_mb"));
        assert_eq!(to_camel("models[0].device.hf_cache"), "models[0].device.hfCache");
    }
}
