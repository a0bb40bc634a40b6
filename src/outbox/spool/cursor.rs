//! How far a forwarder has come: one small file beside its spool, replaced atomically.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::SpoolError;
use crate::state::folder::write_atomically;
use crate::state::format::{self, Kind};

/// Format version of the cursor file.
const VERSION: u8 = 1;

/// A place between two records of a spool: everything before it is included.
///
/// Record `record` of the entry of batch `batch` is the first one behind it. So `(b, 0)` lies
/// before the entry of `b`, `(b + 1, 0)` behind it, whatever it holds. The default is the start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Number of a batch.
    pub batch: u64,
    /// Records of that batch's entry that lie before.
    pub record: u32,
}

impl Position {
    /// Behind the whole entry of `batch`.
    pub fn behind(batch: u64) -> Position {
        Position { batch: batch.saturating_add(1), record: 0 }
    }

    /// The last batch of which some record lies before.
    pub(super) fn last_touched(self) -> Option<u64> {
        if self.record > 0 { Some(self.batch) } else { self.batch.checked_sub(1) }
    }
}

/// Records that went without being sent, because the spool was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// How many records.
    pub records: u64,
    /// How many readings were in them.
    pub readings: u64,
    /// First batch that lost records.
    pub first_batch: u64,
    /// Last batch that lost records; batches in between need not have lost any.
    pub last_batch: u64,
}

impl Tombstone {
    /// Both together.
    pub fn merge(self, other: Tombstone) -> Tombstone {
        Tombstone {
            records: self.records.saturating_add(other.records),
            readings: self.readings.saturating_add(other.readings),
            first_batch: self.first_batch.min(other.first_batch),
            last_batch: self.last_batch.max(other.last_batch),
        }
    }
}

/// A message that may have been sent: it is sent again as it is until acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Its number.
    pub sequence: u64,
    /// Where its records begin.
    pub from: Position,
    /// Where they end.
    pub to: Position,
    /// What it reports as lost.
    pub tombstone: Option<Tombstone>,
}

/// A range of batches, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub first: u64,
    pub last: u64,
}

/// State of a forwarder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The gateway's instance id that the sequence belongs to; empty in a new cursor.
    pub instance: String,
    /// Number of the next message to seal.
    pub next_sequence: u64,
    /// Everything before it has been acknowledged by upstream.
    pub acknowledged: Position,
    /// Messages sealed and not acknowledged, by sequence; at most [`Cursor::MAX_SEALED`].
    pub sealed: Vec<Sealed>,
    /// Lost, and not yet in a sealed message.
    pub tombstone: Option<Tombstone>,
    /// The drop that was last decided: its segments may still have to be deleted.
    pub(super) dropping: Option<Span>,
    /// Last batch that is accounted for though it may not be in the spool: never append it again.
    pub(super) through: Option<u64>,
}

impl Cursor {
    /// Most sealed messages.
    pub const MAX_SEALED: usize = 1_000;

    /// End of what is sealed.
    pub fn sealed_to(&self) -> Position {
        self.sealed.last().map_or(self.acknowledged, |sealed| sealed.to.max(self.acknowledged))
    }

    /// Last batch of which nothing needs to be appended again.
    pub(super) fn floor(&self) -> Option<u64> {
        self.through.max(self.acknowledged.batch.checked_sub(1))
    }

    /// What is wrong with `self` as the successor of `old`.
    pub(super) fn fault(&self, old: &Cursor) -> Option<&'static str> {
        if self.acknowledged < old.acknowledged {
            return Some("acknowledged goes back");
        }
        if self.instance == old.instance && self.next_sequence < old.next_sequence {
            return Some("next_sequence goes back");
        }
        if self.sealed.len() > Cursor::MAX_SEALED {
            return Some("too many sealed messages");
        }
        let mut position = self.acknowledged;
        let mut sequence = None;
        for sealed in &self.sealed {
            if sealed.from < position || sealed.to < sealed.from {
                return Some("sealed messages overlap");
            }
            if sequence >= Some(sealed.sequence) || sealed.sequence >= self.next_sequence {
                return Some("sealed sequences are not in order");
            }
            position = sealed.to;
            sequence = Some(sealed.sequence);
        }
        None
    }

    /// Reads the file; `Ok(None)` when there is none. The inner error says that it is damaged.
    pub(super) fn load(path: &Path) -> Result<Result<Option<Cursor>, String>, SpoolError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
            Err(source) => return Err(SpoolError::io("read", path, source)),
        };
        match format::decode(Kind::CURSOR, VERSION, &bytes) {
            Ok((_, cursor)) => Ok(Ok(Some(cursor))),
            Err(error @ format::FormatError::Version { .. }) => {
                Err(SpoolError::Cursor { path: path.to_owned(), why: error.to_string() })
            }
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Replaces the file durably.
    pub(super) fn store(&self, path: &Path) -> Result<(), SpoolError> {
        let batch = self.acknowledged.batch;
        let bytes = format::encode(Kind::CURSOR, VERSION, batch, self).map_err(|error| {
            SpoolError::Cursor { path: path.to_owned(), why: error.to_string() }
        })?;
        Ok(write_atomically(path, &bytes)?)
    }
}
