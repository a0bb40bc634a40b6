//! Walks one segment file: entries, and the damage between them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::LogError;
use super::format::{self, ENTRY_HEADER_BYTES, Header, MARKER, Place, SEGMENT_HEADER_BYTES};

/// Bytes read at a time. The buffer grows beyond it only for larger entries.
const CHUNK: usize = 64 << 10;

/// What [`Scanner::next`] came upon.
pub(crate) enum Found<'a> {
    Entry { offset: u64, number: u64, payload: &'a [u8] },
    Damage { offset: u64, bytes: u64 },
    End,
}

/// Reads one segment from an offset up to a length.
pub(crate) struct Scanner {
    file: File,
    path: PathBuf,
    /// Bytes of the file that are looked at.
    length: u64,
    /// Number of the segment's first entry; part of every CRC.
    first: u64,
    position: u64,
    /// Number of the last entry before `position`, in this segment or an earlier one.
    last: Option<u64>,
    buffer: Vec<u8>,
    buffer_start: u64,
}

impl Scanner {
    /// `first`: the number in the file's name; a valid header overrides it.
    pub(crate) fn open(
        path: &Path,
        magic: [u8; 4],
        first: u64,
        length: Option<u64>,
        last: Option<u64>,
    ) -> Result<(Scanner, Header), LogError> {
        let io = |source| LogError::io("open", path, source);
        let file = File::open(path).map_err(io)?;
        let on_disk = file.metadata().map_err(io)?.len();
        let mut scanner = Scanner {
            file,
            path: path.to_owned(),
            length: length.map_or(on_disk, |length| length.min(on_disk)),
            first,
            position: SEGMENT_HEADER_BYTES as u64,
            last,
            buffer: Vec::new(),
            buffer_start: 0,
        };
        let present = scanner.length.min(SEGMENT_HEADER_BYTES as u64) as usize;
        let header = format::parse_segment_header(magic, scanner.bytes(0, present)?);
        match header {
            Header::Valid(first) => scanner.first = first,
            Header::Damaged => {}
            Header::Foreign(found) => {
                return Err(LogError::Foreign { path: path.to_owned(), found, expected: magic });
            }
            Header::Newer(found) => {
                return Err(LogError::Newer { path: path.to_owned(), found });
            }
        }
        scanner.position = scanner.position.min(scanner.length);
        Ok((scanner, header))
    }

    /// Goes to `offset`, where an entry is known to begin.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.position = offset.min(self.length);
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The next entry, or the damage before it.
    pub(crate) fn next(&mut self) -> Result<Found<'_>, LogError> {
        let offset = self.position;
        if offset >= self.length {
            return Ok(Found::End);
        }
        if let Some((number, size)) = self.entry_at(offset)? {
            self.position = offset + size as u64;
            self.last = Some(number);
            let payload = &self.bytes(offset, size)?[ENTRY_HEADER_BYTES..];
            return Ok(Found::Entry { offset, number, payload });
        }
        self.position = self.length;
        let mut candidate = offset + 1;
        while let Some(marker) = self.marker_from(candidate)? {
            if self.entry_at(marker)?.is_some() {
                self.position = marker;
                break;
            }
            candidate = marker + 1;
        }
        Ok(Found::Damage { offset, bytes: self.position - offset })
    }

    /// Number and whole size of the valid entry at `offset`, if there is one.
    fn entry_at(&mut self, offset: u64) -> Result<Option<(u64, usize)>, LogError> {
        let left = self.length - offset;
        if left < ENTRY_HEADER_BYTES as u64 {
            return Ok(None);
        }
        let claim = format::entry_claim(self.bytes(offset, ENTRY_HEADER_BYTES)?);
        let Some((number, length)) = claim else { return Ok(None) };
        let size = ENTRY_HEADER_BYTES + length;
        if size as u64 > left || number < self.first || self.last.is_some_and(|last| number <= last)
        {
            return Ok(None);
        }
        let place = Place { first: self.first, offset };
        let whole = format::entry_is_whole(place, self.bytes(offset, size)?);
        Ok(whole.then_some((number, size)))
    }

    /// Offset of the first marker at or behind `offset`.
    fn marker_from(&mut self, mut offset: u64) -> Result<Option<u64>, LogError> {
        while self.length.saturating_sub(offset) >= ENTRY_HEADER_BYTES as u64 {
            let size = (self.length - offset).min(CHUNK as u64) as usize;
            let chunk = self.bytes(offset, size)?;
            if let Some(at) = chunk.windows(MARKER.len()).position(|bytes| bytes == MARKER) {
                return Ok(Some(offset + at as u64));
            }
            // A marker may straddle two chunks.
            offset += (size - (MARKER.len() - 1)) as u64;
        }
        Ok(None)
    }

    /// `size` bytes at `offset`; the caller keeps `offset + size` within `length`.
    fn bytes(&mut self, offset: u64, size: usize) -> Result<&[u8], LogError> {
        let held = offset >= self.buffer_start
            && offset + size as u64 <= self.buffer_start + self.buffer.len() as u64;
        if !held {
            let left = self.length - offset;
            let wanted = left.min(size.max(CHUNK) as u64) as usize;
            self.buffer.resize(wanted, 0);
            self.buffer_start = offset;
            if let Err(source) = self.file.read_exact_at(&mut self.buffer, offset) {
                self.buffer.clear();
                return Err(LogError::io("read", &self.path, source));
            }
        }
        let start = (offset - self.buffer_start) as usize;
        Ok(&self.buffer[start..start + size])
    }
}
