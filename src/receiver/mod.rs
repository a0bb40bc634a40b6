//! Receivers: where readings come in and acknowledgements go out.
pub mod mqtt;
pub mod router;
pub mod topic;
