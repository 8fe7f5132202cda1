//! Finds stop strings in text that arrives in pieces, holding back only what could still be one.
//!
//! An Aho–Corasick automaton over bytes: its state is the longest end of the text so far that begins
//! a stop string, which is exactly what must be held back. Time is linear in the text and in the
//! stop strings, whatever their number; the caller bounds their total length.

use std::sync::Arc;

const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;

/// Stop strings compiled once per request. Empty strings are left out: they cannot be waited for.
#[derive(Debug)]
pub struct StopStrings {
    nodes: Vec<Node>,
    /// Children of the root by byte; the root is where almost every step happens.
    root: Box<[u32; 256]>,
    lengths: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    byte: u8,
    depth: u32,
    first_child: u32,
    next_sibling: u32,
    /// The longest proper end of this node's string that is also a node.
    suffix: u32,
    /// The longest stop string this node's string ends with.
    stop: u32,
}

impl StopStrings {
    pub fn new<S: AsRef<str>>(strings: &[S]) -> Self {
        let mut built = StopStrings {
            nodes: vec![Node::new(0, 0)],
            root: Box::new([ROOT; 256]),
            lengths: strings.iter().map(|string| string.as_ref().len()).collect(),
        };
        for (index, string) in strings.iter().enumerate() {
            built.insert(string.as_ref().as_bytes(), index as u32);
        }
        built.link_suffixes();
        built
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    fn insert(&mut self, string: &[u8], index: u32) {
        let mut at = ROOT;
        for byte in string {
            at = match self.child(at, *byte) {
                Some(child) => child,
                None => self.add_child(at, *byte),
            };
        }
        let node = &mut self.nodes[at as usize];
        if at != ROOT && node.stop == NONE {
            node.stop = index;
        }
    }

    fn child(&self, at: u32, byte: u8) -> Option<u32> {
        if at == ROOT {
            return Some(self.root[byte as usize]).filter(|child| *child != ROOT);
        }
        let mut child = self.nodes[at as usize].first_child;
        while child != NONE && self.nodes[child as usize].byte != byte {
            child = self.nodes[child as usize].next_sibling;
        }
        Some(child).filter(|child| *child != NONE)
    }

    fn add_child(&mut self, at: u32, byte: u8) -> u32 {
        let child = self.nodes.len() as u32;
        let mut node = Node::new(byte, self.nodes[at as usize].depth + 1);
        node.next_sibling = std::mem::replace(&mut self.nodes[at as usize].first_child, child);
        self.nodes.push(node);
        if at == ROOT {
            self.root[byte as usize] = child;
        }
        child
    }

    /// Breadth first, so that a node's suffix, being shorter, is finished before it.
    fn link_suffixes(&mut self) {
        let mut level = vec![ROOT];
        while !level.is_empty() {
            let mut next = Vec::new();
            for parent in level {
                let mut child = self.nodes[parent as usize].first_child;
                while child != NONE {
                    let Node { byte, stop, next_sibling, .. } = self.nodes[child as usize];
                    let suffix = match parent {
                        ROOT => ROOT,
                        _ => self.step(self.nodes[parent as usize].suffix, byte),
                    };
                    let inherited = self.nodes[suffix as usize].stop;
                    let node = &mut self.nodes[child as usize];
                    node.suffix = suffix;
                    node.stop = if stop == NONE { inherited } else { stop };
                    next.push(child);
                    child = next_sibling;
                }
            }
            level = next;
        }
    }

    fn step(&self, mut at: u32, byte: u8) -> u32 {
        loop {
            match self.child(at, byte) {
                Some(child) => return child,
                None if at == ROOT => return ROOT,
                None => at = self.nodes[at as usize].suffix,
            }
        }
    }
}

impl Node {
    fn new(byte: u8, depth: u32) -> Self {
        Node { byte, depth, first_child: NONE, next_sibling: NONE, suffix: ROOT, stop: NONE }
    }
}

/// What one piece of text released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopPiece {
    /// Text that is certainly before any stop string.
    pub text: String,
    /// Index of the stop string that was found; it is not part of `text`, nor is what follows it.
    pub stop: Option<usize>,
}

/// Watches one choice's text. The first stop string to end wins; of those ending together, the longest.
#[derive(Clone, Debug)]
pub struct StopText {
    stops: Arc<StopStrings>,
    state: u32,
    held: String,
    stopped: bool,
}

impl StopText {
    pub fn new(stops: Arc<StopStrings>) -> Self {
        StopText { stops, state: ROOT, held: String::new(), stopped: false }
    }

    /// After a stop string was found, everything further is swallowed.
    pub fn push(&mut self, piece: &str) -> StopPiece {
        if self.stopped {
            return StopPiece::default();
        }
        if self.stops.is_empty() {
            return StopPiece { text: piece.to_owned(), stop: None };
        }
        let before = self.held.len();
        for (offset, byte) in piece.bytes().enumerate() {
            self.state = self.stops.step(self.state, byte);
            let stop = self.stops.nodes[self.state as usize].stop;
            if stop != NONE {
                self.held.push_str(&piece[..offset + 1]);
                self.held.truncate(before + offset + 1 - self.stops.lengths[stop as usize]);
                self.stopped = true;
                return StopPiece { text: std::mem::take(&mut self.held), stop: Some(stop as usize) };
            }
        }
        self.held.push_str(piece);
        let depth = self.stops.nodes[self.state as usize].depth as usize;
        let kept = self.held.split_off(self.held.len() - depth);
        StopPiece { text: std::mem::replace(&mut self.held, kept), stop: None }
    }

    /// What was held back, once the text has ended without a stop string.
    pub fn finish(&mut self) -> String {
        self.state = ROOT;
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests;
