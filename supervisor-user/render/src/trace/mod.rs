//! Renders a trace as lines and as a tree. The module is pure.

pub mod text;
pub mod tree;
