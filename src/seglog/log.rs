//! The log itself: append, sync, rotate, trim.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
#[cfg(test)]
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::format::{self, ENTRY_HEADER_BYTES, MAX_ENTRY_BYTES, Place, SEGMENT_HEADER_BYTES};
use super::reader::{Part, Reader};
use super::scan::{Found, Scanner};
use super::{Damage, LogError, Opened, Options, SegmentInfo, Visited, sync_directory};

/// One point of the index for about this many bytes: 4 096 points for 256 MiB.
const INDEX_STEP: u64 = 64 << 10;

/// One segment file, as known in memory.
struct Segment {
    path: PathBuf,
    /// Number of its first entry, bound into every CRC.
    first: u64,
    /// Length of the file up to the end of its last whole entry.
    bytes: u64,
    entries: u64,
    first_entry: Option<u64>,
    last_entry: Option<u64>,
    /// Sparse (number, offset) of entries, so that a read does not start at the beginning.
    index: Vec<(u64, u64)>,
}

impl Segment {
    fn new(path: PathBuf, first: u64) -> Segment {
        Segment {
            path,
            first,
            bytes: SEGMENT_HEADER_BYTES as u64,
            entries: 0,
            first_entry: None,
            last_entry: None,
            index: Vec::new(),
        }
    }

    fn note(&mut self, number: u64, offset: u64, end: u64) {
        self.entries += 1;
        self.first_entry.get_or_insert(number);
        self.last_entry = Some(number);
        self.bytes = end;
        if self.index.last().is_none_or(|&(_, at)| offset >= at + INDEX_STEP) {
            self.index.push((number, offset));
        }
    }

    /// Where to start reading to meet every entry from `number` on.
    fn offset_of(&self, number: u64) -> u64 {
        let behind = self.index.partition_point(|&(indexed, _)| indexed <= number);
        // The first entry's own point is not used: damage may lie before it and is to be counted.
        match behind {
            0 | 1 => SEGMENT_HEADER_BYTES as u64,
            n => self.index[n - 1].1,
        }
    }
}

/// What the appending thread and syncing threads share.
struct Shared {
    dir: PathBuf,
    state: Mutex<SharedState>,
}

#[derive(Default)]
struct SharedState {
    active: Option<(Arc<File>, PathBuf)>,
    appended: Option<u64>,
    durable: Option<u64>,
    poisoned: Option<String>,
    #[cfg(test)]
    fail_sync: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        // The state is plain data, valid at every step: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn healthy(&self) -> Result<(), LogError> {
        match &self.lock().poisoned {
            None => Ok(()),
            Some(cause) => Err(LogError::Poisoned { path: self.dir.clone(), cause: cause.clone() }),
        }
    }

    fn poison(&self, error: LogError) -> LogError {
        self.lock().poisoned.get_or_insert_with(|| error.to_string());
        error
    }

    fn sync(&self) -> Result<Option<u64>, LogError> {
        self.healthy()?;
        let (active, appended, durable) = {
            let state = self.lock();
            (state.active.clone(), state.appended, state.durable)
        };
        let Some((file, path)) = active else { return Ok(durable) };
        if appended == durable {
            return Ok(durable);
        }
        // Outside the lock: appends go on while the disk works.
        let synced = file.sync_data();
        #[cfg(test)]
        let synced = if self.lock().fail_sync { Err(io::Error::other("injected")) } else { synced };
        if let Err(source) = synced {
            return Err(self.poison(LogError::io("sync", &path, source)));
        }
        let mut state = self.lock();
        state.durable = state.durable.max(appended);
        Ok(state.durable)
    }
}

/// Lets another thread make durable what has been appended so far. Cheap to clone.
#[derive(Clone)]
pub struct SyncHandle(Arc<Shared>);

impl SyncHandle {
    /// fdatasync of what was appended when it was called; entries appended meanwhile may or may
    /// not be included. Returns the number up to which everything is durable.
    ///
    /// # Errors
    /// The system's; the log is then poisoned for good.
    pub fn sync(&self) -> Result<Option<u64>, LogError> {
        self.0.sync()
    }
}

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

    /// Removes every entry above `number`, durably: for a log with a hole ([`Damage`]) whose
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

/// `%016x.log`.
fn segment_name(first: u64) -> String {
    format!("{first:016x}.log")
}

/// First number and path of every segment in `dir`, in order. Other files are left alone.
fn segment_names(dir: &Path) -> Result<Vec<(u64, PathBuf)>, LogError> {
    let io = |source| LogError::io("list", dir, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".log")).and_then(|digits| {
            let first = u64::from_str_radix(digits, 16).ok()?;
            (segment_name(first).strip_suffix(".log") == Some(digits)).then_some(first)
        });
        if let Some(first) = first {
            names.push((first, entry.path()));
        }
    }
    names.sort();
    Ok(names)
}

/// Reads and checks one segment. Of the last one (`torn_tail_allowed`) an unreadable end is cut off.
fn scan_segment(
    path: &Path,
    magic: [u8; 4],
    first: u64,
    mut last: Option<u64>,
    torn_tail_allowed: bool,
    opened: &mut Opened,
    visit: &mut dyn FnMut(Visited<'_>),
) -> Result<Segment, LogError> {
    let (mut scanner, header) = Scanner::open(path, magic, first, None, last)?;
    let mut segment = Segment::new(path.to_owned(), scanner.first());
    // At most two wait to learn what follows them: a header's and a region's.
    let mut waiting = Vec::new();
    if header == format::Header::Damaged {
        let bytes = scanner.length().min(SEGMENT_HEADER_BYTES as u64);
        waiting.push(Damage { path: path.to_owned(), offset: 0, bytes, after: last, before: None });
    }
    loop {
        match scanner.next()? {
            Found::Entry { offset, number, payload } => {
                let end = offset + (ENTRY_HEADER_BYTES + payload.len()) as u64;
                visit(Visited { segment: first, number, payload });
                segment.note(number, offset, end);
                opened.entries += 1;
                opened.first.get_or_insert(number);
                last = Some(number);
                report(opened, &mut waiting, last);
            }
            Found::Damage { offset, bytes } => {
                let path = path.to_owned();
                waiting.push(Damage { path, offset, bytes, after: last, before: None });
            }
            Found::End => break,
        }
    }
    if torn_tail_allowed && !waiting.is_empty() {
        opened.truncated_bytes = waiting.iter().map(|damage| damage.bytes).sum();
        set_length(path, segment.bytes.min(scanner.length()))?;
    } else {
        segment.bytes = scanner.length();
        report(opened, &mut waiting, None);
    }
    Ok(segment)
}

/// Moves the damages found before entry `before` into the report.
fn report(opened: &mut Opened, waiting: &mut Vec<Damage>, before: Option<u64>) {
    for damage in waiting.drain(..) {
        opened.damaged += 1;
        opened.damaged_bytes += damage.bytes;
        if opened.damages.len() < Opened::MAX_DAMAGES {
            opened.damages.push(damage);
        }
    }
    // What follows the damaged end of a segment is found in a later one.
    if before.is_some() {
        let unanswered = |damage: &&mut Damage| damage.before.is_none();
        opened.damages.iter_mut().rev().take_while(unanswered).for_each(|d| d.before = before);
    }
}

/// Cuts a segment behind its last entry numbered `number` or less.
fn cut_after(segment: &mut Segment, magic: [u8; 4], number: u64) -> Result<(), LogError> {
    let (mut scanner, _) = Scanner::open(&segment.path, magic, segment.first, None, None)?;
    let mut kept = Segment::new(segment.path.clone(), segment.first);
    loop {
        match scanner.next()? {
            Found::Entry { number: found, .. } if found > number => break,
            Found::Entry { offset, number, payload } => {
                let end = offset + (ENTRY_HEADER_BYTES + payload.len()) as u64;
                kept.note(number, offset, end);
            }
            Found::Damage { .. } => {}
            Found::End => break,
        }
    }
    set_length(&kept.path, kept.bytes)?;
    *segment = kept;
    Ok(())
}

fn set_length(path: &Path, bytes: u64) -> Result<(), LogError> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(bytes).and_then(|()| file.sync_all()))
        .map_err(|source| LogError::io("cut the torn end off", path, source))
}

/// Opens the last segment for appending and syncs what a crashed process may have left unsynced.
fn reopen(segment: &Segment) -> Result<Arc<File>, LogError> {
    let file = OpenOptions::new()
        .write(true)
        .open(&segment.path)
        .map_err(|source| LogError::io("open", &segment.path, source))?;
    file.sync_all().map_err(|source| LogError::io("sync", &segment.path, source))?;
    Ok(Arc::new(file))
}

fn create_segment(path: &Path, magic: [u8; 4], first: u64) -> Result<File, LogError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|source| LogError::io("create", path, source))?;
    if let Err(source) = file.write_all_at(&format::segment_header(magic, first), 0) {
        // Half a header must not be in the way of the next try. If it cannot be deleted, that try
        // fails with a clear error, and open removes it.
        let _ = fs::remove_file(path);
        return Err(LogError::io("write the header of", path, source));
    }
    Ok(file)
}
