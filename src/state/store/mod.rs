//! Unit state in sled: a checkpoint of what the journal can replay. The only module that knows sled.
//!
//! ```text
//! u/<unit u32 BE>/<piece u16 BE>   state of a unit
//! m/<piece>                        the engine's own state, with the batch up to which all holds
//! c/<piece>                        the chain: what the store must hold (chain.rs)
//! ```
//!
//! Every value is cut into checked pieces ([`format::split`]).
//!
//! One commit: the units' new values in atomic batches of at most 500 keys, a unit never cut in
//! two; then, in one atomic batch, meta and chain: from here on the commit counts, its deletions
//! too; then the deleted units' keys; then flush and fdatasync of sled's file. A crash in between
//! leaves units that are newer than meta, which replay skips, or dead keys, which open ignores.
//!
//! sled opens happily with records missing after a flipped bit. So the chain holds a sum over the
//! digests of all values, in [`BUCKETS`] buckets; a unit that a half-done commit has replaced
//! names the digest it replaced, so the sums are exact after every crash. What does not add up is
//! reported. A store that went back as a whole to an earlier commit is consistent: the caller
//! compares the batch of meta with the journal.

mod chain;
mod error;
mod open;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::folder::{free_bytes, write_atomically};
use super::format::{self, MAX_PIECES, Stamp};
use chain::Chain;
pub use chain::{BUCKETS, bucket_of};
pub use error::StoreError;
pub use open::{Opened, Which};

/// Most keys in one `apply_batch`: batches of 10,000 leak memory in sled 0.34.
const MAX_BATCH_KEYS: usize = 500;
/// Of those, kept free for the chain in the batch with meta.
const MAX_CHAIN_PIECES: usize = 100;
/// Most pieces of the meta value (587 kB).
const MAX_META_PIECES: usize = MAX_PIECES - MAX_CHAIN_PIECES;
/// Space that a commit leaves free besides twice its own size: a full disk spoils sled's handle.
const RESERVE_BYTES: u64 = 8 << 20;
/// Says that a commit has been made: an empty store is then a lost one.
const WITNESS: &str = "has-commits";

const META_KEY: &[u8] = b"m/";
const CHAIN_KEY: &[u8] = b"c/";

/// A value with the batch it includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Number of the last batch that the value includes.
    pub batch: u64,
    /// Opaque here; at most [`format::MAX_SPLIT_BYTES`] (meta: four fifths of it).
    pub body: Vec<u8>,
}

/// What one [`Store::commit`] writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// New values; `None` deletes. No unit twice.
    pub units: Vec<(u32, Option<Chunk>)>,
    /// The engine's own state; `None` leaves the old one.
    pub meta: Option<Chunk>,
}

/// What is known of a unit's stored value.
#[derive(Clone, Copy, Debug)]
struct Live {
    /// Digest of the value that is stored.
    current: u64,
    /// Digest that the stored chain counts; differs only after a half-done commit.
    counted: u64,
    /// Pieces stored.
    pieces: u16,
}

/// The open store. One writer; may move to another thread.
pub struct Store {
    dir: PathBuf,
    db: sled::Db,
    /// sled's file, opened a second time: sled's own flush does not survive a power cut.
    file: File,
    units: BTreeMap<u32, Live>,
    /// Number of the last commit that counts.
    commit: u32,
    meta_digest: u64,
    meta_pieces: u16,
    chain_pieces: u16,
    /// Keys of values that were damaged or deleted: removed by the next commit.
    debris: BTreeSet<Vec<u8>>,
    witnessed: bool,
    poisoned: Option<String>,
}

/// Puts and removals, handed to sled in batches.
#[derive(Default)]
struct Changes {
    batch: sled::Batch,
    keys: usize,
    bytes: u64,
}

impl Changes {
    /// Puts `pieces` under `key` and removes what the value before had beyond them.
    fn replace(&mut self, key: &[u8], pieces: &[Vec<u8>], old_pieces: u16) {
        for (index, piece) in pieces.iter().enumerate() {
            let key = piece_key(key, index as u16);
            self.bytes += (key.len() + piece.len()) as u64;
            self.batch.insert(key, piece.as_slice());
        }
        for index in pieces.len() as u16..old_pieces {
            self.remove(piece_key(key, index));
        }
        self.keys += pieces.len();
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.bytes += key.len() as u64;
        self.batch.remove(key);
        self.keys += 1;
    }

    fn apply(&mut self, db: &sled::Db) -> Result<(), sled::Error> {
        self.keys = 0;
        db.apply_batch(std::mem::take(&mut self.batch))
    }

    /// Applies what is there unless `more` keys still fit.
    fn make_room(&mut self, db: &sled::Db, more: usize) -> Result<(), sled::Error> {
        if self.keys > 0 && self.keys + more > MAX_BATCH_KEYS { self.apply(db) } else { Ok(()) }
    }
}

/// A commit cut into pieces, with all that it will change.
struct Prepared {
    units: Vec<(u32, Vec<Vec<u8>>, Live)>,
    deleted: Vec<(u32, u16)>,
    meta: Option<(Vec<Vec<u8>>, u64)>,
    chain: Vec<Vec<u8>>,
    bytes: u64,
}

impl Store {
    /// Commits durably; returns the bytes of keys and values handed to sled. Takes tens of
    /// milliseconds to a second: not for the hot path.
    ///
    /// # Errors
    /// `TooLarge`, `Duplicate`, `Full`: nothing was written, the store is as before. Anything else
    /// poisons it: what is on disk is then found out by opening it again.
    pub fn commit(&mut self, commit: Commit) -> Result<u64, StoreError> {
        if let Some(cause) = &self.poisoned {
            let cause = cause.clone();
            return Err(StoreError::Poisoned { path: self.dir.clone(), cause });
        }
        let prepared = self.prepare(commit)?;
        self.check_space(prepared.bytes)?;
        // sled panics where it ought to return an error; the handle is not used again after that.
        let written = catch_unwind(AssertUnwindSafe(|| self.write(&prepared)))
            .unwrap_or_else(|panic| Err(StoreError::panicked(&self.dir, &*panic)));
        match written {
            Ok(bytes) => {
                self.adopt(prepared);
                Ok(bytes)
            }
            Err(error) => {
                self.poisoned = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Units in the store.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// Bytes of sled's files.
    ///
    /// # Errors
    /// I/O.
    pub fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(|error| StoreError::sled("measure", &self.dir, error))
    }

    fn prepare(&self, commit: Commit) -> Result<Prepared, StoreError> {
        let too_large = |which: String| {
            move |error: format::FormatError| StoreError::TooLarge { which, why: error.to_string() }
        };
        let number = self.commit.checked_add(1).ok_or_else(|| StoreError::Damaged {
            path: self.dir.clone(),
            what: "the commit counter is at its end".to_owned(),
        })?;
        let mut chain = Chain::new(number, self.meta_digest);
        let mut seen = BTreeSet::new();
        let mut units = Vec::new();
        let mut deleted = Vec::new();
        let mut bytes = 0;
        for (unit, chunk) in commit.units {
            if !seen.insert(unit) {
                return Err(StoreError::Duplicate(unit));
            }
            let live = self.units.get(&unit);
            let Some(chunk) = chunk else {
                deleted.extend(live.map(|live| (unit, live.pieces)));
                continue;
            };
            let replaces = live.map_or(0, |live| live.counted);
            let stamp = Stamp { commit: number, replaces, batch: chunk.batch };
            let key = unit_key(unit);
            let pieces = format::split(&key, &stamp, &chunk.body)
                .map_err(too_large(format!("state of unit {unit}")))?;
            bytes += chunk.body.len() as u64;
            let current = format::digest(&key, &stamp, &chunk.body);
            chain.add(unit, current);
            let live = Live { current, counted: current, pieces: pieces.len() as u16 };
            units.push((unit, pieces, live));
        }
        self.units
            .iter()
            .filter(|(unit, _)| !seen.contains(unit))
            .for_each(|(&unit, live)| chain.add(unit, live.current));
        chain.dead = deleted.iter().map(|&(unit, _)| unit).collect();
        let mut meta = None;
        if let Some(chunk) = commit.meta {
            let stamp = Stamp { commit: number, replaces: self.meta_digest, batch: chunk.batch };
            let pieces = format::split(META_KEY, &stamp, &chunk.body)
                .map_err(too_large("meta".to_owned()))?;
            limit("meta", pieces.len(), MAX_META_PIECES)?;
            bytes += chunk.body.len() as u64;
            chain.meta_digest = format::digest(META_KEY, &stamp, &chunk.body);
            meta = Some((pieces, chain.meta_digest));
        }
        let stamp = Stamp { commit: number, replaces: 0, batch: 0 };
        let chain = format::split(CHAIN_KEY, &stamp, &chain.encode())
            .map_err(too_large("list of deletions".to_owned()))?;
        limit("list of deletions", chain.len(), MAX_CHAIN_PIECES)?;
        Ok(Prepared { units, deleted, meta, chain, bytes })
    }

    fn check_space(&self, bytes: u64) -> Result<(), StoreError> {
        let free = free_bytes(&self.dir)?;
        let needed = 2 * bytes + RESERVE_BYTES;
        if free < needed {
            return Err(StoreError::Full { path: self.dir.clone(), free, needed });
        }
        Ok(())
    }

    fn write(&self, prepared: &Prepared) -> Result<u64, StoreError> {
        let mut changes = Changes::default();
        self.apply(prepared, &mut changes)
            .map_err(|error| StoreError::sled("write to", &self.dir, error))?;
        self.db.flush().map_err(|error| StoreError::sled("flush", &self.dir, error))?;
        self.file.sync_data().map_err(|source| StoreError::io("sync", &self.dir, source))?;
        if !self.witnessed {
            write_atomically(&self.dir.join(WITNESS), b"")?;
        }
        Ok(changes.bytes)
    }

    fn apply(&self, prepared: &Prepared, changes: &mut Changes) -> Result<(), sled::Error> {
        self.write_units(prepared, changes)?;
        self.write_chain(prepared, changes)?;
        self.remove_deleted(prepared, changes)
    }

    fn write_units(&self, prepared: &Prepared, changes: &mut Changes) -> Result<(), sled::Error> {
        // First, so that it cannot take what is written below.
        for key in &self.debris {
            changes.make_room(&self.db, 1)?;
            changes.remove(key.clone());
        }
        for (unit, pieces, _) in &prepared.units {
            let old = self.units.get(unit).map_or(0, |live| live.pieces);
            changes.make_room(&self.db, pieces.len().max(usize::from(old)))?;
            changes.replace(&unit_key(*unit), pieces, old);
        }
        changes.apply(&self.db)
    }

    /// The one atomic batch that makes the commit count.
    fn write_chain(&self, prepared: &Prepared, changes: &mut Changes) -> Result<(), sled::Error> {
        if let Some((pieces, _)) = &prepared.meta {
            changes.replace(META_KEY, pieces, self.meta_pieces);
        }
        changes.replace(CHAIN_KEY, &prepared.chain, self.chain_pieces);
        changes.apply(&self.db)
    }

    fn remove_deleted(
        &self,
        prepared: &Prepared,
        changes: &mut Changes,
    ) -> Result<(), sled::Error> {
        for &(unit, pieces) in &prepared.deleted {
            changes.make_room(&self.db, usize::from(pieces))?;
            (0..pieces).for_each(|index| changes.remove(piece_key(&unit_key(unit), index)));
        }
        changes.apply(&self.db)
    }

    /// Makes the memory say what the disk now holds.
    fn adopt(&mut self, prepared: Prepared) {
        self.commit += 1;
        self.debris.clear();
        self.witnessed = true;
        self.chain_pieces = prepared.chain.len() as u16;
        if let Some((pieces, digest)) = prepared.meta {
            self.meta_digest = digest;
            self.meta_pieces = pieces.len() as u16;
        }
        for (unit, _) in prepared.deleted {
            self.units.remove(&unit);
        }
        for live in self.units.values_mut() {
            live.counted = live.current;
        }
        self.units.extend(prepared.units.into_iter().map(|(unit, _, live)| (unit, live)));
    }
}

fn limit(which: &str, pieces: usize, max: usize) -> Result<(), StoreError> {
    if pieces <= max {
        return Ok(());
    }
    let max = max * (format::MAX_PIECE_BYTES - format::PIECE_HEADER_BYTES);
    Err(StoreError::TooLarge { which: which.to_owned(), why: format!("exceeds {max} bytes") })
}

fn unit_key(unit: u32) -> Vec<u8> {
    [&b"u/"[..], &unit.to_be_bytes(), b"/"].concat()
}

fn piece_key(key: &[u8], index: u16) -> Vec<u8> {
    [key, &index.to_be_bytes()].concat()
}

/// The path of sled's file in its folder.
fn db_file(dir: &Path) -> PathBuf {
    dir.join("db")
}
