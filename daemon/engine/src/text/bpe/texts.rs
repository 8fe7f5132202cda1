//! The texts of a vocabulary's tokens, found by text and by number.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Merge;
use crate::request::TokenId;

#[derive(Debug, Default)]
pub(in crate::text) struct Texts {
    /// One behind the other, in ascending order of their numbers.
    all: String,
    /// Where each ends.
    ends: Vec<u32>,
    /// The number of each.
    ids: Vec<TokenId>,
    /// Places of texts, by text.
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Texts {
    /// The first of equal texts wins. `tokens` ascend by number.
    pub(in crate::text) fn new<'a>(tokens: impl IntoIterator<Item = (TokenId, &'a str)>) -> Self {
        let mut texts = Texts::default();
        for (id, text) in tokens {
            if texts.id(text).is_none() {
                texts.push(id, text);
            }
        }
        debug_assert!(texts.ids.is_sorted(), "texts ascend by number");
        texts.all.shrink_to_fit();
        texts.ends.shrink_to_fit();
        texts.ids.shrink_to_fit();
        texts
    }

    fn push(&mut self, id: TokenId, text: &str) {
        let place = self.ids.len() as u32;
        self.all.push_str(text);
        self.ends.push(u32::try_from(self.all.len()).expect("files of vocabularies have at most 256 MiB"));
        self.ids.push(id);
        let Texts { all, ends, places, hasher, .. } = self;
        let hash = |place: &u32| hasher.hash_one(text_at(all, ends, *place));
        places.insert_unique(hash(&place), place, hash);
    }

    pub(in crate::text) fn id(&self, text: &str) -> Option<TokenId> {
        let is_it = |place: &u32| text_at(&self.all, &self.ends, *place) == text;
        let place = self.places.find(self.hasher.hash_one(text), is_it)?;
        Some(self.ids[*place as usize])
    }

    pub(in crate::text) fn text(&self, id: TokenId) -> Option<&str> {
        let place = self.ids.binary_search(&id).ok()?;
        Some(text_at(&self.all, &self.ends, place as u32))
    }

    /// None where one of the two, or their concatenation, is no token.
    pub(in crate::text) fn merge(&self, left: &str, right: &str) -> Option<Merge> {
        let whole = self.id(&[left, right].concat())?;
        Some(Merge { left: self.id(left)?, right: self.id(right)?, whole })
    }

    pub(in crate::text) fn iter(&self) -> impl Iterator<Item = (TokenId, &str)> {
        let text = |place| text_at(&self.all, &self.ends, place as u32);
        self.ids.iter().enumerate().map(move |(place, id)| (*id, text(place)))
    }

    pub(in crate::text) fn len(&self) -> usize {
        self.ids.len()
    }
}

fn text_at<'a>(all: &'a str, ends: &[u32], place: u32) -> &'a str {
    let place = place as usize;
    let begin = place.checked_sub(1).map_or(0, |before| ends[before]);
    &all[begin as usize..ends[place] as usize]
}
