//! A forwarder's durable queue of records, one entry per batch, with its cursor.
//!
//! ```text
//! outbox/<name>/%016x.log   segments (seglog); entry number = batch number
//! outbox/<name>/cursor      Cursor in an envelope
//! entry                     format u8 | records u32 LE | readings u64 LE | body
//! ```
//!
//! Invariants:
//! - Entries are derived from journal frames. Appending a batch that is there already, or is
//!   accounted for otherwise, does nothing: replay makes the same entries again. The journal keeps
//!   its frames from [`Spool::durable_batch`] on.
//! - The cursor never points beyond what is durable in the spool.
//! - A drop is decided by writing the cursor, with what goes in its tombstone and the span of
//!   batches to be deleted; opening finishes a deletion that a crash cut short. So each record
//!   counts once: as waiting, or in a tombstone.

mod cursor;
mod error;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::seglog::{self, ENTRY_HEADER_BYTES, Options, SegmentLog, SyncHandle};
use cursor::Span;
pub use cursor::{Cursor, Position, Sealed, Tombstone};
pub use error::SpoolError;

const MAGIC: [u8; 4] = *b"wSPL";
const ENTRY_FORMAT: u8 = 1;
const HEADER_BYTES: usize = 13;
const CURSOR_FILE: &str = "cursor";
/// Largest entry body.
pub const MAX_BODY_BYTES: usize = 48 << 20;

/// What an entry holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryHeader {
    /// Records in the body.
    pub records: u32,
    /// Readings that those records stand for.
    pub readings: u64,
}

/// One batch's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the batch.
    pub batch: u64,
    /// What is in the body.
    pub header: EntryHeader,
    /// The encoded records; opaque here.
    pub body: Vec<u8>,
}

/// What [`Spool::append`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The entry is in the spool; older ones may have gone for it.
    Stored {
        /// What was dropped to make room.
        dropped: Option<Tombstone>,
    },
    /// The batch was there (or accounted for) already.
    Already,
    /// Nothing could go for it: the entry itself was dropped and is in the tombstone.
    Refused(Tombstone),
}

/// What [`Spool::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The segments.
    pub log: seglog::Opened,
    /// The cursor's file.
    pub cursor: CursorFound,
}

/// State of the cursor file at open. Without one, the cursor starts at the beginning: what is in
/// the spool may have been sent already, so the sequence must go on under a new instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorFound {
    /// Read.
    Yes,
    /// There is none.
    No,
    /// Unreadable, for this reason.
    Damaged(String),
}

/// Sums over entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    entries: u64,
    records: u64,
    readings: u64,
}

impl Totals {
    fn add(&mut self, header: EntryHeader) {
        self.entries += 1;
        self.records += u64::from(header.records);
        self.readings += header.readings;
    }

    /// Adds what of the entry of `batch` lies before `position`; readings only of whole entries,
    /// since they are not known by record.
    fn add_before(&mut self, position: Position, batch: u64, header: EntryHeader) {
        if batch < position.batch {
            self.add(header);
        } else if batch == position.batch {
            self.records += u64::from(position.record.min(header.records));
        }
    }
}

/// A forwarder's spool. One owner; may move between threads.
pub struct Spool {
    dir: PathBuf,
    log: SegmentLog,
    max_bytes: u64,
    segment_bytes: u64,
    cursor: Cursor,
    /// End of what may not be dropped.
    protected: Position,
    /// Sums of each segment of the log, by the batch of its first entry.
    segments: BTreeMap<u64, Totals>,
    /// Entries and records still in the log although acknowledged.
    acknowledged: Totals,
    scratch: Vec<u8>,
    /// Called after each durable step; crash tests copy the folder there.
    #[cfg(test)]
    on_step: Option<Box<dyn FnMut(&'static str) + Send>>,
}

impl Spool {
    /// Opens the spool in `dir`, creating it if missing. `max_bytes`: the size that it is held to
    /// (beyond it by a segment, a 32nd of it, at most); at least 64 KiB are used.
    ///
    /// # Errors
    /// I/O; files of a newer format. Damage is no error: see [`Opened`].
    pub fn open(dir: &Path, max_bytes: u64) -> Result<(Spool, Opened), SpoolError> {
        let segment_bytes = (max_bytes / 32).clamp(64 << 10, 4 << 20);
        Spool::open_sized(dir, max_bytes, segment_bytes)
    }

    fn open_sized(
        dir: &Path,
        max_bytes: u64,
        segment_bytes: u64,
    ) -> Result<(Spool, Opened), SpoolError> {
        let max_entry_bytes = HEADER_BYTES + MAX_BODY_BYTES;
        let options = Options { magic: MAGIC, segment_bytes, max_entry_bytes };
        let (cursor, cursor_found) = match Cursor::load(&dir.join(CURSOR_FILE))? {
            Ok(Some(cursor)) => (cursor, CursorFound::Yes),
            Ok(None) => (Cursor::default(), CursorFound::No),
            Err(why) => (Cursor::default(), CursorFound::Damaged(why)),
        };
        let mut segments: BTreeMap<u64, Totals> = BTreeMap::new();
        let mut acknowledged = Totals::default();
        let mut current = None;
        let mut unknown = None;
        let (log, opened) = SegmentLog::open_visiting(dir, options, &mut |visited| {
            let Some((header, _)) = parse(visited.payload) else {
                unknown.get_or_insert(visited.number);
                return;
            };
            let (segment, first) = *current.get_or_insert((visited.segment, visited.number));
            let first = if segment == visited.segment { first } else { visited.number };
            current = Some((visited.segment, first));
            segments.entry(first).or_default().add(header);
            acknowledged.add_before(cursor.acknowledged, visited.number, header);
        })?;
        if let Some(batch) = unknown {
            return Err(SpoolError::Entry { path: dir.to_owned(), batch });
        }
        let mut spool = Spool {
            dir: dir.to_owned(),
            log,
            max_bytes: max_bytes.max(segment_bytes),
            segment_bytes,
            protected: cursor.sealed_to(),
            cursor,
            segments,
            acknowledged,
            scratch: Vec::new(),
            #[cfg(test)]
            on_step: None,
        };
        if let Some(span) = spool.cursor.dropping {
            spool.log.delete_between(span.first, span.last)?;
            spool.forget_deleted();
        }
        spool.trim()?;
        Ok((spool, Opened { log: opened, cursor: cursor_found }))
    }

    /// Appends the records of `batch`; not durable before a sync. Over `max_bytes` the oldest
    /// whole segments behind the protected position are dropped first, durably accounted for.
    ///
    /// # Errors
    /// I/O. A body above [`MAX_BODY_BYTES`] is refused, and counted in the tombstone: an error would
    /// come again with every recovery. After a full disk the append may be
    /// tried again; a failed sync poisons the spool.
    pub fn append(
        &mut self,
        batch: u64,
        header: EntryHeader,
        body: &[u8],
    ) -> Result<Appended, SpoolError> {
        if self.last_batch().is_some_and(|last| batch <= last) {
            return Ok(Appended::Already);
        }
        let size = (ENTRY_HEADER_BYTES + HEADER_BYTES + body.len()) as u64;
        let too_large = body.len() > MAX_BODY_BYTES;
        let dropped = if too_large { None } else { self.make_room(size)? };
        if too_large
            || self.log.bytes() + size > self.max_bytes.saturating_add(self.segment_bytes)
                && self.log.bytes() > 0
        {
            let tombstone = Tombstone {
                records: u64::from(header.records),
                readings: header.readings,
                first_batch: batch,
                last_batch: batch,
            };
            self.bury(tombstone, None, batch)?;
            return Ok(Appended::Refused(dropped.map_or(tombstone, |d| d.merge(tombstone))));
        }
        self.scratch.clear();
        self.scratch.push(ENTRY_FORMAT);
        self.scratch.extend_from_slice(&header.records.to_le_bytes());
        self.scratch.extend_from_slice(&header.readings.to_le_bytes());
        self.scratch.extend_from_slice(body);
        self.log.append(batch, &self.scratch)?;
        let first = self.log.segments().next_back().and_then(|segment| segment.first);
        self.segments.entry(first.unwrap_or(batch)).or_default().add(header);
        // Made again after a loss, some of its records may have been acknowledged before.
        self.acknowledged.add_before(self.cursor.acknowledged, batch, header);
        Ok(Appended::Stored { dropped })
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// The system's; the spool is then poisoned.
    pub fn sync(&self) -> Result<(), SpoolError> {
        self.log.sync()?;
        Ok(())
    }

    /// Lets another thread sync.
    pub fn sync_handle(&self) -> SyncHandle {
        self.log.sync_handle()
    }

    /// Last batch that is in the spool or accounted for: later ones are to be appended.
    pub fn last_batch(&self) -> Option<u64> {
        self.log.last_number().max(self.cursor.floor())
    }

    /// Last batch that survives a power cut: the journal must keep the frames after it.
    pub fn durable_batch(&self) -> Option<u64> {
        self.log.durable_number().max(self.cursor.floor())
    }

    /// The first entry that is not wholly before `position`, with all of its records: of its own
    /// batch, the first `position.record` ones lie before.
    ///
    /// # Errors
    /// I/O.
    pub fn read(&self, position: Position) -> Result<Option<Entry>, SpoolError> {
        self.read_from(position).next().transpose()
    }

    /// All such entries, in order, as of now.
    pub fn read_from(
        &self,
        position: Position,
    ) -> impl Iterator<Item = Result<Entry, SpoolError>> + use<> {
        let path = self.dir.clone();
        self.log.read_from(position.batch).map(move |item| {
            let (batch, payload) = item?;
            match parse(&payload) {
                Some((header, body)) => Ok(Entry { batch, header, body: body.to_vec() }),
                None => Err(SpoolError::Entry { path: path.clone(), batch }),
            }
        })
    }

    /// Where the forwarder is.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Changes the cursor durably: seal, acknowledge, take the tombstone. What it points to is
    /// synced first; what is acknowledged is trimmed after.
    ///
    /// # Errors
    /// `Cursor` when the change contradicts itself (nothing is changed); I/O (either version of
    /// the cursor may then be on disk, the old one is in memory).
    pub fn update(&mut self, change: impl FnOnce(&mut Cursor)) -> Result<(), SpoolError> {
        let mut cursor = self.cursor.clone();
        change(&mut cursor);
        if let Some(fault) = cursor.fault(&self.cursor) {
            let why = fault.to_owned();
            return Err(SpoolError::Cursor { path: self.dir.join(CURSOR_FILE), why });
        }
        let newly = self.between(self.cursor.acknowledged, cursor.acknowledged)?;
        self.put_cursor(cursor)?;
        self.acknowledged.entries += newly.entries;
        self.acknowledged.records += newly.records;
        self.protected = self.protected.max(self.cursor.sealed_to());
        self.trim()
    }

    /// Keeps everything before `position` from being dropped, besides what is sealed: for records
    /// of which a message is being made. Not durable.
    pub fn protect(&mut self, position: Position) {
        self.protected = self.protected.max(position);
    }

    /// Everything before `position` has been acknowledged: [`update`](Self::update) for forwarders
    /// without sealed messages; sealed ones that lie before it go.
    ///
    /// # Errors
    /// As `update`.
    pub fn acknowledge(&mut self, position: Position) -> Result<(), SpoolError> {
        self.update(|cursor| {
            cursor.acknowledged = cursor.acknowledged.max(position);
            cursor.sealed.retain(|sealed| sealed.to > position);
        })
    }

    /// Removes the entries of batches after `batch`, durably: after damage
    /// ([`seglog::Damage`]) in a part that the journal can still make again. Entries that could
    /// not be appended again, because what comes after them was acknowledged or dropped, stay.
    /// Returns how many went.
    ///
    /// # Errors
    /// I/O.
    pub fn truncate_after(&mut self, batch: u64) -> Result<u64, SpoolError> {
        let batch = self.cursor.floor().map_or(batch, |floor| batch.max(floor));
        let gone = self.log.truncate_after(batch)?;
        let firsts: BTreeSet<u64> = self.log.segments().filter_map(|s| s.first).collect();
        self.segments = firsts.iter().map(|&first| (first, Totals::default())).collect();
        self.acknowledged = Totals::default();
        for entry in self.read_from(Position::default()) {
            let Entry { batch, header, .. } = entry?;
            self.acknowledged.add_before(self.cursor.acknowledged, batch, header);
            if let Some((_, totals)) = self.segments.range_mut(..=batch).next_back() {
                totals.add(header);
            }
        }
        Ok(gone)
    }

    /// Bytes of the segments.
    pub fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Entries not wholly acknowledged.
    pub fn entries(&self) -> u64 {
        let all: u64 = self.segments.values().map(|segment| segment.entries).sum();
        all.saturating_sub(self.acknowledged.entries)
    }

    /// Records not acknowledged.
    pub fn records(&self) -> u64 {
        let all: u64 = self.segments.values().map(|segment| segment.records).sum();
        all.saturating_sub(self.acknowledged.records)
    }

    /// Batch of the oldest entry that is not wholly acknowledged.
    ///
    /// # Errors
    /// I/O.
    pub fn oldest(&self) -> Result<Option<u64>, SpoolError> {
        Ok(self.read(self.cursor.acknowledged)?.map(|entry| entry.batch))
    }

    /// Drops the oldest segments that may go until `size` more bytes fit.
    fn make_room(&mut self, size: u64) -> Result<Option<Tombstone>, SpoolError> {
        let mut dropped: Option<Tombstone> = None;
        while self.log.bytes() + size > self.max_bytes {
            let Some(tombstone) = self.oldest_droppable() else { break };
            let span = Span { first: tombstone.first_batch, last: tombstone.last_batch };
            // What stays must not be lost with the page cache: it marks how far the spool has come.
            self.log.sync()?;
            self.bury(tombstone, Some(span), span.last)?;
            self.log.delete_between(span.first, span.last)?;
            self.step("deleted");
            self.forget_deleted();
            dropped = Some(dropped.map_or(tombstone, |d| d.merge(tombstone)));
        }
        Ok(dropped)
    }

    /// What the oldest segment behind the protected position holds; never the last segment.
    fn oldest_droppable(&self) -> Option<Tombstone> {
        let protected = self.protected.last_touched();
        let last = self.log.last_number();
        self.log.segments().find_map(|segment| {
            let (first, end) = (segment.first?, segment.last?);
            let totals = self.segments.get(&first)?;
            let droppable =
                protected.is_none_or(|protected| first > protected) && Some(end) != last;
            droppable.then_some(Tombstone {
                records: totals.records,
                readings: totals.readings,
                first_batch: first,
                last_batch: end,
            })
        })
    }

    /// Accounts durably for what is about to go.
    fn bury(
        &mut self,
        tombstone: Tombstone,
        dropping: Option<Span>,
        through: u64,
    ) -> Result<(), SpoolError> {
        let mut cursor = self.cursor.clone();
        cursor.tombstone = Some(cursor.tombstone.map_or(tombstone, |old| old.merge(tombstone)));
        cursor.dropping = dropping;
        cursor.through = cursor.through.max(Some(through));
        self.put_cursor(cursor)
    }

    fn put_cursor(&mut self, cursor: Cursor) -> Result<(), SpoolError> {
        let touched = cursor.sealed_to().last_touched();
        if touched > self.log.durable_number() {
            self.log.sync()?;
        }
        cursor.store(&self.dir.join(CURSOR_FILE))?;
        self.cursor = cursor;
        self.step("cursor");
        Ok(())
    }

    /// Deletes the segments that are wholly acknowledged.
    fn trim(&mut self) -> Result<(), SpoolError> {
        if self.log.trim_before(self.cursor.acknowledged.batch)? > 0 {
            let gone = self.forget_deleted();
            self.acknowledged.entries -= gone.entries;
            self.acknowledged.records -= gone.records;
            self.step("trimmed");
        }
        Ok(())
    }

    /// Drops the sums of segments that are no longer there; returns theirs.
    fn forget_deleted(&mut self) -> Totals {
        let kept: BTreeSet<u64> = self.log.segments().filter_map(|s| s.first).collect();
        let mut gone = Totals::default();
        self.segments.retain(|first, totals| {
            let keep = kept.contains(first);
            if !keep {
                gone.entries += totals.entries;
                gone.records += totals.records;
                gone.readings += totals.readings;
            }
            keep
        });
        gone
    }

    #[cfg(test)]
    fn step(&mut self, name: &'static str) {
        if let Some(on_step) = &mut self.on_step {
            on_step(name);
        }
    }

    #[cfg(not(test))]
    fn step(&mut self, _name: &'static str) {}

    /// Entries and records between two positions.
    fn between(&self, from: Position, to: Position) -> Result<Totals, SpoolError> {
        let (mut before, mut after) = (Totals::default(), Totals::default());
        if to <= from {
            return Ok(after);
        }
        for entry in self.read_from(from) {
            let entry = entry?;
            if entry.batch > to.batch {
                break;
            }
            before.add_before(from, entry.batch, entry.header);
            after.add_before(to, entry.batch, entry.header);
        }
        after.entries -= before.entries;
        after.records -= before.records;
        Ok(after)
    }
}

/// Header and body of an entry; `None` for an unknown format.
fn parse(payload: &[u8]) -> Option<(EntryHeader, &[u8])> {
    let (header, body) = payload.split_first_chunk::<HEADER_BYTES>()?;
    let [format, r0, r1, r2, r3, readings @ ..] = *header;
    let header = EntryHeader {
        records: u32::from_le_bytes([r0, r1, r2, r3]),
        readings: u64::from_le_bytes(readings),
    };
    (format == ENTRY_FORMAT).then_some((header, body))
}
