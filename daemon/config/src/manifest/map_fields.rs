//! The fields of a YAML map as they are read: no name twice, but for those that `<<` gives it.

use std::collections::BTreeMap;

use super::node::Node;

/// The key whose value gives fields to its map.
pub(super) const MERGE: &str = "<<";

/// In the order of the file.
pub(super) type Fields = Vec<(String, Node)>;

#[derive(Debug, Default)]
pub(super) struct MapFields {
    pub(super) fields: Fields,
    origins: BTreeMap<String, Origin>,
    is_merged: bool,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    Own,
    /// At this index of the fields.
    Merged(usize),
}

impl MapFields {
    /// A field of the map's own, in place of one that `<<` gave.
    ///
    /// # Errors
    /// It is there.
    pub(super) fn add(&mut self, name: String, node: Node) -> Result<(), String> {
        match self.origins.insert(name.clone(), Origin::Own) {
            Some(Origin::Own) => return Err(format!("has the key {name:?} twice")),
            Some(Origin::Merged(index)) => self.fields[index].1 = node,
            None => self.fields.push((name, node)),
        }
        Ok(())
    }

    /// The fields of these maps that are not there yet.
    ///
    /// # Errors
    /// `<<` comes twice, or after a key that it gives too: kubectl takes what comes last, and YAML says otherwise.
    pub(super) fn merge(&mut self, maps: Vec<Fields>) -> Result<(), String> {
        if std::mem::replace(&mut self.is_merged, true) {
            return Err(format!("has the key {MERGE:?} twice"));
        }
        for (name, node) in maps.into_iter().flatten() {
            match self.origins.get(&name) {
                Some(Origin::Own) => {
                    return Err(format!(
                        "has the key {name:?} before {MERGE}, which gives it too: write {MERGE} first"
                    ));
                }
                Some(Origin::Merged(_)) => {}
                None => {
                    self.origins.insert(name.clone(), Origin::Merged(self.fields.len()));
                    self.fields.push((name, node));
                }
            }
        }
        Ok(())
    }
}
