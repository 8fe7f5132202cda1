//! Lists whose length is bounded while they are read, so that a hostile body cannot grow in memory.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// At most `MAX` items.
#[derive(Clone, Debug, PartialEq)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ListVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::custom(format_args!("more than {MAX} items")));
            }
            list.push(item);
        }
        Ok(List(list))
    }
}

/// `"a"` or `["a", "b"]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strings<const MAX: usize>(pub Vec<String>);

impl<'de, const MAX: usize> Deserialize<'de> for Strings<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StringsVisitor)
    }
}

struct StringsVisitor<const MAX: usize>;

impl<'de, const MAX: usize> Visitor<'de> for StringsVisitor<MAX> {
    type Value = Strings<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string or an array of at most {MAX} strings")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Strings(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        ListVisitor::<String, MAX>(PhantomData).visit_seq(items).map(|list| Strings(list.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_string_is_a_list_of_one() {
        let strings = |json| serde_json::from_str::<Strings<2>>(json).map(|s| s.0).map_err(|e| e.to_string());
        assert_eq!(strings(r#""a""#).unwrap(), ["a"]);
        assert_eq!(strings(r#"["a","b"]"#).unwrap(), ["a", "b"]);
        assert!(strings(r#"["a","b","c"]"#).unwrap_err().starts_with("more than 2 items"));
        assert!(strings("1").unwrap_err().contains("expected a string or an array of at most 2 strings"));
    }
}
