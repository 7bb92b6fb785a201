//! Findings of other hosts as text. Pure, and it trusts none of what those hosts have written.

pub(crate) mod list;
pub(crate) mod story;
