<<<<<<< HEAD
//! Receivers: where readings come in and acknowledgements go out.
pub mod mqtt;
pub mod router;
=======
//! To come.
>>>>>>> 6584408 (Read JSON, CBOR, CSV and text payloads, topics and recorded files)
pub mod topic;
