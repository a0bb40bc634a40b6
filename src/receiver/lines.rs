//! A stream of bytes cut into lines.
//!
//! Pure. A line ends with a line feed; a carriage return before it belongs to the end. Blank lines
//! count as lines and hold nothing. A line over its bound is skipped up to its end and counted,
//! and so is one that the end of the stream cut off; what is kept of an unfinished line is bounded
//! by the longest.

use crate::decoder::Fault;
use crate::decoder::quote::quote;
use crate::reading::{DropCounts, DropReason, EventTime};

/// What was cut off a stream, in its order.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where each line in `bytes` ends, and when it came.
    ends: Vec<(usize, EventTime)>,
    /// Ends of lines seen, of whatever lines.
    pub count: u64,
    /// Lines that are not in it.
    pub drops: DropCounts,
    /// What was wrong with the first of them.
    pub fault: Option<Fault>,
}

impl Lines {
    /// The lines without their ends, and when they came; none is blank.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], EventTime)> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|&(end, _)| end));
        begins.zip(&self.ends).map(|(begin, &(end, arrival))| (&self.bytes[begin..end], arrival))
    }

    /// Bytes of all lines.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many lines there are to decode.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when no end of a line was seen and nothing dropped.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.drops.is_empty()
    }

    fn push(&mut self, parts: [&[u8]; 2], arrival: impl FnOnce() -> EventTime) {
        let begin = self.bytes.len();
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        if self.bytes[begin..].last() == Some(&b'\r') {
            self.bytes.pop();
        }
        if self.bytes[begin..].iter().all(u8::is_ascii_whitespace) {
            self.bytes.truncate(begin);
        } else {
            self.ends.push((self.bytes.len(), arrival()));
        }
    }

    fn dropped(&mut self, reason: DropReason, detail: String, excerpt: &[u8]) {
        self.drops.add(reason, 1);
        self.fault.get_or_insert_with(|| Fault {
            reason,
            place: "line".to_owned(),
            detail,
            excerpt: quote(excerpt),
        });
    }
}

/// Cuts one stream.
#[derive(Debug)]
pub struct Cutter {
    max_line: usize,
    /// The unfinished line; of one that is too long, its beginning.
    open: Vec<u8>,
    /// Bytes of the unfinished line that were not kept.
    skipped: usize,
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By the sender's will: an unfinished line is its last one.
    Clean,
    /// It broke off: an unfinished line is half of one.
    Broken,
}

impl Cutter {
    /// Lines of at most `max_line` bytes.
    pub fn new(max_line: usize) -> Cutter {
        Cutter { max_line, open: Vec::new(), skipped: 0 }
    }

    /// Takes the next bytes; lines that end in them go to `lines`, each asking for its time.
    pub fn take(
        &mut self,
        bytes: &[u8],
        lines: &mut Lines,
        mut arrival: impl FnMut() -> EventTime,
    ) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.line(&rest[..end], lines, &mut arrival);
            rest = &rest[end + 1..];
        }
        // One byte more than a line may have: a carriage return, or too long.
        let room = (self.max_line + 1).saturating_sub(self.open.len());
        let kept = rest.len().min(room);
        self.open.extend_from_slice(&rest[..kept]);
        self.skipped = self.skipped.saturating_add(rest.len() - kept);
    }

    /// The stream ended; nothing comes behind it.
    pub fn end(&mut self, end: End, lines: &mut Lines, arrival: impl FnMut() -> EventTime) {
        if self.open.is_empty() {
            return;
        }
        match end {
            End::Clean => self.line(&[], lines, arrival),
            End::Broken => {
                let detail = "the connection broke in the middle of this line".to_owned();
                lines.dropped(DropReason::Malformed, detail, &self.open);
                self.open.clear();
            }
        }
    }

    /// A line ends; `last` is what came since the bytes that are kept.
    fn line(&mut self, last: &[u8], lines: &mut Lines, arrival: impl FnMut() -> EventTime) {
        lines.count += 1;
        let length = self.open.len() + self.skipped + last.len();
        let returns =
            if self.skipped > 0 { false } else { last.last().or(self.open.last()) == Some(&b'\r') };
        if length > self.max_line + usize::from(returns) {
            let detail = format!("{length} bytes, more than max_line = {}", self.max_line);
            let excerpt = if self.open.is_empty() { last } else { &self.open };
            lines.dropped(DropReason::Oversize, detail, excerpt);
        } else {
            lines.push([&self.open, last], arrival);
        }
        self.open.clear();
        self.skipped = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at() -> EventTime {
        EventTime::clamped(0)
    }

    /// Everything cut from these pieces, with lines of at most 8 bytes.
    fn cut(pieces: &[&[u8]], end: End) -> (Vec<String>, Lines) {
        let (mut cutter, mut lines) = (Cutter::new(8), Lines::default());
        for piece in pieces {
            cutter.take(piece, &mut lines, at);
            assert!(cutter.open.len() <= 9, "bounded");
        }
        cutter.end(end, &mut lines, at);
        let texts = lines.iter().map(|(line, _)| String::from_utf8_lossy(line).into_owned());
        (texts.collect(), lines)
    }

    #[test]
    fn lines_end_with_a_line_feed_wherever_the_stream_is_cut() {
        for pieces in [&[&b"ab\ncd\r\n"[..]][..], &[b"a", b"b", b"\nc", b"d\r", b"\n"]] {
            let (texts, lines) = cut(pieces, End::Clean);
            assert_eq!(
                (texts.as_slice(), lines.count),
                (&["ab".to_owned(), "cd".to_owned()][..], 2)
            );
            assert!(lines.drops.is_empty());
        }
    }

    #[test]
    fn blank_lines_count_and_hold_nothing() {
        let (texts, lines) = cut(&[b"\n\r\n \t\nx\n"], End::Clean);
        assert_eq!((texts, lines.count), (vec!["x".to_owned()], 4));
    }

    #[test]
    fn an_overlong_line_is_skipped_to_its_end_and_the_next_one_taken() {
        for pieces in [&[&b"123456789\nx\n"[..]][..], &[b"1234", b"56789012", b"345", b"\nx\n"]] {
            let (texts, lines) = cut(pieces, End::Clean);
            assert_eq!((texts, lines.count), (vec!["x".to_owned()], 2));
            assert_eq!(lines.drops.get(DropReason::Oversize), 1);
            let fault = lines.fault.expect("it is told");
            assert!(fault.to_string().contains("more than max_line = 8"), "{fault}");
        }
        let (texts, lines) = cut(&[b"12345678\n12345678\r\n"], End::Clean);
        assert_eq!(
            (texts.len(), lines.drops.is_empty()),
            (2, true),
            "exactly as long as it may be"
        );
        let (texts, lines) = cut(&[b"12345678", b"\r", b"\n"], End::Clean);
        assert_eq!((texts.len(), lines.drops.is_empty()), (1, true), "in pieces, too");
        let (_, lines) = cut(&[b"123456789012"], End::Clean);
        assert_eq!(lines.drops.get(DropReason::Oversize), 1, "at the end of the stream");
    }

    #[test]
    fn an_unfinished_line_is_taken_at_a_clean_end_and_counted_at_a_broken_one() {
        let (texts, lines) = cut(&[b"a\nb"], End::Clean);
        assert_eq!((texts.len(), lines.count), (2, 2));
        let (texts, lines) = cut(&[b"a\nb"], End::Broken);
        assert_eq!((texts.len(), lines.count), (1, 1));
        assert_eq!(lines.drops.get(DropReason::Malformed), 1);
        let (_, lines) = cut(&[b"a\n"], End::Broken);
        assert!(lines.drops.is_empty(), "nothing was cut off");
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'x')], 0..80),
            size in 1usize..10,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let (texts, lines) = cut(&pieces, End::Clean);
            let (whole, all) = cut(&[&bytes], End::Clean);
            prop_assert_eq!(texts, whole);
            prop_assert_eq!((lines.count, lines.drops), (all.count, all.drops));
        }
    }
}
