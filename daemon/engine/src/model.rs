//! What a model is: its shape as data, and which tensor plays which role.

pub mod decoder;
pub mod families;
pub mod roles;
pub mod spec;
