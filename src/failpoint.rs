//! Named places where the crash tests end the process.
//!
//! Without the feature `failpoints` [`hit`] is empty. With it, `WEIR_FAILPOINT=name:n` makes the
//! process die at the n-th hit of that name as kill -9 would: nothing is flushed, nothing unwinds.

/// All names, for the tests.
pub const NAMES: [&str; 11] = [
    "frame-before-write",
    "frame-before-sync",
    "frame-after-sync",
    "acknowledge-before",
    "outbox-before-append",
    "checkpoint-begin",
    "checkpoint-outbox-synced",
    "checkpoint-end",
    "trim-before",
    "trim-after",
    "forward-sealed",
];

/// Dies here if the environment says so.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var("WEIR_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((wanted, count)) = chosen
        && wanted == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        // SIGKILL to ourselves: no destructor, no flush.
        let pid = rustix::process::getpid();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_name: &str) {}

/// Bytes of journal growth after which a checkpoint is due, instead of what the pipeline's rule
/// says: the crash tests want many checkpoints in little time (`WEIR_CHECKPOINT_GROWTH=bytes`).
#[cfg(feature = "failpoints")]
pub fn checkpoint_growth() -> Option<u64> {
    static BYTES: std::sync::OnceLock<Option<u64>> = std::sync::OnceLock::new();
    *BYTES.get_or_init(|| std::env::var("WEIR_CHECKPOINT_GROWTH").ok()?.parse().ok())
}

/// Always `None`: the pipeline's own rule.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn checkpoint_growth() -> Option<u64> {
    None
}

/// Links the journal's segments into the folder `WEIR_JOURNAL_ARCHIVE` before some are deleted:
/// the crash tests replay the whole journal at the end.
///
/// # Panics
/// When a link cannot be made: a test without its archive proves nothing.
#[cfg(feature = "failpoints")]
pub fn before_trim(journal: &std::path::Path) {
    let Some(archive) = std::env::var_os("WEIR_JOURNAL_ARCHIVE") else { return };
    let archive = std::path::Path::new(&archive);
    for entry in std::fs::read_dir(journal).expect("the journal's folder can be read") {
        let entry = entry.expect("the journal's folder can be read");
        let link = archive.join(entry.file_name());
        // A segment that held nothing yet may have been made anew since it was linked.
        let _ = std::fs::remove_file(&link);
        std::fs::hard_link(entry.path(), &link).expect("the archive is on the same file system");
    }
}

/// Does nothing.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn before_trim(_journal: &std::path::Path) {}
