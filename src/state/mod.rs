//! What survives a restart besides the journal: the state folder, the envelope that every stored
//! value has, the store of unit state in sled, and the disk that
//! joins them for the pipeline.

pub mod disk;
pub mod folder;
pub mod format;
pub mod store;
