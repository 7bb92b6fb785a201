//! A trace, as lines and as a tree. Pure.

pub mod text;
pub mod tree;
