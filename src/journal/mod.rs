//! The journal: append-only segments of [`frame`]s, the only commit.
pub mod frame;
