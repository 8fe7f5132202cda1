//! Prompts that no cache has seen, of about as many tokens as asked.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Each is one token, with the space before it, in most vocabularies.
const WORDS: [&str; 64] = [
    "the", "of", "and", "to", "in", "is", "was", "for", "on", "that", "with", "as", "by", "at", "from",
    "his", "her", "they", "have", "this", "not", "but", "had", "are", "which", "one", "you", "were", "all",
    "there", "would", "their", "we", "him", "been", "has", "when", "who", "will", "more", "no", "if", "out",
    "so", "said", "what", "up", "its", "about", "into", "than", "them", "can", "only", "other", "new",
    "some", "time", "could", "these", "two", "may", "then", "first",
];

#[derive(Debug)]
pub(super) struct Prompts {
    random: ChaCha8Rng,
    /// As the server counts: tokens = overhead + words * tokens_per_word.
    overhead: f64,
    tokens_per_word: f64,
}

impl Prompts {
    pub(super) fn new(seed: u64) -> Prompts {
        Prompts { random: ChaCha8Rng::seed_from_u64(seed), overhead: 0.0, tokens_per_word: 1.0 }
    }

    /// Learns from two prompts of so many words how the server counts.
    pub(super) fn calibrate(&mut self, few: (u32, u32), many: (u32, u32)) {
        let ((few_words, few_tokens), (many_words, many_tokens)) = (few, many);
        if many_words <= few_words || many_tokens <= few_tokens {
            return;
        }
        let tokens_per_word = f64::from(many_tokens - few_tokens) / f64::from(many_words - few_words);
        // Of a server that does not count; prompts would be as long as it likes.
        if !(0.25..=16.0).contains(&tokens_per_word) {
            return;
        }
        self.tokens_per_word = tokens_per_word;
        self.overhead = (f64::from(few_tokens) - f64::from(few_words) * self.tokens_per_word).max(0.0);
    }

    /// About `tokens` tokens with the chat template around it, and at least a word.
    pub(super) fn unique(&mut self, tokens: u32) -> String {
        let words = (f64::from(tokens) - self.overhead) / self.tokens_per_word;
        self.words(words.round().max(1.0) as u32)
    }

    /// Random from the first word on, so that prompts share no prefix worth caching.
    pub(super) fn words(&mut self, count: u32) -> String {
        let mut word = || WORDS[self.random.next_u32() as usize % WORDS.len()];
        let words: Vec<&str> = (0..count).map(|_| word()).collect();
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_have_the_length_that_the_server_counts() {
        let mut prompts = Prompts::new(1);
        let words = |prompt: &str| prompt.split(' ').count();
        assert_eq!(words(&prompts.unique(218)), 218);
        prompts.calibrate((10, 45), (50, 105));
        assert_eq!(words(&prompts.unique(218)), 125, "30 tokens of template, 1.5 a word");
        assert_eq!(words(&prompts.unique(3)), 1);
        prompts.calibrate((10, 45), (50, 45));
        assert_eq!(words(&prompts.unique(218)), 125, "a server that counts nothing teaches nothing");
    }

    #[test]
    fn a_seed_repeats_its_prompts_and_no_others() {
        let of = |seed| Prompts::new(seed).unique(16);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        let mut prompts = Prompts::new(1);
        assert_ne!(prompts.unique(16), prompts.unique(16));
    }
}
