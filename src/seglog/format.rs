//! Bytes of segment headers and entries. Pure; the layout is in the module above.

/// Format version that this code writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;
/// Bytes before the first entry of a segment.
pub const SEGMENT_HEADER_BYTES: usize = 20;
/// Bytes before an entry's payload.
pub const ENTRY_HEADER_BYTES: usize = 20;
/// Largest payload of any log: what a reader believes, whatever the options of its writer were.
pub const MAX_ENTRY_BYTES: usize = 64 << 20;
/// Starts every entry. Not valid UTF-8, and no small integer: rare inside payloads.
pub(crate) const MARKER: [u8; 4] = [0xF5, 0x57, 0xE1, 0xB4];

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// A segment of this log, with the number of its first entry.
    Valid(u64),
    /// Cut short, or its CRC does not match.
    Damaged,
    /// Whole, but with another magic.
    Foreign([u8; 4]),
    /// Whole, of a later format.
    Newer(u32),
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

pub(crate) fn segment_header(magic: [u8; 4], first: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..4].copy_from_slice(&magic);
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..16].copy_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&header[..16]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    header
}

pub(crate) fn parse_segment_header(magic: [u8; 4], bytes: &[u8]) -> Header {
    if bytes.len() < SEGMENT_HEADER_BYTES || u32_at(bytes, 16) != crc32fast::hash(&bytes[..16]) {
        return Header::Damaged;
    }
    if bytes[..4] != magic {
        return Header::Foreign([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    match u32_at(bytes, 4) {
        VERSION => Header::Valid(u64_at(bytes, 8)),
        newer => Header::Newer(newer),
    }
}

/// Where an entry lies: part of its CRC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Number of the segment's first entry.
    pub first: u64,
    /// Bytes from the file's start to the entry's marker.
    pub offset: u64,
}

fn entry_crc(place: Place, number: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&place.first.to_le_bytes());
    crc.update(&place.offset.to_le_bytes());
    crc.update(&number.to_le_bytes());
    crc.update(&(payload.len() as u64).to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// Writes the entry into `out` (cleared first). `payload` is at most [`MAX_ENTRY_BYTES`] long.
pub(crate) fn encode_entry(place: Place, number: u64, payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&entry_crc(place, number, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Number and payload length that an entry header claims; `None` without the marker or when the
/// length exceeds [`MAX_ENTRY_BYTES`]. `header` has [`ENTRY_HEADER_BYTES`] bytes.
pub(crate) fn entry_claim(header: &[u8]) -> Option<(u64, usize)> {
    let length = u32_at(header, 12) as usize;
    (header[..4] == MARKER && length <= MAX_ENTRY_BYTES).then(|| (u64_at(header, 4), length))
}

/// Whether a whole entry (header and payload) has the CRC it claims.
pub(crate) fn entry_is_whole(place: Place, entry: &[u8]) -> bool {
    let (header, payload) = entry.split_at(ENTRY_HEADER_BYTES);
    u32_at(header, 16) == entry_crc(place, u64_at(header, 4), payload)
}
