//! One segment file: created, read and checked, cut.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::format::{self, ENTRY_HEADER_BYTES, SEGMENT_HEADER_BYTES};
use super::scan::{Found, Scanner};
use super::{Damage, LogError, Opened, Visited};

/// One point of the index for about this many bytes: 4 096 points for 256 MiB.
const INDEX_STEP: u64 = 64 << 10;

/// One segment file, as known in memory.
pub(super) struct Segment {
    pub path: PathBuf,
    /// Number of its first entry, bound into every CRC.
    pub first: u64,
    /// Length of the file up to the end of its last whole entry.
    pub bytes: u64,
    pub entries: u64,
    pub first_entry: Option<u64>,
    pub last_entry: Option<u64>,
    /// Sparse (number, offset) of entries, so that a read does not start at the beginning.
    index: Vec<(u64, u64)>,
}

impl Segment {
    pub fn new(path: PathBuf, first: u64) -> Segment {
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

    pub fn note(&mut self, number: u64, offset: u64, end: u64) {
        self.entries += 1;
        self.first_entry.get_or_insert(number);
        self.last_entry = Some(number);
        self.bytes = end;
        if self.index.last().is_none_or(|&(_, at)| offset >= at + INDEX_STEP) {
            self.index.push((number, offset));
        }
    }

    /// Where to start reading to meet every entry from `number` on.
    pub fn offset_of(&self, number: u64) -> u64 {
        let behind = self.index.partition_point(|&(indexed, _)| indexed <= number);
        // The first entry's own point is not used: damage may lie before it and is to be counted.
        match behind {
            0 | 1 => SEGMENT_HEADER_BYTES as u64,
            n => self.index[n - 1].1,
        }
    }
}

/// `%016x.log`.
pub(super) fn segment_name(first: u64) -> String {
    format!("{first:016x}.log")
}

/// First number and path of every segment in `dir`, in order. Other files are left alone.
pub(super) fn segment_names(dir: &Path) -> Result<Vec<(u64, PathBuf)>, LogError> {
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
pub(super) fn scan_segment(
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
pub(super) fn cut_after(
    segment: &mut Segment,
    magic: [u8; 4],
    number: u64,
) -> Result<(), LogError> {
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
pub(super) fn reopen(segment: &Segment) -> Result<Arc<File>, LogError> {
    let file = OpenOptions::new()
        .write(true)
        .open(&segment.path)
        .map_err(|source| LogError::io("open", &segment.path, source))?;
    file.sync_all().map_err(|source| LogError::io("sync", &segment.path, source))?;
    Ok(Arc::new(file))
}

pub(super) fn create_segment(path: &Path, magic: [u8; 4], first: u64) -> Result<File, LogError> {
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
