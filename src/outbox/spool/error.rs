//! What can go wrong with a spool.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::seglog::LogError;
use crate::state::folder::FolderError;

/// Why a spool operation failed. `Display` says what, where and how to mend.
#[derive(Debug)]
pub enum SpoolError {
    /// The segments.
    Log(LogError),
    /// The cursor's file.
    Folder(FolderError),
    /// The cursor cannot be used or stored.
    Cursor {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// An entry of a format that this program does not know.
    Entry {
        /// The spool's folder.
        path: PathBuf,
        /// The batch.
        batch: u64,
    },
}

impl SpoolError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> SpoolError {
        SpoolError::Folder(FolderError::Io { action, path: path.to_owned(), source })
    }

    /// True when the disk (or the quota) is full: worth another try once space has returned.
    pub fn is_full(&self) -> bool {
        match self {
            SpoolError::Log(error) => error.is_full(),
            SpoolError::Folder(error) => error.is_full(),
            SpoolError::Cursor { .. } | SpoolError::Entry { .. } => false,
        }
    }
}

impl From<LogError> for SpoolError {
    fn from(error: LogError) -> SpoolError {
        SpoolError::Log(error)
    }
}

impl From<FolderError> for SpoolError {
    fn from(error: FolderError) -> SpoolError {
        SpoolError::Folder(error)
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Log(error) => error.fmt(f),
            SpoolError::Folder(error) => error.fmt(f),
            SpoolError::Cursor { path, why } => write!(f, "{}: {why}", path.display()),
            SpoolError::Entry { path, batch } => write!(
                f,
                "{}: the entry of batch {batch} has an unknown format; install the weir that wrote it or a later one",
                path.display()
            ),
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SpoolError::Log(error) => Some(error),
            SpoolError::Folder(error) => Some(error),
            _ => None,
        }
    }
}
