//! What Ostro's programs that listen on a port share: descriptors for their connections, words about what goes wrong with
//! them, and the end of those that nobody reads.
#![forbid(unsafe_code)]

mod any;
mod descriptors;
mod seldom;
mod unread;

pub use any::without_ipv6;
pub use descriptors::raise_descriptors;
pub use seldom::Seldom;
pub use unread::end_when_unread;
