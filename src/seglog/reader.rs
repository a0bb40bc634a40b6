//! Reads a log's entries in order while its writer goes on.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use super::LogError;
use super::scan::{Found, Scanner};

/// One segment as it was when the reader was made.
pub(crate) struct Part {
    pub path: PathBuf,
    pub first: u64,
    /// Where to start.
    pub offset: u64,
    /// How much was written.
    pub length: u64,
}

/// Iterator over `(number, payload)` in order of numbers: all that was appended (synced or not)
/// when [`SegmentLog::read_from`](super::SegmentLog::read_from) made it. Holds one entry at a time.
///
/// Segments trimmed meanwhile are left out. After an error it ends.
pub struct Reader {
    magic: [u8; 4],
    from: u64,
    parts: VecDeque<Part>,
    current: Option<Scanner>,
    last: Option<u64>,
    damaged_bytes: u64,
}

impl Reader {
    pub(crate) fn new(magic: [u8; 4], from: u64, parts: VecDeque<Part>) -> Reader {
        Reader { magic, from, parts, current: None, last: None, damaged_bytes: 0 }
    }

    /// Bytes skipped so far because they hold no readable entry. More than
    /// [`Opened`](super::Opened) reported means that the medium decays.
    pub fn damaged_bytes(&self) -> u64 {
        self.damaged_bytes
    }

    fn advance(&mut self) -> Result<Option<(u64, Vec<u8>)>, LogError> {
        loop {
            let Some(scanner) = &mut self.current else {
                let Some(part) = self.parts.pop_front() else { return Ok(None) };
                let opened =
                    Scanner::open(&part.path, self.magic, part.first, Some(part.length), self.last);
                match opened {
                    Ok((mut scanner, _)) => {
                        scanner.seek(part.offset);
                        self.current = Some(scanner);
                    }
                    Err(LogError::Io { source, .. })
                        if source.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
                continue;
            };
            match scanner.next()? {
                Found::Entry { number, payload, .. } => {
                    self.last = Some(number);
                    if number >= self.from {
                        return Ok(Some((number, payload.to_vec())));
                    }
                }
                Found::Damage { bytes, .. } => self.damaged_bytes += bytes,
                Found::End => self.current = None,
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Result<(u64, Vec<u8>), LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance();
        if item.is_err() {
            self.parts.clear();
            self.current = None;
        }
        item.transpose()
    }
}
