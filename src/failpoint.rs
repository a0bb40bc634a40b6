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
