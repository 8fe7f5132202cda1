//! What is wrong with a configuration, in words a person can act on: place, key, value, what is allowed.

use std::fmt;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File {
        name: Arc<str>,
        /// From 1; `None` is the file as a whole.
        line: Option<usize>,
    },
    Flag(String),
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { name, line: Some(line) } => write!(formatter, "{name}:{line}"),
            Place::File { name, line: None } => formatter.write_str(name),
            Place::Flag(flag) => formatter.write_str(flag),
            Place::Default => formatter.write_str("default"),
        }
    }
}

/// A key that breaks a rule, before it is known where it was written. The message continues `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// As in `models[0].device.cpu`.
    pub key: String,
    pub message: String,
}

impl Violation {
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Violation { key: key.into(), message: message.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    /// Empty for a file that is not TOML.
    pub key: String,
    /// As it was written.
    pub value: Option<String>,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place != Place::Default {
            write!(formatter, "{}: ", self.place)?;
        }
        match (self.key.as_str(), &self.value) {
            ("", _) => formatter.write_str(&self.message),
            (key, Some(value)) => write!(formatter, "{key} = {value} {}", self.message),
            (key, None) => write!(formatter, "{key} {}", self.message),
        }
    }
}

/// Everything that is wrong with a configuration, one problem a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}
