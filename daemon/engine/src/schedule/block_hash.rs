//! Names of full blocks: a salted hash chain over their tokens and all tokens before them.
//!
//! SHA-256 cut to 128 bits: two different prefixes never share a block by accident or by design.

use sha2::{Digest, Sha256};

use crate::request::TokenId;

/// Names the content of one full block: the salt and every token from the start of the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BlockHash(u128);

impl BlockHash {
    /// The parent of a sequence's first block.
    pub(super) fn root(salt: u64) -> Self {
        digest(Sha256::new_with_prefix(b"ostro prefix v1").chain_update(salt.to_le_bytes()))
    }

    /// The block that follows `self` and holds `tokens`.
    pub(super) fn child(self, tokens: &[TokenId]) -> Self {
        let mut hasher = Sha256::new_with_prefix(self.0.to_le_bytes());
        for token in tokens {
            hasher.update(token.to_le_bytes());
        }
        digest(hasher)
    }
}

fn digest(hasher: Sha256) -> BlockHash {
    let bytes = hasher.finalize();
    let mut half = [0u8; 16];
    half.copy_from_slice(&bytes[..16]);
    BlockHash(u128::from_le_bytes(half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salt_tokens_and_ancestors_all_matter() {
        let chain = |salt, blocks: &[&[u32]]| blocks.iter().fold(BlockHash::root(salt), |h, b| h.child(b));
        let hash = chain(1, &[&[1, 2], &[3, 4]]);
        assert_eq!(hash, chain(1, &[&[1, 2], &[3, 4]]));
        for other in [
            chain(2, &[&[1, 2], &[3, 4]]),
            chain(1, &[&[2, 1], &[3, 4]]),
            chain(1, &[&[1, 2], &[3, 5]]),
            chain(1, &[&[3, 4]]),
            chain(1, &[&[1, 2, 3, 4]]),
        ] {
            assert_ne!(hash, other);
        }
    }
}
