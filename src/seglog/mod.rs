//! Append-only log in CRC-framed segment files: under the journal and under the outbox spools.
//!
//! One writer appends numbered entries; numbers strictly increase, gaps are allowed. A folder
//! holds files `%016x.log`, named by the number of their first entry. All numbers little-endian:
//!
//! ```text
//! segment  magic [4] | format version u32 | first number u64 | crc32 of these 16 bytes u32 | entry…
//! entry    marker [4] | number u64 | length u32 | crc32 u32 | payload [length]
//! ```
//!
//! An entry's CRC covers (first number of the segment, offset in the file, number, length,
//! payload). The place is in it so that bytes which merely look like an entry (a payload that
//! contains one, blocks of a deleted file that come back after a power cut) are never taken for one.
//!
//! Invariants:
//! - Every segment but the last was synced before the next one was created. So only the last one
//!   can have a torn tail; it is cut off at open: nothing of it was ever acknowledged.
//! - Damage elsewhere is skipped up to the next marker with a valid CRC, counted and reported.
//! - A failed fsync poisons the log: the kernel may have dropped the pages, so a second fsync that
//!   succeeds would prove nothing. Only opening again (which reads what is there) goes on.
//! - A failed write is rolled back to the last whole entry; the append may be tried again.

mod error;
mod format;
mod log;
mod reader;
mod scan;
mod segment;
mod sync;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use error::LogError;
pub(crate) use error::mend;
pub use format::{ENTRY_HEADER_BYTES, MAX_ENTRY_BYTES, SEGMENT_HEADER_BYTES};
pub use log::SegmentLog;
pub use reader::Reader;
pub use sync::SyncHandle;

/// How a log is laid out. The same `magic` must be given at every open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// First bytes of every segment: says whose log it is.
    pub magic: [u8; 4],
    /// A new segment is begun when the next entry would make the current one larger than this,
    /// in bytes. A single larger entry gets a segment of its own.
    pub segment_bytes: u64,
    /// Largest payload that [`SegmentLog::append`] takes, in bytes; at most [`MAX_ENTRY_BYTES`].
    pub max_entry_bytes: usize,
}

/// An entry, as [`SegmentLog::open_visiting`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visited<'a> {
    /// Number in the name of its segment.
    pub segment: u64,
    /// Number of the entry.
    pub number: u64,
    /// What was appended.
    pub payload: &'a [u8],
}

/// One segment of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Number of its first readable entry.
    pub first: Option<u64>,
    /// Number of its last readable entry.
    pub last: Option<u64>,
    /// Size of the file.
    pub bytes: u64,
}

/// What [`SegmentLog::open`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Readable entries.
    pub entries: u64,
    /// Number of the first readable entry.
    pub first: Option<u64>,
    /// Number of the last readable entry.
    pub last: Option<u64>,
    /// Bytes cut off the end of the last segment: an append that was never acknowledged.
    pub truncated_bytes: u64,
    /// Damaged regions that were skipped. How many entries were in them cannot be known.
    pub damaged: u64,
    /// Bytes in them.
    pub damaged_bytes: u64,
    /// The first [`Opened::MAX_DAMAGES`] of them.
    pub damages: Vec<Damage>,
}

impl Opened {
    /// Most entries in [`damages`](Self::damages); the counts go on beyond.
    pub const MAX_DAMAGES: usize = 64;
}

/// A region of a segment that holds no readable entry.
///
/// Entries with numbers strictly between `after` and `before` may be missing. Where their source
/// can still produce them, [`SegmentLog::truncate_after`] `after` and append again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub path: PathBuf,
    /// Where it begins, in bytes from the file's start.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// The last readable entry before it.
    pub after: Option<u64>,
    /// The first readable entry behind it.
    pub before: Option<u64>,
}

/// Makes names created, renamed or deleted in `dir` durable.
pub(crate) fn sync_directory(dir: &Path) -> Result<(), LogError> {
    File::open(dir)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| LogError::io("sync the folder", dir, source))
}
