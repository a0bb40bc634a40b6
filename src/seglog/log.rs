//! The log itself: append, sync, rotate, trim.

use std::collections::VecDeque;
use std::fs;
#[cfg(test)]
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::format::{self, ENTRY_HEADER_BYTES, MAX_ENTRY_BYTES, Place};
use super::reader::{Part, Reader};
use super::segment::{
    Segment, create_segment, cut_after, reopen, scan_segment, segment_name, segment_names,
};
use super::sync::{Shared, SharedState};
use super::{LogError, Opened, Options, SegmentInfo, SyncHandle, Visited, sync_directory};

/// An append-only log of numbered entries. See the [module](super) for layout and invariants.
pub struct SegmentLog {
    dir: PathBuf,
    options: Options,
    segments: VecDeque<Segment>,
    shared: Arc<Shared>,
    last: Option<u64>,
    scratch: Vec<u8>,
    /// Writes only this many bytes of the next entry, then fails as a full disk does.
    #[cfg(test)]
    pub(crate) fail_write_after: Option<usize>,
}

impl SegmentLog {
    /// Opens the log in `dir` (created if missing), reading and checking all of it.
    ///
    /// A torn tail is cut off. What is then in the log has been synced: a process that crashed may
    /// have left entries that are only in the page cache.
    ///
    /// # Errors
    /// I/O; a segment with another magic or of a newer format. Damage is no error: see [`Opened`].
    pub fn open(dir: &Path, options: Options) -> Result<(SegmentLog, Opened), LogError> {
        SegmentLog::open_visiting(dir, options, &mut |_| ())
    }

    /// As [`open`](Self::open), and shows every readable entry to `visit`, in order, while it is
    /// in memory anyway.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_visiting(
        dir: &Path,
        options: Options,
        visit: &mut dyn FnMut(Visited<'_>),
    ) -> Result<(SegmentLog, Opened), LogError> {
        if !dir.is_dir() {
            fs::create_dir_all(dir)
                .map_err(|source| LogError::io("create the folder", dir, source))?;
            if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_directory(parent)?;
            }
        }
        let mut opened = Opened::default();
        let mut segments = VecDeque::new();
        let mut last = None;
        let names = segment_names(dir)?;
        let count = names.len();
        for (at, (first, path)) in names.into_iter().enumerate() {
            let is_last = at + 1 == count;
            let segment =
                scan_segment(&path, options.magic, first, last, is_last, &mut opened, visit)?;
            last = segment.last_entry.or(last);
            segments.push_back(segment);
        }
        // A last segment without entries would get a name that its first entry need not have.
        let mut removed = false;
        while segments.back().is_some_and(|segment| segment.entries == 0) {
            if let Some(segment) = segments.pop_back() {
                fs::remove_file(&segment.path)
                    .map_err(|source| LogError::io("delete", &segment.path, source))?;
                removed = true;
            }
        }
        let active = match segments.back() {
            None => None,
            Some(segment) => Some((reopen(segment)?, segment.path.clone())),
        };
        if removed || active.is_some() {
            sync_directory(dir)?;
        }
        opened.last = last;
        let state = SharedState { active, appended: last, durable: last, ..SharedState::default() };
        let log = SegmentLog {
            dir: dir.to_owned(),
            options: Options {
                max_entry_bytes: options.max_entry_bytes.min(MAX_ENTRY_BYTES),
                ..options
            },
            segments,
            shared: Arc::new(Shared { dir: dir.to_owned(), state: Mutex::new(state) }),
            last,
            scratch: Vec::new(),
            #[cfg(test)]
            fail_write_after: None,
        };
        Ok((log, opened))
    }

    /// Appends one entry with one write call. Not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// `TooLarge`, `NotIncreasing`: nothing was written. `Io` (disk full …): rolled back, may be
    /// tried again. A failed sync of a full segment, or a failed roll-back, poisons the log.
    pub fn append(&mut self, number: u64, payload: &[u8]) -> Result<(), LogError> {
        self.shared.healthy()?;
        if payload.len() > self.options.max_entry_bytes {
            return Err(LogError::TooLarge {
                path: self.dir.clone(),
                bytes: payload.len(),
                max: self.options.max_entry_bytes,
            });
        }
        if let Some(last) = self.last.filter(|&last| number <= last) {
            return Err(LogError::NotIncreasing { path: self.dir.clone(), number, last });
        }
        let size = (ENTRY_HEADER_BYTES + payload.len()) as u64;
        self.discard_empty_above(number)?;
        // A segment without entries is left by a first append that failed.
        let fits = self.segments.back().is_some_and(|segment| {
            segment.entries == 0 || segment.bytes + size <= self.options.segment_bytes
        });
        if !fits || self.shared.lock().active.is_none() {
            self.rotate(number)?;
        }
        self.write_entry(number, payload)
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// The system's; the log is then poisoned for good.
    pub fn sync(&self) -> Result<Option<u64>, LogError> {
        self.shared.sync()
    }

    /// A handle with which another thread can [`sync`](SyncHandle::sync).
    pub fn sync_handle(&self) -> SyncHandle {
        SyncHandle(Arc::clone(&self.shared))
    }

    /// All entries numbered `number` or more that have been appended so far, synced or not.
    pub fn read_from(&self, number: u64) -> Reader {
        let parts = self
            .segments
            .iter()
            .filter(|segment| segment.last_entry.is_some_and(|last| last >= number))
            .map(|segment| Part {
                path: segment.path.clone(),
                first: segment.first,
                offset: segment.offset_of(number),
                length: segment.bytes,
            })
            .collect();
        Reader::new(self.options.magic, number, parts)
    }

    /// Deletes the segments at the front whose entries are all below `number`, never the last
    /// segment. Returns the bytes freed. Syncs first what was appended, so that the numbering
    /// survives in the segment that stays.
    ///
    /// # Errors
    /// I/O; a failed sync poisons the log.
    pub fn trim_before(&mut self, number: u64) -> Result<u64, LogError> {
        let mut freed = 0;
        while let Some(bytes) = self.front_below(number) {
            if freed == 0 {
                self.sync()?;
            }
            self.shared.healthy()?;
            let path = &self.segments[0].path;
            fs::remove_file(path).map_err(|source| LogError::io("delete", path, source))?;
            self.segments.pop_front();
            freed += bytes;
        }
        if freed > 0 {
            sync_directory(&self.dir).map_err(|error| self.shared.poison(error))?;
        }
        Ok(freed)
    }

    /// Size of the first segment if all of its entries are below `number` and a later segment has
    /// entries: the last number must stay known.
    fn front_below(&self, number: u64) -> Option<u64> {
        let (front, next) = (self.segments.front()?, self.segments.get(1)?);
        if self.segments.iter().skip(1).all(|segment| segment.entries == 0) {
            return None;
        }
        let below = front.last_entry.map_or(next.first <= number, |last| last < number);
        below.then_some(front.bytes)
    }

    /// Removes every entry above `number`, durably: for a log with a hole ([`Damage`](super::Damage)) whose
    /// source can still produce what comes after it. Returns how many entries went.
    ///
    /// # Errors
    /// I/O; the log is then poisoned.
    pub fn truncate_after(&mut self, number: u64) -> Result<u64, LogError> {
        self.shared.healthy()?;
        let result = self.truncate_segments(number);
        result.map_err(|error| self.shared.poison(error))
    }

    fn truncate_segments(&mut self, number: u64) -> Result<u64, LogError> {
        let mut gone = 0;
        // From the end: a crash between two deletions leaves a log without holes.
        while let Some(segment) = self.segments.back() {
            if segment.first_entry.is_some_and(|first| first <= number) {
                break;
            }
            fs::remove_file(&segment.path)
                .map_err(|source| LogError::io("delete", &segment.path, source))?;
            gone += segment.entries;
            self.segments.pop_back();
        }
        sync_directory(&self.dir)?;
        let mut active = None;
        if let Some(segment) = self.segments.back_mut() {
            let before = segment.entries;
            cut_after(segment, self.options.magic, number)?;
            gone += before - segment.entries;
            active = Some((reopen(segment)?, segment.path.clone()));
        }
        self.last = self.segments.back().and_then(|segment| segment.last_entry);
        let mut state = self.shared.lock();
        state.active = active;
        state.appended = self.last;
        state.durable = self.last;
        Ok(gone)
    }

    /// Bytes of all segment files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Readable entries.
    pub fn entries(&self) -> u64 {
        self.segments.iter().map(|segment| segment.entries).sum()
    }

    /// Number of the first entry.
    pub fn first_number(&self) -> Option<u64> {
        self.segments.iter().find_map(|segment| segment.first_entry)
    }

    /// Number of the last entry appended.
    pub fn last_number(&self) -> Option<u64> {
        self.last
    }

    /// Number up to which everything is durable.
    pub fn durable_number(&self) -> Option<u64> {
        self.shared.lock().durable
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = SegmentInfo> + '_ {
        self.segments.iter().map(|segment| SegmentInfo {
            first: segment.first_entry,
            last: segment.last_entry,
            bytes: segment.bytes,
        })
    }

    /// Deletes the segments whose entries all lie between `first` and `last`, both included, also
    /// in the middle of the log; never the last one with entries. Returns the bytes freed. Syncs
    /// first, as [`trim_before`](Self::trim_before) does.
    ///
    /// # Errors
    /// I/O; a failed sync poisons the log.
    pub fn delete_between(&mut self, first: u64, last: u64) -> Result<u64, LogError> {
        let inside = |segment: &Segment| {
            segment.first_entry.is_some_and(|entry| entry >= first)
                && segment.last_entry.is_some_and(|entry| entry <= last)
        };
        let mut freed = 0;
        while let Some(at) = self.segments.iter().position(inside) {
            if self.segments.iter().skip(at + 1).all(|segment| segment.entries == 0) {
                break;
            }
            if freed == 0 {
                self.sync()?;
            }
            self.shared.healthy()?;
            let path = &self.segments[at].path;
            fs::remove_file(path).map_err(|source| LogError::io("delete", path, source))?;
            freed += self.segments[at].bytes;
            self.segments.remove(at);
        }
        if freed > 0 {
            sync_directory(&self.dir).map_err(|error| self.shared.poison(error))?;
        }
        Ok(freed)
    }

    /// Syncs the full segment, then creates the one that begins with entry `first`.
    fn rotate(&mut self, first: u64) -> Result<(), LogError> {
        self.sync()?;
        let path = self.dir.join(segment_name(first));
        let file = create_segment(&path, self.options.magic, first)?;
        sync_directory(&self.dir).map_err(|error| self.shared.poison(error))?;
        self.segments.push_back(Segment::new(path.clone(), first));
        self.shared.lock().active = Some((Arc::new(file), path));
        Ok(())
    }

    /// Removes an empty last segment whose name is above the entry that is to be appended: names
    /// must stay in order.
    fn discard_empty_above(&mut self, number: u64) -> Result<(), LogError> {
        let misnamed = |segment: &Segment| segment.entries == 0 && segment.first > number;
        if let Some(segment) = self.segments.back().filter(|segment| misnamed(segment)) {
            fs::remove_file(&segment.path)
                .map_err(|source| LogError::io("delete", &segment.path, source))?;
            self.segments.pop_back();
            // No file to append to; all earlier ones are synced and the next append rotates.
            self.shared.lock().active = None;
        }
        Ok(())
    }

    fn write_entry(&mut self, number: u64, payload: &[u8]) -> Result<(), LogError> {
        let active = self.shared.lock().active.clone();
        let (Some((file, path)), Some(segment)) = (active, self.segments.back_mut()) else {
            unreachable!("append rotates first when there is no segment");
        };
        let offset = segment.bytes;
        let place = Place { first: segment.first, offset };
        format::encode_entry(place, number, payload, &mut self.scratch);
        #[cfg(test)]
        let written = match self.fail_write_after.take() {
            Some(part) => file
                .write_all_at(&self.scratch[..part.min(self.scratch.len())], offset)
                .and(Err(io::ErrorKind::StorageFull.into())),
            None => file.write_all_at(&self.scratch, offset),
        };
        #[cfg(not(test))]
        let written = file.write_all_at(&self.scratch, offset);
        if let Err(source) = written {
            if let Err(error) = file.set_len(offset) {
                return Err(self.shared.poison(LogError::io("roll back a write to", &path, error)));
            }
            return Err(LogError::io("append to", &path, source));
        }
        segment.note(number, offset, offset + self.scratch.len() as u64);
        self.last = Some(number);
        self.shared.lock().appended = Some(number);
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn fail_syncs(&self) {
        self.shared.lock().fail_sync = true;
    }
}
