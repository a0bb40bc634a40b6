//! To come.
pub mod topic;
