//! The pipeline's disk: journal, outbox spools and checkpoint store of one state folder.
//!
//! Edge. The journal is written and synced by the pipeline's thread: it waits for that anyway.
//! Checkpoints run on a thread of their own, in an order that exactness rests on: spools synced,
//! then chunks, then meta. A failure of any of them is final: the process ends and recovers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::folder::{FolderError, Identity, StateFolder, free_bytes};
use super::format::{self, FormatError};
use super::store::{Chunk, Commit, Store, StoreError};
use crate::engine::UnitChunk;
use crate::outbox::Shared;
use crate::outbox::spool::{Appended, CursorFound, EntryHeader, Spool, SpoolError};
use crate::pipeline::{Checkpoint, OutboxEntry, Storage, Stored, StoredMeta};
use crate::reading::SeriesId;
use crate::seglog::{self, LogError, SegmentLog, SyncHandle};

const JOURNAL_MAGIC: [u8; 4] = *b"wJRN";
/// Largest frame.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Why the disk cannot go on.
#[derive(Debug)]
pub enum DiskError {
    /// The folder.
    Folder(FolderError),
    /// The journal.
    Journal(LogError),
    /// An outbox.
    Outbox(SpoolError),
    /// The checkpoint store.
    Store(StoreError),
    /// A stored value cannot be read though its checksum is right.
    Format(FormatError),
    /// The thread that writes checkpoints is gone.
    CheckpointThread,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskError::Folder(error) => error.fmt(f),
            DiskError::Journal(error) => write!(f, "journal: {error}"),
            DiskError::Outbox(error) => write!(f, "outbox: {error}"),
            DiskError::Store(error) => write!(f, "state: {error}"),
            DiskError::Format(error) => write!(f, "state: {error}"),
            DiskError::CheckpointThread => f.write_str("state: the checkpoint thread has ended"),
        }
    }
}

impl std::error::Error for DiskError {}

macro_rules! from {
    ($($error:ty => $variant:ident),*) => {
        $(impl From<$error> for DiskError {
            fn from(error: $error) -> DiskError {
                DiskError::$variant(error)
            }
        })*
    };
}
from!(FolderError => Folder, LogError => Journal, SpoolError => Outbox, StoreError => Store, FormatError => Format);

/// How to open a disk.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// The state folder.
    pub path: PathBuf,
    /// Size of a journal segment.
    pub segment_bytes: u64,
    /// Forwarders, each with an outbox of its own.
    pub forwards: Vec<String>,
    /// Size that each outbox is held to.
    pub outbox_bytes: u64,
    /// How long to wait for the lock of a process that is just going away.
    pub patience: Duration,
}

/// An open disk with what was found on it.
pub struct OpenedDisk {
    /// The disk.
    pub disk: Disk,
    /// For [`crate::pipeline::Pipeline::recover`].
    pub stored: Stored,
    /// The journal's frames, in order.
    pub frames: seglog::Reader,
    /// Outboxes in the order of [`DiskOptions::forwards`].
    pub outboxes: Vec<Arc<Shared>>,
    /// What an operator must know: damage, loss, a new instance.
    pub notices: Vec<String>,
    /// Regions of the journal that hold no readable frame.
    pub damaged_frames: u64,
}

/// The disk.
pub struct Disk {
    folder: StateFolder,
    journal: SegmentLog,
    outboxes: Vec<Arc<Shared>>,
    checkpoints: Option<SyncSender<Checkpoint>>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Opens a state folder, creating it if missing. `done` is told of each finished checkpoint,
    /// from the checkpoint thread.
    ///
    /// # Errors
    /// See [`DiskError`].
    pub fn open(
        options: &DiskOptions,
        done: impl Fn(Result<u64, DiskError>) + Send + 'static,
    ) -> Result<OpenedDisk, DiskError> {
        let mut notices = Vec::new();
        let mut folder = StateFolder::open(&options.path, options.patience)?;
        if let Identity::Replaced(why) = folder.identity() {
            notices.push(format!("the instance id could not be read ({why}): a new one was made"));
        }
        let journal_options = seglog::Options {
            magic: JOURNAL_MAGIC,
            segment_bytes: options.segment_bytes,
            max_entry_bytes: FRAME_BYTES_MAX,
        };
        let (journal, opened) = SegmentLog::open(&folder.journal(), journal_options)?;
        if opened.damaged > 0 {
            notices.push(format!(
                "the journal has {} damaged regions of {} bytes in all: readings in them are lost to state that was not checkpointed",
                opened.damaged, opened.damaged_bytes
            ));
        }
        let found = Store::open(&folder.state())?;
        let mut lost = false;
        if let Some((aside, why)) = &found.moved_aside {
            lost = true;
            notices.push(format!("the state could not be used ({why}): it was moved to {} and the daemon starts from what the journal still holds", aside.display()));
        }
        for (which, why) in &found.damaged {
            notices.push(format!(
                "state of {which:?} is damaged ({why}): it starts from what the journal still holds"
            ));
        }
        let mut stored = Stored::default();
        match found.meta {
            Some(chunk) => {
                stored.meta = Some(format::from_cbor::<StoredMeta>(&chunk.body)?);
                for (slot, chunk) in found.units {
                    let unit: UnitChunk = format::from_cbor(&chunk.body)?;
                    stored.units.push((SeriesId(slot), chunk.batch, unit));
                }
            }
            // Without meta the chunks say nothing: not under which configuration they were made.
            None => lost |= !found.units.is_empty() || !found.damaged.is_empty(),
        }
        let checkpointed = stored.meta.as_ref().map_or(0, |meta| meta.engine.batch);
        let mut must_renew = false;
        let mut outboxes = Vec::new();
        // Numbers once used must not come again, even if their frames or state are lost.
        stored.used_through = journal.last_number().unwrap_or(0);
        for name in &options.forwards {
            let (mut spool, opened) = Spool::open(&folder.outbox(name)?, options.outbox_bytes)?;
            if let Some(damage) = opened.log.damages.first() {
                // A power cut can leave a hole before entries that were not synced. Replay derives
                // them again, but only behind the checkpoint: nothing else has the older ones.
                let after = damage.after.unwrap_or(0);
                spool.truncate_after(after.max(checkpointed))?;
                if after < checkpointed {
                    notices.push(format!("outbox {name}: {} damaged regions, {} bytes: the records in them are lost to upstream", opened.log.damaged, opened.log.damaged_bytes));
                }
            }
            if let CursorFound::Damaged(why) = &opened.cursor {
                notices.push(format!("outbox {name}: the cursor could not be read ({why}): what waits is sent again under a new instance"));
            }
            let sent = opened.cursor != CursorFound::Yes && spool.entries() > 0;
            must_renew |= sent || matches!(opened.cursor, CursorFound::Damaged(_));
            stored.used_through = stored.used_through.max(spool.last_batch().unwrap_or(0));
            outboxes.push(Arc::new(Shared::new(name, spool)));
        }
        if lost || must_renew {
            let instance = folder.new_instance()?;
            notices.push(format!("upstream will see this gateway as a new instance {instance}"));
        }
        let frames = journal.read_from(0);
        let handles: Vec<SyncHandle> =
            outboxes.iter().map(|outbox| outbox.lock().spool.sync_handle()).collect();
        let (sender, receiver) = sync_channel::<Checkpoint>(1);
        let mut store = found.store;
        let thread = std::thread::Builder::new().name("checkpoint".to_owned()).spawn(move || {
            for checkpoint in receiver {
                let batch = checkpoint.batch;
                done(write(&mut store, &handles, checkpoint).map(|()| batch));
            }
        });
        let thread = thread.map_err(|_| DiskError::CheckpointThread)?;
        Ok(OpenedDisk {
            damaged_frames: opened.damaged,
            disk: Disk {
                folder,
                journal,
                outboxes: outboxes.clone(),
                checkpoints: Some(sender),
                thread: Some(thread),
            },
            stored,
            frames,
            outboxes,
            notices,
        })
    }

    /// Instance id of the state.
    pub fn instance(&self) -> &str {
        self.folder.instance()
    }

    /// Bytes that may still be written.
    ///
    /// # Errors
    /// I/O.
    pub fn free_bytes(&self) -> Result<u64, FolderError> {
        free_bytes(self.folder.path())
    }

    /// Bytes that the journal holds.
    pub fn journal_bytes(&self) -> u64 {
        self.journal.bytes()
    }
}

impl Drop for Disk {
    /// A running checkpoint is finished before the folder's lock goes.
    fn drop(&mut self) {
        drop(self.checkpoints.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Storage for Disk {
    type Error = DiskError;

    fn append_frame(&mut self, batch: u64, frame: &[u8]) -> Result<(), DiskError> {
        crate::failpoint::hit("frame-before-write");
        self.journal.append(batch, frame)?;
        crate::failpoint::hit("frame-before-sync");
        self.journal.sync()?;
        crate::failpoint::hit("frame-after-sync");
        Ok(())
    }

    fn append_outbox(&mut self, forward: usize, entry: OutboxEntry) -> Result<(), DiskError> {
        crate::failpoint::hit("outbox-before-append");
        let Some(outbox) = self.outboxes.get(forward) else { return Ok(()) };
        let mut state = outbox.lock();
        let header = EntryHeader { records: entry.records, readings: entry.readings };
        let appended = state.spool.append(entry.batch, header, &entry.body)?;
        let dropped = match appended {
            Appended::Stored { dropped } => dropped,
            Appended::Refused(dropped) => Some(dropped),
            Appended::Already => None,
        };
        if let Some(dropped) = dropped {
            tracing::error!(
                forward = %state.name,
                records = dropped.records,
                readings = dropped.readings,
                "outbox full: the oldest records were dropped; upstream gets a tombstone with their count"
            );
            state.dropped = Some(state.dropped.map_or(dropped, |before| before.merge(dropped)));
        }
        Ok(())
    }

    fn begin_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), DiskError> {
        let sender = self.checkpoints.as_ref().ok_or(DiskError::CheckpointThread)?;
        sender.send(checkpoint).map_err(|_| DiskError::CheckpointThread)
    }

    fn trim_journal(&mut self, first_needed: u64) -> Result<(), DiskError> {
        crate::failpoint::hit("trim-before");
        crate::failpoint::before_trim(&self.folder.journal());
        self.journal.trim_before(first_needed)?;
        crate::failpoint::hit("trim-after");
        Ok(())
    }
}

fn write(
    store: &mut Store,
    outboxes: &[SyncHandle],
    checkpoint: Checkpoint,
) -> Result<(), DiskError> {
    crate::failpoint::hit("checkpoint-begin");
    for outbox in outboxes {
        outbox.sync()?;
    }
    crate::failpoint::hit("checkpoint-outbox-synced");
    let batch = checkpoint.batch;
    let written =
        checkpoint.units.into_iter().map(|(series, body)| (series.0, Some(Chunk { batch, body })));
    let deleted = checkpoint.deleted.into_iter().map(|series| (series.0, None));
    let commit = Commit {
        units: written.chain(deleted).collect(),
        meta: Some(Chunk { batch, body: checkpoint.meta }),
    };
    store.commit(commit)?;
    crate::failpoint::hit("checkpoint-end");
    Ok(())
}
