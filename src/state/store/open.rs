//! Opens a store, checks all of it, and moves it aside when nothing in it can be trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::chain::{Chain, bucket_of};
use super::{CHAIN_KEY, Chunk, Live, META_KEY, Store, StoreError, WITNESS, db_file, unit_key};
use crate::seglog;
use crate::state::folder::{FolderError, write_atomically};
use crate::state::format::{self, Joined, digest};

/// How long the lock of a process that was killed may linger.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);
const CACHE_BYTES: u64 = 8 << 20;
/// sled's unit of allocation. 1,000 dirty units of 10,000 cost 3.7 to 4.5 times their size in
/// writes, against 5.7 to 6.3 with sled's default of 512 KiB. A page above a quarter of it becomes
/// a file that sled never syncs: 20 pieces, the most in a page, must fit ([`MAX_PIECE_BYTES`]).
///
/// [`MAX_PIECE_BYTES`]: format::MAX_PIECE_BYTES
const SEGMENT_BYTES: usize = 128 << 10;
const _: () = assert!(20 * (format::MAX_PIECE_BYTES + 40) < SEGMENT_BYTES / 4);
/// Damaged stores kept for inspection; older ones are deleted.
const KEPT_ASIDE: usize = 2;

/// What a report of damage is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The engine's own state: it is not in [`Opened::meta`].
    Meta,
    /// A unit whose value cannot be read: it is not in [`Opened::units`].
    Unit(u32),
    /// Some value of a unit in this bucket ([`super::bucket_of`]) is lost or is an older one. The
    /// units of the bucket that were read are in [`Opened::suspect`].
    Bucket(usize),
}

/// What [`Store::open`] found.
pub struct Opened {
    /// The store, ready for commits.
    pub store: Store,
    /// The engine's own state.
    pub meta: Option<Chunk>,
    /// Every readable unit, ascending. A unit may be newer than meta (a commit was cut short).
    pub units: Vec<(u32, Chunk)>,
    /// Units among them, ascending, that may be older than their last commit.
    pub suspect: Vec<u32>,
    /// What was lost, as far as it can be told.
    pub damaged: Vec<(Which, String)>,
    /// Where a store went that could not be used at all, and why; a fresh one took its place.
    pub moved_aside: Option<(PathBuf, String)>,
}

/// Pieces as stored, by value.
#[derive(Default)]
struct Raw {
    units: BTreeMap<u32, Vec<(u16, sled::IVec)>>,
    meta: Vec<(u16, sled::IVec)>,
    chain: Vec<(u16, sled::IVec)>,
    foreign: BTreeSet<Vec<u8>>,
}

impl Store {
    /// Opens the store in `dir`, creating it if missing, and reads and checks every value.
    ///
    /// A store that sled cannot open, or whose chain is lost, is moved to `<dir>.damaged-<n>` and
    /// a fresh one is opened; at most two such are kept. Lesser damage is reported and leaves the
    /// rest in use.
    ///
    /// # Errors
    /// `Locked` after five seconds; I/O errors of the system (no permission, disk full …): the
    /// store is then left as it is.
    pub fn open(dir: &Path) -> Result<Opened, StoreError> {
        Store::open_within(dir, LOCK_PATIENCE)
    }

    pub(super) fn open_within(dir: &Path, patience: Duration) -> Result<Opened, StoreError> {
        let why = match attempt(dir, patience) {
            Err(StoreError::Damaged { what, .. }) => what,
            other => return other,
        };
        let aside = move_aside(dir)?;
        let opened = attempt(dir, patience)?;
        Ok(Opened { moved_aside: Some((aside, why)), ..opened })
    }
}

fn attempt(dir: &Path, patience: Duration) -> Result<Opened, StoreError> {
    fs::create_dir_all(dir).map_err(|source| StoreError::io("create", dir, source))?;
    wait_for_lock(dir, patience)?;
    let opened = catch_unwind(AssertUnwindSafe(|| open_and_read(dir)));
    opened.unwrap_or_else(|panic| Err(StoreError::panicked(dir, &*panic)))
}

/// Waits until nobody holds sled's lock. sled itself would fail at once, with a text only.
fn wait_for_lock(dir: &Path, patience: Duration) -> Result<(), StoreError> {
    let path = db_file(dir);
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StoreError::io("open", &path, source)),
    };
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(StoreError::io("lock", &path, source)),
            Err(TryLockError::WouldBlock) if begin.elapsed() < patience => {
                thread::sleep(LOCK_RETRY);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { path: dir.to_owned() });
            }
        }
    }
}

fn open_and_read(dir: &Path) -> Result<Opened, StoreError> {
    let db = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(None)
        .use_compression(false)
        .segment_size(SEGMENT_BYTES)
        .open()
        .map_err(|error| StoreError::sled("open", dir, error))?;
    let path = db_file(dir);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|source| StoreError::io("open", &path, source))?;
    // The names of sled's files, and the folder's own.
    seglog::sync_directory(dir).map_err(FolderError::from)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        seglog::sync_directory(parent).map_err(FolderError::from)?;
    }
    let raw = read(&db).map_err(|error| StoreError::sled("read", dir, error))?;
    let witness = dir.join(WITNESS);
    let has_commits = witness.exists();
    let chain = read_chain(&raw, has_commits)
        .map_err(|what| StoreError::Damaged { path: dir.to_owned(), what })?;
    if chain.commit > 0 && !has_commits {
        write_atomically(&witness, b"")?;
    }
    Ok(check(dir, db, file, raw, &chain))
}

fn read(db: &sled::Db) -> Result<Raw, sled::Error> {
    let mut raw = Raw::default();
    for item in db.iter() {
        let (key, piece) = item?;
        let place = key.split_last_chunk::<2>().and_then(|(value, index)| {
            let index = u16::from_be_bytes(*index);
            match value {
                META_KEY => Some((&mut raw.meta, index)),
                CHAIN_KEY => Some((&mut raw.chain, index)),
                [b'u', b'/', a, b, c, d, b'/'] => {
                    let unit = u32::from_be_bytes([*a, *b, *c, *d]);
                    Some((raw.units.entry(unit).or_default(), index))
                }
                _ => None,
            }
        });
        match place {
            Some((pieces, index)) => pieces.push((index, piece)),
            None => {
                raw.foreign.insert(key.to_vec());
            }
        }
    }
    Ok(raw)
}

/// The chain; commit 0 for a store in which no commit was ever completed.
fn read_chain(raw: &Raw, has_commits: bool) -> Result<Chain, String> {
    if raw.chain.is_empty() {
        let lost = has_commits || !raw.meta.is_empty();
        return if lost { Err("its chain is lost".to_owned()) } else { Ok(Chain::new(0, 0)) };
    }
    let joined = format::join(CHAIN_KEY, &raw.chain).map_err(|error| format!("chain: {error}"))?;
    Chain::decode(&joined.value)
        .filter(|chain| chain.commit == joined.stamp.commit && chain.commit > 0)
        .ok_or_else(|| "chain: cannot be read".to_owned())
}

fn check(dir: &Path, db: sled::Db, file: File, raw: Raw, chain: &Chain) -> Opened {
    let mut damaged = Vec::new();
    let mut debris = raw.foreign;
    let mut found = Chain::new(chain.commit, 0);
    let mut live = BTreeMap::new();
    let mut units = Vec::new();

    let meta_pieces = raw.meta.len() as u16;
    let meta = check_meta(&raw.meta, chain).unwrap_or_else(|why| {
        damaged.push((Which::Meta, why));
        None
    });

    for (unit, pieces) in raw.units {
        let key = unit_key(unit);
        let joined = format::join(&key, &pieces);
        let is_dead = chain.dead.contains(&unit)
            && joined.as_ref().map_or(true, |joined| joined.stamp.commit <= chain.commit);
        match joined {
            Ok(Joined { stamp, value }) if !is_dead => {
                let current = digest(&key, &stamp, &value);
                let half_done = stamp.commit > chain.commit;
                let counted = if half_done { stamp.replaces } else { current };
                if counted != 0 {
                    found.add(unit, counted);
                }
                live.insert(unit, Live { current, counted, pieces: pieces.len() as u16 });
                units.push((unit, Chunk { batch: stamp.batch, body: value }));
            }
            unusable => {
                if let (false, Err(why)) = (is_dead, unusable) {
                    damaged.push((Which::Unit(unit), why.to_string()));
                }
                debris.extend(pieces.iter().map(|(index, _)| super::piece_key(&key, *index)));
            }
        }
    }

    let mut suspect = Vec::new();
    for bucket in chain.differing(&found) {
        let why = "a value is lost or is an older one".to_owned();
        damaged.push((Which::Bucket(bucket), why));
        suspect.extend(live.keys().copied().filter(|&unit| bucket_of(unit) == bucket));
    }
    suspect.sort_unstable();

    let store = Store {
        dir: dir.to_owned(),
        db,
        file,
        units: live,
        commit: chain.commit,
        meta_digest: if meta.is_some() { chain.meta_digest } else { 0 },
        meta_pieces,
        chain_pieces: raw.chain.len() as u16,
        debris,
        witnessed: chain.commit > 0,
        poisoned: None,
    };
    Opened { store, meta, units, suspect, damaged, moved_aside: None }
}

fn check_meta(pieces: &[(u16, sled::IVec)], chain: &Chain) -> Result<Option<Chunk>, String> {
    match (pieces.is_empty(), chain.meta_digest) {
        (true, 0) => return Ok(None),
        (true, _) => return Err("it is lost".to_owned()),
        // Left from before it was found damaged.
        (false, 0) => return Ok(None),
        (false, _) => {}
    }
    let Joined { stamp, value } =
        format::join(META_KEY, pieces).map_err(|error| error.to_string())?;
    if digest(META_KEY, &stamp, &value) != chain.meta_digest {
        return Err("it is an older one".to_owned());
    }
    Ok(Some(Chunk { batch: stamp.batch, body: value }))
}

/// Renames `dir` to the next free `<dir>.damaged-<n>` and deletes all but the newest of them.
fn move_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    let prefix = format!("{}.damaged-", dir.file_name().unwrap_or_default().to_string_lossy());
    let io = |source| StoreError::io("list", parent, source);
    let mut numbers = Vec::new();
    for entry in fs::read_dir(parent).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    let aside = parent.join(format!("{prefix}{next}"));
    fs::rename(dir, &aside).map_err(|source| StoreError::io("move aside", dir, source))?;
    let excess = (numbers.len() + 1).saturating_sub(KEPT_ASIDE);
    for number in &numbers[..excess.min(numbers.len())] {
        let old = parent.join(format!("{prefix}{number}"));
        fs::remove_dir_all(&old).map_err(|source| StoreError::io("delete", &old, source))?;
    }
    seglog::sync_directory(parent).map_err(FolderError::from)?;
    Ok(aside)
}
