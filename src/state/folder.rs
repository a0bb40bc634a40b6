//! The state folder: one per daemon, recognised, locked, with an identity of its own.
//!
//! ```text
//! WEIR            marker: format version of the layout
//! lock            held (flock) while a daemon runs; holds its process id
//! identity        the instance id, in an envelope
//! journal/        segments
//! state/          sled
//! outbox/<name>/  spool and cursor of each forwarder
//! ```
//!
//! A folder with anything else in it and no marker is somebody's: it is refused untouched.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::hash::Hasher;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fmt, process, thread};

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use super::format::{self, Kind};
use crate::seglog::{self, LogError};

/// Version of the folder's layout.
const VERSION: u8 = 1;
const MARKER: &str = "WEIR";
const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
/// What a first start that crashed may leave behind before the marker stands.
const BEFORE_MARKER: [&str; 3] = [".WEIR.tmp", "lock", "lost+found"];
/// Between two tries for the lock.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Why the state folder cannot be used. `Display` says what, where and how to mend.
#[derive(Debug)]
pub enum FolderError {
    /// An operating-system call failed.
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The path is a file.
    NotAFolder(PathBuf),
    /// The folder holds other things.
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },
    /// The folder belongs to a newer weir.
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its layout version.
        found: u8,
    },
    /// Another process holds the lock.
    Locked {
        /// The folder.
        path: PathBuf,
        /// Its process id, if it wrote one.
        holder: Option<u32>,
    },
    /// A name that cannot be a folder's.
    BadName(String),
}

impl FolderError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> FolderError {
        FolderError::Io { action, path: path.to_owned(), source }
    }

    /// True when the disk (or the quota) is full.
    pub fn is_full(&self) -> bool {
        matches!(self, FolderError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::Io { action, path, source } => {
                let mend = seglog::mend(source);
                write!(f, "{}: cannot {action} it: {source}{mend}", path.display())
            }
            FolderError::NotAFolder(path) => {
                write!(f, "{}: is not a folder; set [state] path to a folder", path.display())
            }
            FolderError::Foreign { path, found } => write!(
                f,
                "{}: is not a weir state folder (it holds \"{found}\"); choose an empty folder for [state] path",
                path.display()
            ),
            FolderError::Newer { path, found } => write!(
                f,
                "{}: layout version {found} is newer than {VERSION}; install the weir that wrote it or a later one",
                path.display()
            ),
            FolderError::Locked { path, holder } => {
                write!(f, "{}: in use by another weir", path.display())?;
                if let Some(holder) = holder {
                    write!(f, " (process {holder})")?;
                }
                write!(f, "; stop it or choose another folder for [state] path")
            }
            FolderError::BadName(name) => write!(
                f,
                "\"{name}\": cannot name a folder; use 1 to 64 letters, digits, '-', '_' or '.', not starting with '.'"
            ),
        }
    }
}

impl std::error::Error for FolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FolderError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<LogError> for FolderError {
    fn from(error: LogError) -> FolderError {
        match error {
            LogError::Io { action, path, source } => FolderError::Io { action, path, source },
            other => FolderError::Io {
                action: "use",
                path: PathBuf::new(),
                source: io::Error::other(other.to_string()),
            },
        }
    }
}

/// How the folder came to its instance id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It had one.
    Found,
    /// It was new (or had lost the file): a new one was made.
    Created,
    /// The file could not be read, for this reason: a new one was made.
    Replaced(String),
}

/// An open, locked state folder. The lock goes with it.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    instance: String,
    identity: Identity,
    /// The marker could not be read and was written again.
    marker_mended: bool,
    /// Held for its flock.
    _lock: File,
}

#[derive(Serialize, Deserialize)]
struct StoredIdentity {
    instance: String,
}

impl StateFolder {
    /// Opens the folder, creating it (mode 0700) with its subfolders if it is missing or empty.
    /// `patience`: how long to wait for the lock of a process that is just going away.
    ///
    /// # Errors
    /// See [`FolderError`]. A foreign folder is left untouched.
    pub fn open(path: &Path, patience: Duration) -> Result<StateFolder, FolderError> {
        create_private(path)?;
        let marker_mended = check_marker(path)?;
        let lock = lock(path, patience)?;
        for subfolder in ["journal", "outbox"] {
            create_private(&path.join(subfolder))?;
        }
        let (instance, identity) = match read_identity(&path.join(IDENTITY)) {
            Ok(Some(instance)) => (instance, Identity::Found),
            Ok(None) => (String::new(), Identity::Created),
            Err(why) => (String::new(), Identity::Replaced(why)),
        };
        let mut folder =
            StateFolder { path: path.to_owned(), instance, identity, marker_mended, _lock: lock };
        if folder.identity != Identity::Found {
            folder.new_instance()?;
        }
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `journal/`, which exists.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// `state/`, which [`super::store::Store::open`] creates.
    pub fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// `outbox/<name>/`, created if missing.
    ///
    /// # Errors
    /// `BadName` unless `name` has 1 to 64 letters, digits, `-`, `_` or `.` and does not start
    /// with a dot; I/O.
    pub fn outbox(&self, name: &str) -> Result<PathBuf, FolderError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !(1..=64).contains(&name.len()) || name.starts_with('.') || !name.chars().all(allowed) {
            return Err(FolderError::BadName(name.to_owned()));
        }
        let path = self.path.join("outbox").join(name);
        create_private(&path)?;
        Ok(path)
    }

    /// The instance id: 32 hexadecimal digits.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether the instance id was found or made.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// True when the marker was damaged and has been written again.
    pub fn marker_mended(&self) -> bool {
        self.marker_mended
    }

    /// Takes a new instance id, durably: after loss of state, so that upstream does not mistake
    /// what comes for a continuation. Returns it.
    ///
    /// # Errors
    /// I/O; the old id then stays.
    pub fn new_instance(&mut self) -> Result<&str, FolderError> {
        let instance = random_id()?;
        let path = self.path.join(IDENTITY);
        let stored = StoredIdentity { instance: instance.clone() };
        let bytes = format::encode(Kind::IDENTITY, VERSION, 0, &stored)
            .map_err(|error| FolderError::io("write", &path, io::Error::other(error)))?;
        write_atomically(&path, &bytes)?;
        self.instance = instance;
        Ok(&self.instance)
    }
}

/// Replaces the file at `path` so that after a crash at any moment it holds either the old or the
/// new bytes, and the new ones once this returns: temporary file, fsync, rename, fsync of the
/// folder. One writer per path.
///
/// # Errors
/// I/O; then either version may be there.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(FolderError::io("replace", path, source));
    };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let temporary = dir.join(format!(".{}.tmp", name.to_string_lossy()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    if let Err(source) = written {
        // A half-written copy of a full disk would only keep it full.
        let _ = fs::remove_file(&temporary);
        return Err(FolderError::io("write", &temporary, source));
    }
    fs::rename(&temporary, path).map_err(|source| FolderError::io("replace", path, source))?;
    Ok(seglog::sync_directory(dir)?)
}

/// Bytes that an ordinary process may still write to the file system of `path`.
///
/// # Errors
/// I/O.
pub fn free_bytes(path: &Path) -> Result<u64, FolderError> {
    let found = rustix::fs::statvfs(path)
        .map_err(|errno| FolderError::io("ask the free space of", path, errno.into()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

fn create_private(path: &Path) -> Result<(), FolderError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => return Err(FolderError::NotAFolder(path.to_owned())),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(FolderError::io("open", path, source)),
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FolderError::io("create", path, source))?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => Ok(seglog::sync_directory(parent)?),
        _ => Ok(()),
    }
}

fn marker_bytes() -> Vec<u8> {
    let text = format!("weir state folder, layout version {VERSION}\n");
    format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes())).into_bytes()
}

/// The layout version in a marker, `None` when it is damaged.
fn marker_version(bytes: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (line, crc) = text.trim_end().split_once('\n')?;
    let whole = format!("{line}\n");
    if u32::from_str_radix(crc, 16) != Ok(crc32fast::hash(whole.as_bytes())) {
        return None;
    }
    line.strip_prefix("weir state folder, layout version ")?.parse().ok()
}

/// Writes the marker into an empty folder, refuses a foreign or newer one. True: it was damaged
/// and written again (every file in the folder carries its own version, so nothing is risked).
fn check_marker(path: &Path) -> Result<bool, FolderError> {
    let marker = path.join(MARKER);
    let mut damaged = false;
    match fs::read(&marker) {
        Ok(bytes) => match marker_version(&bytes) {
            Some(VERSION) => return Ok(false),
            Some(found) => return Err(FolderError::Newer { path: path.to_owned(), found }),
            None => damaged = true,
        },
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            let io = |source| FolderError::io("list", path, source);
            for entry in fs::read_dir(path).map_err(io)? {
                let found = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
                if !BEFORE_MARKER.contains(&found.as_str()) {
                    return Err(FolderError::Foreign { path: path.to_owned(), found });
                }
            }
        }
        Err(source) => return Err(FolderError::io("read", &marker, source)),
    }
    write_atomically(&marker, &marker_bytes())?;
    Ok(damaged)
}

fn lock(folder: &Path, patience: Duration) -> Result<File, FolderError> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|source| FolderError::io("open", &path, source))?;
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(source)) => {
                return Err(FolderError::io("lock", &path, source));
            }
            Err(TryLockError::WouldBlock) if begin.elapsed() < patience => {
                thread::sleep(LOCK_RETRY.min(patience));
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let holder = file.read_to_string(&mut text).ok().and(text.trim().parse().ok());
                return Err(FolderError::Locked { path: folder.to_owned(), holder });
            }
        }
    }
    // Only for the message above: not synced, and no matter if it fails.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", process::id()));
    Ok(file)
}

fn read_identity(path: &Path) -> Result<Option<String>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(source.to_string()),
    };
    let (_, stored): (u64, StoredIdentity) =
        format::decode(Kind::IDENTITY, VERSION, &bytes).map_err(|error| error.to_string())?;
    Ok(Some(stored.instance))
}

/// 128 bits as hexadecimal digits. Time and process id are mixed in for gateways whose first boot
/// has little entropy; the kernel's generator alone would do elsewhere.
fn random_id() -> Result<String, FolderError> {
    let source = Path::new("/dev/urandom");
    let mut seed = [0; 32];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut seed))
        .map_err(|error| FolderError::io("read", source, error))?;
    let mut hasher = SipHasher13::new();
    hasher.write(&seed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.write_u32(process::id());
    Ok(format!("{:032x}", hasher.finish128().as_u128()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(path: &Path) -> Result<StateFolder, FolderError> {
        StateFolder::open(path, Duration::ZERO)
    }

    #[test]
    fn a_new_folder_is_private_and_keeps_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("var/weir");
        let mut folder = open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(folder.identity(), &Identity::Created);
        let first = folder.instance().to_owned();
        assert_eq!(first.len(), 32);
        assert!(folder.journal().is_dir());
        let second = folder.new_instance().unwrap().to_owned();
        assert_ne!(first, second);
        drop(folder);
        let folder = open(&path).unwrap();
        assert_eq!((folder.instance(), folder.identity()), (&second[..], &Identity::Found));
        assert!(!folder.marker_mended());
    }

    #[test]
    fn a_foreign_folder_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "precious").unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is not a weir state folder (it holds \"thesis.tex\")"), "{error}");
        assert!(error.contains("choose an empty folder"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let file = dir.path().join("thesis.tex");
        assert!(matches!(open(&file), Err(FolderError::NotAFolder(_))));
    }

    #[test]
    fn a_first_start_that_crashed_is_no_foreign_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in BEFORE_MARKER {
            fs::write(dir.path().join(name), "").unwrap();
        }
        open(dir.path()).unwrap();
    }

    #[test]
    fn a_newer_layout_is_refused_and_a_damaged_marker_mended() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let marker = dir.path().join(MARKER);
        let text = "weir state folder, layout version 2\n";
        fs::write(&marker, format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()))).unwrap();
        assert!(matches!(open(dir.path()), Err(FolderError::Newer { found: 2, .. })));
        let good = marker_bytes();
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // Trailing white space and the case of a digit carry nothing.
            assert!(matches!(marker_version(&flipped), None | Some(VERSION)), "bit {bit}");
        }
        fs::write(&marker, "garbage").unwrap();
        assert!(open(dir.path()).unwrap().marker_mended());
        assert_eq!(fs::read(&marker).unwrap(), good);
    }

    #[test]
    fn a_second_instance_is_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path()).unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        let expected = format!(
            "{}: in use by another weir (process {}); stop it or choose another folder for [state] path",
            dir.path().display(),
            process::id()
        );
        assert_eq!(error, expected);
        drop(folder);
        open(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_that_lingers_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path()).unwrap();
        let path = dir.path().to_owned();
        let waiting = thread::spawn(move || StateFolder::open(&path, Duration::from_secs(60)));
        drop(folder);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_damaged_identity_is_replaced_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap().instance().to_owned();
        let path = dir.path().join(IDENTITY);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        let folder = open(dir.path()).unwrap();
        assert!(matches!(folder.identity(), Identity::Replaced(why) if why.contains("damaged")));
        assert_ne!(folder.instance(), first);
    }

    #[test]
    fn outbox_names_stay_inside_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = open(dir.path()).unwrap();
        assert!(folder.outbox("cloud-2.eu_west").unwrap().is_dir());
        for name in ["", ".", "..", ".hidden", "a/b", "a\0b", "é", &"x".repeat(65)] {
            assert!(matches!(folder.outbox(name), Err(FolderError::BadName(_))), "{name}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cursor");
        for bytes in [&b"first, long"[..], b"second", b""] {
            write_atomically(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        let missing = write_atomically(&dir.path().join("none/cursor"), b"x").unwrap_err();
        assert!(missing.to_string().contains("none/.cursor.tmp: cannot write it"), "{missing}");
    }

    #[test]
    fn free_space_is_asked_of_the_system() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(dir.path()).unwrap() > 0);
        assert!(free_bytes(&dir.path().join("none")).is_err());
    }
}
