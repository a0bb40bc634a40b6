//! A disk that can stop the process at every write and keep any prefix of what was not synced.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use weir::engine::UnitChunk;
use weir::pipeline::{Checkpoint, OutboxEntry, Storage, Stored, StoredMeta};
use weir::reading::SeriesId;

use super::rng::Rng;

/// The process died here.
#[derive(Debug)]
pub struct Died(pub &'static str);

impl fmt::Display for Died {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "died: {}", self.0)
    }
}

impl std::error::Error for Died {}

/// What is on the platter, and what only the page cache knows.
pub struct Platter {
    pub journal: Vec<(u64, Vec<u8>)>,
    /// Every frame that was ever durable, for the replay without crashes.
    pub archive: Vec<(u64, Vec<u8>)>,
    pub outbox: Vec<OutboxEntry>,
    pub outbox_synced: usize,
    pub units: BTreeMap<u32, (u64, Vec<u8>)>,
    pub meta: Option<Vec<u8>>,
    pub running: Option<Checkpoint>,
    pub rng: Rng,
    /// Chance in 1,000 of dying at a write.
    pub deadliness: u64,
}

#[derive(Clone)]
pub struct Disk(pub Rc<RefCell<Platter>>);

impl Disk {
    pub fn new(seed: u64) -> Disk {
        Disk(Rc::new(RefCell::new(Platter {
            journal: Vec::new(),
            archive: Vec::new(),
            outbox: Vec::new(),
            outbox_synced: 0,
            units: BTreeMap::new(),
            meta: None,
            running: None,
            rng: Rng::new(seed ^ 0xD15C),
            deadliness: 0,
        })))
    }

    fn dies(&self, at: &'static str) -> Result<(), Died> {
        let mut platter = self.0.borrow_mut();
        let deadliness = platter.deadliness;
        if platter.rng.below(1000) < deadliness { Err(Died(at)) } else { Ok(()) }
    }

    /// The process is gone: of what was not synced any prefix survives, a running checkpoint may
    /// have written any of its chunks, but meta only after all of them.
    pub fn crash(&self) {
        let platter = &mut *self.0.borrow_mut();
        let unsynced = platter.outbox.len() - platter.outbox_synced;
        let kept = platter.outbox_synced + platter.rng.below(unsynced as u64 + 1) as usize;
        platter.outbox.truncate(kept);
        if let Some(checkpoint) = platter.running.take()
            && platter.rng.chance(50)
        {
            // The outbox is synced before any chunk is written.
            if kept < platter.outbox_synced + unsynced {
                return;
            }
            platter.outbox_synced = platter.outbox.len();
            let count = platter.rng.below(checkpoint.units.len() as u64 + 1) as usize;
            for (series, chunk) in &checkpoint.units[..count] {
                platter.units.insert(series.0, (checkpoint.batch, chunk.clone()));
            }
        }
    }

    /// The checkpoint thread is done: returns its batch.
    pub fn finish_checkpoint(&self) -> Option<u64> {
        let platter = &mut *self.0.borrow_mut();
        let checkpoint = platter.running.take()?;
        platter.outbox_synced = platter.outbox.len();
        for (series, chunk) in checkpoint.units {
            platter.units.insert(series.0, (checkpoint.batch, chunk));
        }
        for series in checkpoint.deleted {
            platter.units.remove(&series.0);
        }
        platter.meta = Some(checkpoint.meta);
        Some(checkpoint.batch)
    }

    pub fn stored(&self) -> Stored {
        let platter = self.0.borrow();
        Stored {
            meta: platter
                .meta
                .as_ref()
                .map(|meta| weir::cbor::from_slice::<StoredMeta>(meta).expect("meta reads back")),
            units: platter
                .units
                .iter()
                .map(|(&slot, (batch, chunk))| {
                    let chunk: UnitChunk = weir::cbor::from_slice(chunk).expect("chunk reads back");
                    (SeriesId(slot), *batch, chunk)
                })
                .collect(),
            used_through: 0,
        }
    }
}

impl Storage for Disk {
    type Error = Died;

    fn append_frame(&mut self, batch: u64, frame: &[u8]) -> Result<(), Died> {
        self.dies("before the frame")?;
        let mut platter = self.0.borrow_mut();
        platter.journal.push((batch, frame.to_vec()));
        platter.archive.push((batch, frame.to_vec()));
        drop(platter);
        self.dies("after the frame, before its acknowledgements")
    }

    fn append_outbox(&mut self, _forward: usize, entry: OutboxEntry) -> Result<(), Died> {
        self.dies("before the outbox")?;
        let mut platter = self.0.borrow_mut();
        if platter.outbox.last().is_none_or(|last| last.batch < entry.batch) {
            platter.outbox.push(entry);
        }
        drop(platter);
        self.dies("after the outbox")
    }

    fn begin_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), Died> {
        assert!(self.0.borrow().running.is_none(), "two checkpoints at once");
        self.0.borrow_mut().running = Some(checkpoint);
        self.dies("at the start of a checkpoint")
    }

    fn trim_journal(&mut self, first_needed: u64) -> Result<(), Died> {
        self.dies("before trimming")?;
        self.0.borrow_mut().journal.retain(|(batch, _)| *batch >= first_needed);
        Ok(())
    }
}
