//! The envelope of every stored value, and the cutting of large ones into pieces. Pure.
//!
//! The body is CBOR (`serde_cbor`, unpacked: any CBOR reader reads it). All numbers little-endian:
//!
//! ```text
//! envelope  "weir" | kind u8 | format version u8 | batch u64 | body length u32 | crc32 u32 | body
//! piece     format u8 | commit u32 | replaces u64 | batch u64 | index u16 | count u16
//!           | crc32 of the whole value u32 | crc32 u32 | slice of the value
//! ```
//!
//! An envelope's CRC covers its other fields and the body. A piece's CRC covers the key it is
//! stored under, its other fields and the slice: a value that a store hands out under another
//! key, of another time, or cut short, is noticed.

use std::fmt;
use std::hash::Hasher;

use serde::Serialize;
use serde::de::DeserializeOwned;
use siphasher::sip::SipHasher13;

/// Bytes before an envelope's body.
pub const ENVELOPE_BYTES: usize = 22;
/// Largest body of an envelope in bytes, checked before anything is parsed.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// Bytes before a piece's slice.
pub const PIECE_HEADER_BYTES: usize = 33;
/// Largest piece with its header: sled puts large pages into files that it never syncs.
pub const MAX_PIECE_BYTES: usize = 1_500;
/// Most pieces of one value (733 kB): they must fit one atomic batch of the store.
pub const MAX_PIECES: usize = 500;

const MAGIC: [u8; 4] = *b"weir";
const PIECE_FORMAT: u8 = 1;
const SLICE_BYTES: usize = MAX_PIECE_BYTES - PIECE_HEADER_BYTES;

/// Largest value that [`split`] takes.
pub const MAX_SPLIT_BYTES: usize = SLICE_BYTES * MAX_PIECES;

/// What a stored value is. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    /// Model state of one unit.
    pub const UNIT: Kind = Kind(1);
    /// The engine's state that belongs to no unit.
    pub const META: Kind = Kind(2);
    /// The gateway's identity.
    pub const IDENTITY: Kind = Kind(3);
    /// A forwarder's cursor.
    pub const CURSOR: Kind = Kind(4);
    /// A journal frame.
    pub const FRAME: Kind = Kind(5);
    /// What a checkpoint store ought to hold.
    pub const CHAIN: Kind = Kind(6);
    /// What was dropped from a full spool.
    pub const TOMBSTONE: Kind = Kind(7);
}

/// Why stored bytes cannot be used (or a value not stored).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// Shorter than its header or the length in it.
    Truncated,
    /// Not a value of ours.
    Magic,
    /// A value of another kind.
    Kind {
        /// Wanted.
        expected: Kind,
        /// Found.
        found: Kind,
    },
    /// Of another format version: newer than this program, or older and to be migrated through
    /// [`unseal`].
    Version {
        /// What this program writes.
        known: u8,
        /// Found.
        found: u8,
    },
    /// Some bit is not as written.
    Crc,
    /// More bytes than the limit.
    TooLarge {
        /// How many.
        bytes: usize,
        /// Most allowed.
        max: usize,
    },
    /// A piece of the value is missing.
    Missing {
        /// Which.
        index: usize,
        /// Of how many.
        count: usize,
    },
    /// Pieces of different values.
    Mixed,
    /// Whole, yet not the CBOR that the type asks for.
    Cbor(String),
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::Truncated => write!(f, "cut short"),
            FormatError::Magic => write!(f, "not a value that weir wrote"),
            FormatError::Kind { expected, found } => {
                write!(f, "is of kind {}, expected {}", found.0, expected.0)
            }
            FormatError::Version { known, found } if found > known => write!(
                f,
                "format version {found} is newer than {known}; install the weir that wrote it or a later one"
            ),
            FormatError::Version { known, found } => {
                write!(f, "format version {found} is older than {known}")
            }
            FormatError::Crc => write!(f, "damaged (the checksum does not match)"),
            FormatError::TooLarge { bytes, max } => {
                write!(f, "{bytes} bytes exceed the limit of {max}")
            }
            FormatError::Missing { index, count } => {
                write!(f, "piece {index} of {count} is missing")
            }
            FormatError::Mixed => write!(f, "its pieces do not belong together"),
            FormatError::Cbor(why) => write!(f, "cannot be read: {why}"),
        }
    }
}

impl std::error::Error for FormatError {}

/// An envelope that has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealed<'a> {
    /// Format version of the body.
    pub version: u8,
    /// The batch that the value includes.
    pub batch: u64,
    /// CBOR.
    pub body: &'a [u8],
}

/// CBOR of `value`, without an envelope.
///
/// # Errors
/// `Cbor` when its `Serialize` fails.
pub fn to_cbor<T: Serialize>(value: &T) -> Result<Vec<u8>, FormatError> {
    serde_cbor::to_vec(value).map_err(|error| FormatError::Cbor(error.to_string()))
}

/// The value in `bytes`, which must be one CBOR item and no more. Floats may come back NaN or
/// infinite: types that must not hold them check it.
///
/// # Errors
/// `TooLarge` above [`MAX_BODY_BYTES`]; `Cbor`.
pub fn from_cbor<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    check_size(bytes.len(), MAX_BODY_BYTES)?;
    crate::cbor::from_slice(bytes).map_err(|error| FormatError::Cbor(error.to_string()))
}

/// `value` as CBOR in an envelope. `batch`: the last one it includes, 0 where there is none.
///
/// # Errors
/// `TooLarge` above [`MAX_BODY_BYTES`]; `Cbor`.
pub fn encode<T: Serialize>(
    kind: Kind,
    version: u8,
    batch: u64,
    value: &T,
) -> Result<Vec<u8>, FormatError> {
    seal(kind, version, batch, &to_cbor(value)?)
}

/// Batch and value of an envelope of this kind and exactly this version.
///
/// # Errors
/// All of [`unseal`]; `Version`; `Cbor`.
pub fn decode<T: DeserializeOwned>(
    kind: Kind,
    version: u8,
    bytes: &[u8],
) -> Result<(u64, T), FormatError> {
    let unsealed = unseal(kind, bytes)?;
    if unsealed.version != version {
        return Err(FormatError::Version { known: version, found: unsealed.version });
    }
    Ok((unsealed.batch, from_cbor(unsealed.body)?))
}

/// Puts `body` into an envelope.
///
/// # Errors
/// `TooLarge` above [`MAX_BODY_BYTES`].
pub fn seal(kind: Kind, version: u8, batch: u64, body: &[u8]) -> Result<Vec<u8>, FormatError> {
    check_size(body.len(), MAX_BODY_BYTES)?;
    let mut out = Vec::with_capacity(ENVELOPE_BYTES + body.len());
    out.extend_from_slice(&MAGIC);
    out.push(kind.0);
    out.push(version);
    out.extend_from_slice(&batch.to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crc32(&[&out, body]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(body);
    Ok(out)
}

/// Checks an envelope of any version.
///
/// # Errors
/// `TooLarge`, `Truncated`, `Magic`, `Crc`, `Kind`.
pub fn unseal(kind: Kind, bytes: &[u8]) -> Result<Unsealed<'_>, FormatError> {
    check_size(bytes.len(), MAX_BODY_BYTES + ENVELOPE_BYTES)?;
    let (header, body) = bytes.split_at_checked(ENVELOPE_BYTES).ok_or(FormatError::Truncated)?;
    let mut fields = Fields(header);
    if fields.take::<4>() != MAGIC {
        return Err(FormatError::Magic);
    }
    let [found, version] = fields.take::<2>();
    let batch = u64::from_le_bytes(fields.take());
    let length = u32::from_le_bytes(fields.take()) as usize;
    let crc = u32::from_le_bytes(fields.take());
    if body.len() < length {
        return Err(FormatError::Truncated);
    }
    // Bytes behind the body are covered as well: there must be none.
    if crc != crc32(&[&header[..ENVELOPE_BYTES - 4], body]) || body.len() != length {
        return Err(FormatError::Crc);
    }
    match Kind(found) {
        found if found != kind => Err(FormatError::Kind { expected: kind, found }),
        _ => Ok(Unsealed { version, batch, body }),
    }
}

/// What all pieces of a value say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The store's commit that wrote the value.
    pub commit: u32,
    /// [`digest`] of the value that it replaced as of the commit before; 0: none.
    pub replaces: u64,
    /// The batch that the value includes.
    pub batch: u64,
}

/// What [`join`] made of pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What the pieces say.
    pub stamp: Stamp,
    /// The value.
    pub value: Vec<u8>,
}

/// A number that stands for (key, commit, batch, value), never 0: SipHash-1-3 with a fixed key.
/// It keeps accidents out, not adversaries.
pub fn digest(key: &[u8], stamp: &Stamp, value: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(&stamp.commit.to_le_bytes());
    hasher.write(&stamp.batch.to_le_bytes());
    hasher.write(&(key.len() as u64).to_le_bytes());
    hasher.write(key);
    hasher.write(value);
    hasher.finish().max(1)
}

/// Cuts `value` into pieces of at most [`MAX_PIECE_BYTES`] (one at least); piece `i` is to be
/// stored under `key` followed by `i` as big-endian u16.
///
/// # Errors
/// `TooLarge` when there were more than [`MAX_PIECES`].
pub fn split(key: &[u8], stamp: &Stamp, value: &[u8]) -> Result<Vec<Vec<u8>>, FormatError> {
    check_size(value.len(), MAX_SPLIT_BYTES)?;
    let count = value.len().div_ceil(SLICE_BYTES).max(1);
    let whole = crc32(&[value]);
    let mut pieces = Vec::with_capacity(count);
    for index in 0..count {
        let slice = &value[index * SLICE_BYTES..value.len().min((index + 1) * SLICE_BYTES)];
        let mut piece = Vec::with_capacity(PIECE_HEADER_BYTES + slice.len());
        piece.push(PIECE_FORMAT);
        piece.extend_from_slice(&stamp.commit.to_le_bytes());
        piece.extend_from_slice(&stamp.replaces.to_le_bytes());
        piece.extend_from_slice(&stamp.batch.to_le_bytes());
        piece.extend_from_slice(&(index as u16).to_le_bytes());
        piece.extend_from_slice(&(count as u16).to_le_bytes());
        piece.extend_from_slice(&whole.to_le_bytes());
        let crc = crc32(&[key, &piece, slice]);
        piece.extend_from_slice(&crc.to_le_bytes());
        piece.extend_from_slice(slice);
        pieces.push(piece);
    }
    Ok(pieces)
}

/// Puts pieces (each with the index of the key it was found under, ascending) together again.
///
/// # Errors
/// The first fault found: `Truncated`, `Version`, `Crc`, `Missing`, `Mixed`.
pub fn join<P: AsRef<[u8]>>(key: &[u8], pieces: &[(u16, P)]) -> Result<Joined, FormatError> {
    let mut value = Vec::new();
    let mut expected = None;
    for (at, (stored_index, piece)) in pieces.iter().enumerate() {
        let piece = piece.as_ref();
        let (header, slice) =
            piece.split_at_checked(PIECE_HEADER_BYTES).ok_or(FormatError::Truncated)?;
        let mut fields = Fields(header);
        let [format] = fields.take::<1>();
        let stamp = Stamp {
            commit: u32::from_le_bytes(fields.take()),
            replaces: u64::from_le_bytes(fields.take()),
            batch: u64::from_le_bytes(fields.take()),
        };
        let index = u16::from_le_bytes(fields.take());
        let count = usize::from(u16::from_le_bytes(fields.take()));
        let whole = u32::from_le_bytes(fields.take());
        let crc = u32::from_le_bytes(fields.take());
        if crc != crc32(&[key, &header[..PIECE_HEADER_BYTES - 4], slice]) {
            return Err(FormatError::Crc);
        }
        if format != PIECE_FORMAT {
            return Err(FormatError::Version { known: PIECE_FORMAT, found: format });
        }
        if index != *stored_index
            || *expected.get_or_insert((stamp, count, whole)) != (stamp, count, whole)
        {
            return Err(FormatError::Mixed);
        }
        if usize::from(index) != at {
            return Err(FormatError::Missing { index: at, count });
        }
        value.extend_from_slice(slice);
    }
    match expected {
        None => Err(FormatError::Missing { index: 0, count: 1 }),
        Some((_, count, _)) if pieces.len() < count => {
            Err(FormatError::Missing { index: pieces.len(), count })
        }
        Some((_, count, whole)) if pieces.len() > count || whole != crc32(&[&value]) => {
            Err(FormatError::Mixed)
        }
        Some((stamp, _, _)) => Ok(Joined { stamp, value }),
    }
}

fn check_size(bytes: usize, max: usize) -> Result<(), FormatError> {
    if bytes > max { Err(FormatError::TooLarge { bytes, max }) } else { Ok(()) }
}

fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.finalize()
}

/// Takes fixed-size fields from the front of a header whose length has been checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_at(N);
        self.0 = rest;
        let mut bytes = [0; N];
        bytes.copy_from_slice(field);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        level: f64,
        season: Vec<f64>,
        name: Option<String>,
        counts: BTreeMap<u32, i64>,
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let finite = -1e300..1e300f64;
        (
            finite.clone(),
            prop::collection::vec(finite, 0..30),
            prop::option::of(".*"),
            prop::collection::btree_map(any::<u32>(), any::<i64>(), 0..9),
        )
            .prop_map(|(level, season, name, counts)| Sample {
                level,
                season,
                name,
                counts,
            })
    }

    const STAMP: Stamp = Stamp { commit: 7, replaces: 99, batch: 1 << 40 };

    fn numbered(pieces: Vec<Vec<u8>>) -> Vec<(u16, Vec<u8>)> {
        pieces.into_iter().enumerate().map(|(at, piece)| (at as u16, piece)).collect()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(sample in sample(), batch: u64, version: u8) {
            let bytes = encode(Kind::UNIT, version, batch, &sample).unwrap();
            prop_assert_eq!(decode::<Sample>(Kind::UNIT, version, &bytes), Ok((batch, sample)));
        }

        #[test]
        fn another_cbor_reader_reads_the_body(sample in sample()) {
            let bytes = encode(Kind::UNIT, 1, 5, &sample).unwrap();
            let body = unseal(Kind::UNIT, &bytes).unwrap().body;
            let read: Sample = ciborium::from_reader(body).unwrap();
            prop_assert_eq!(&read, &sample);
            let mut theirs = Vec::new();
            ciborium::into_writer(&sample, &mut theirs).unwrap();
            prop_assert_eq!(from_cbor::<Sample>(&theirs), Ok(sample));
        }

        #[test]
        fn hostile_bytes_give_errors(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_cbor::<Sample>(&bytes);
            prop_assert!(unseal(Kind::UNIT, &bytes).is_err());
            prop_assert!(join(b"k", &[(0, bytes)]).is_err());
        }

        #[test]
        fn split_values_join_again(length in 0usize..20_000, seed: u8) {
            let value: Vec<u8> = (0..length).map(|at| (at as u8).wrapping_mul(seed)).collect();
            let pieces = split(b"key", &STAMP, &value).unwrap();
            prop_assert!(pieces.iter().all(|piece| piece.len() <= MAX_PIECE_BYTES));
            prop_assert_eq!(pieces.len(), length.div_ceil(1467).max(1));
            prop_assert_eq!(join(b"key", &numbered(pieces)), Ok(Joined { stamp: STAMP, value }));
        }
    }

    #[test]
    fn the_envelope_is_as_documented() {
        let bytes = encode(Kind::META, 3, 0x0102, &1u8).unwrap();
        let crc = crc32fast::hash(b"weir\x02\x03\x02\x01\0\0\0\0\0\0\x01\0\0\0\x01");
        let expected =
            [&b"weir\x02\x03\x02\x01\0\0\0\0\0\0\x01\0\0\0"[..], &crc.to_le_bytes(), b"\x01"];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode(Kind::UNIT, 1, 5, &vec![1.5f64, -2.0]).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Kind::UNIT, &flipped).is_err(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(unseal(Kind::UNIT, &bytes[..cut]), Err(FormatError::Truncated));
        }
        assert!(unseal(Kind::UNIT, &[&bytes[..], b"\0"].concat()).is_err());
    }

    #[test]
    fn kind_and_version_are_checked() {
        let bytes = encode(Kind::UNIT, 2, 5, &1).unwrap();
        let kinds = FormatError::Kind { expected: Kind::META, found: Kind::UNIT };
        assert_eq!(decode::<u8>(Kind::META, 2, &bytes), Err(kinds));
        let newer = decode::<u8>(Kind::UNIT, 1, &bytes).unwrap_err();
        assert_eq!(newer, FormatError::Version { known: 1, found: 2 });
        assert!(newer.to_string().contains("newer"));
        assert!(matches!(decode::<String>(Kind::UNIT, 2, &bytes), Err(FormatError::Cbor(_))));
    }

    #[test]
    fn hostile_cbor_is_refused_without_large_allocations() {
        let nested = vec![0x81; 100_000];
        assert!(matches!(from_cbor::<serde_cbor::Value>(&nested), Err(FormatError::Cbor(_))));
        let long = [0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(from_cbor::<Vec<u64>>(&long), Err(FormatError::Cbor(_))));
        let max = MAX_BODY_BYTES;
        let large = FormatError::TooLarge { bytes: max + 1, max };
        assert_eq!(from_cbor::<u8>(&vec![0; max + 1]), Err(large));
        assert!(split(b"k", &STAMP, &vec![0; MAX_SPLIT_BYTES]).is_ok());
        assert!(split(b"k", &STAMP, &vec![0; MAX_SPLIT_BYTES + 1]).is_err());
    }

    #[test]
    fn missing_mixed_moved_and_flipped_pieces_are_noticed() {
        let value: Vec<u8> = (0..5_000u32).map(|at| (at % 251) as u8).collect();
        let pieces = numbered(split(b"key", &STAMP, &value).unwrap());
        assert_eq!(pieces.len(), 4);
        for lost in 0..4 {
            let mut some = pieces.clone();
            some.remove(lost);
            let missing = FormatError::Missing { index: lost, count: 4 };
            assert_eq!(join(b"key", &some), Err(missing));
        }
        let older = Stamp { commit: 6, ..STAMP };
        let others = numbered(split(b"key", &older, &value).unwrap());
        for at in 0..4 {
            let mut some = pieces.clone();
            some[at] = others[at].clone();
            assert_eq!(join(b"key", &some), Err(FormatError::Mixed));
        }
        let mut swapped = pieces.clone();
        swapped[1].1 = pieces[2].1.clone();
        assert_eq!(join(b"key", &swapped), Err(FormatError::Mixed));
        assert_eq!(join(b"kex", &pieces), Err(FormatError::Crc));
        let mut extra = pieces.clone();
        extra.push((4, pieces[3].1.clone()));
        assert_eq!(join(b"key", &extra), Err(FormatError::Mixed));
        let one = numbered(split(b"key", &STAMP, b"small").unwrap());
        for bit in 0..one[0].1.len() * 8 {
            let mut flipped = one.clone();
            flipped[0].1[bit / 8] ^= 1 << (bit % 8);
            assert!(join(b"key", &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_digest_tells_key_time_and_value_apart() {
        let one = digest(b"a", &STAMP, b"value");
        assert_ne!(one, digest(b"b", &STAMP, b"value"));
        assert_ne!(one, digest(b"a", &STAMP, b"valve"));
        assert_ne!(one, digest(b"a", &Stamp { batch: 1, ..STAMP }, b"value"));
        assert_ne!(one, digest(b"a", &Stamp { commit: 1, ..STAMP }, b"value"));
    }
}
