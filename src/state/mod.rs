//! What survives a restart besides the journal: the state folder, the envelope that every stored
//! value has, and the store of unit state in sled.

pub mod folder;
pub mod format;
pub mod store;
