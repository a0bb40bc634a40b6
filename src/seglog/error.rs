//! What can go wrong with a segment log.

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Why a log operation failed. `Display` says what, where and how to mend.
#[derive(Debug)]
pub enum LogError {
    /// An operating-system call failed. After a failed append the log is as before it.
    Io {
        /// What was being done: `append to`, `sync` …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is whole but belongs to something else.
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: [u8; 4],
        /// The ones this log has.
        expected: [u8; 4],
    },
    /// The file was written by a newer weir.
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format version.
        found: u32,
    },
    /// The payload is larger than `max_entry_bytes`. Nothing was written.
    TooLarge {
        /// The log's folder.
        path: PathBuf,
        /// Length of the payload.
        bytes: usize,
        /// Largest allowed.
        max: usize,
    },
    /// The number is not above the last one. Nothing was written.
    NotIncreasing {
        /// The log's folder.
        path: PathBuf,
        /// The number given.
        number: u64,
        /// The last one in the log.
        last: u64,
    },
    /// An earlier failure left it unknown what is on disk; open the log again.
    Poisoned {
        /// The log's folder.
        path: PathBuf,
        /// The earlier failure.
        cause: String,
    },
}

impl LogError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> LogError {
        LogError::Io { action, path: path.to_owned(), source }
    }

    /// True when the disk (or the quota) is full: worth another try once space has returned.
    pub fn is_full(&self) -> bool {
        matches!(self, LogError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// How an operator mends an I/O failure; empty when nothing general can be said.
pub(crate) fn mend(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space on this file system"
        }
        io::ErrorKind::PermissionDenied => "; give weir's user read and write permission there",
        io::ErrorKind::ReadOnlyFilesystem => {
            "; remount it writable (a card that fails often turns read-only)"
        }
        _ => "",
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Io { action, path, source } => {
                write!(f, "{}: cannot {action} it: {source}{}", path.display(), mend(source))
            }
            LogError::Foreign { path, found, expected } => write!(
                f,
                "{}: begins with \"{}\", expected \"{}\"; move this file away",
                path.display(),
                found.escape_ascii(),
                expected.escape_ascii()
            ),
            LogError::Newer { path, found } => write!(
                f,
                "{}: format version {found} is newer than {}; install the weir that wrote it or a later one",
                path.display(),
                super::format::VERSION
            ),
            LogError::TooLarge { path, bytes, max } => write!(
                f,
                "{}: an entry of {bytes} bytes exceeds the limit of {max}; make batches smaller",
                path.display()
            ),
            LogError::NotIncreasing { path, number, last } => {
                write!(f, "{}: entry {number} does not follow entry {last}", path.display())
            }
            LogError::Poisoned { path, cause } => write!(
                f,
                "{}: not usable after an earlier failure ({cause}); restart weir",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LogError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
