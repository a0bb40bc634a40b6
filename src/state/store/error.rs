//! What can go wrong with the store.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::seglog;
use crate::state::folder::FolderError;

/// Why a store operation failed. `Display` says what, where and how to mend.
#[derive(Debug)]
pub enum StoreError {
    /// An operating-system call failed.
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of the state folder could not be written or asked for.
    Folder(FolderError),
    /// Another process holds sled's lock.
    Locked {
        /// The store's folder.
        path: PathBuf,
    },
    /// Too little space to be sure that the commit fits; nothing was written.
    Full {
        /// The store's folder.
        path: PathBuf,
        /// Free, in bytes.
        free: u64,
        /// Needed, in bytes.
        needed: u64,
    },
    /// A value that does not fit; nothing was written.
    TooLarge {
        /// What.
        which: String,
        /// How much too large.
        why: String,
    },
    /// The same unit twice in one commit; nothing was written.
    Duplicate(u32),
    /// sled says, or panicked saying, that its files are not sound.
    Damaged {
        /// The store's folder.
        path: PathBuf,
        /// What sled said.
        what: String,
    },
    /// An earlier failure left it unknown what is on disk; open the store again.
    Poisoned {
        /// The store's folder.
        path: PathBuf,
        /// The earlier failure.
        cause: String,
    },
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { action, path: path.to_owned(), source }
    }

    /// Sorts sled's errors into those of the system, which leave the files sound, and damage.
    pub(super) fn sled(action: &'static str, path: &Path, error: sled::Error) -> StoreError {
        match error {
            // sled makes up its own I/O errors for damage; those have neither a code nor a kind
            // of the system's.
            sled::Error::Io(source) if source.raw_os_error().is_some() || is_systems(&source) => {
                StoreError::io(action, path, source)
            }
            other => StoreError::Damaged { path: path.to_owned(), what: other.to_string() },
        }
    }

    pub(super) fn panicked(path: &Path, panic: &(dyn Any + Send)) -> StoreError {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".to_owned());
        StoreError::Damaged { path: path.to_owned(), what: format!("sled panicked: {text}") }
    }

    /// True when space is lacking: worth another try (of a store that is not poisoned) later.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Full { .. } => true,
            StoreError::Folder(error) => error.is_full(),
            StoreError::Io { source, .. } => is_full(source),
            _ => false,
        }
    }
}

fn is_full(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn is_systems(source: &io::Error) -> bool {
    is_full(source)
        || matches!(
            source.kind(),
            io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::OutOfMemory
                | io::ErrorKind::NotFound
        )
}

impl From<FolderError> for StoreError {
    fn from(error: FolderError) -> StoreError {
        StoreError::Folder(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Io { action, path, source } => {
                let mend = seglog::mend(source);
                write!(f, "{}: cannot {action} it: {source}{mend}", path.display())
            }
            StoreError::Folder(error) => error.fmt(f),
            StoreError::Locked { path } => {
                write!(f, "{}: in use by another process; stop it", path.display())
            }
            StoreError::Full { path, free, needed } => write!(
                f,
                "{}: {free} bytes are free, a checkpoint needs {needed}; free space on this file system",
                path.display()
            ),
            StoreError::TooLarge { which, why } => {
                write!(f, "{which} cannot be stored: {why}; lower the limits that it grows with")
            }
            StoreError::Duplicate(unit) => write!(f, "unit {unit} is twice in one commit"),
            StoreError::Damaged { path, what } => {
                write!(
                    f,
                    "{}: damaged: {what}; restart weir, it recovers by itself",
                    path.display()
                )
            }
            StoreError::Poisoned { path, cause } => write!(
                f,
                "{}: not usable after an earlier failure ({cause}); restart weir",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StoreError::Io { source, .. } => Some(source),
            StoreError::Folder(error) => Some(error),
            _ => None,
        }
    }
}
