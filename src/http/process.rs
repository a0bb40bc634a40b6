//! Figures of this process from `/proc/self`. Where there is no `/proc`, there are no figures.

use std::fs;

/// Clock ticks per second in `/proc/self/stat`. Linux fixes `USER_HZ` to 100 for user space on
/// every architecture that weir runs on (x86, ARM, RISC-V), whatever the kernel's own rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// What Prometheus calls the process metrics; each `None` if it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// User and system time in seconds.
    pub cpu_seconds: Option<f64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// Start in Unix seconds.
    pub start_seconds: Option<f64>,
}

impl Process {
    /// Reads them now; some ten microseconds.
    pub fn read() -> Process {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| number(&text, "btime "));
        let (cpu_seconds, since_boot) = match times(&stat) {
            Some((cpu, start)) => (Some(cpu), Some(start)),
            None => (None, None),
        };
        Process {
            resident_bytes: fs::read_to_string("/proc/self/status")
                .ok()
                .and_then(|text| number(&text, "VmRSS:"))
                .map(|kib| kib * 1024),
            cpu_seconds,
            // The directory being read is itself open while it is counted.
            open_fds: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| (entries.count() as u64).saturating_sub(1)),
            start_seconds: boot.zip(since_boot).map(|(boot, start)| boot as f64 + start),
        }
    }
}

/// CPU seconds and start in seconds since boot, from the text of `/proc/self/stat` (proc(5):
/// fields 14, 15 and 22; field 2 is the name in parentheses and may hold anything).
fn times(stat: &str) -> Option<(f64, f64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let start: u64 = fields.nth(6)?.parse().ok()?;
    Some(((user + system) as f64 / TICKS_PER_SECOND, start as f64 / TICKS_PER_SECOND))
}

/// The first number on the line that starts with `key`.
fn number(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_skip_a_hostile_process_name() {
        let stat =
            "7 (we ir) 9 (x) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 123400 1 2 3";
        assert_eq!(times(stat), Some((3.0, 1234.0)));
        assert_eq!(times(""), None);
        assert_eq!(times("7 (weir) S 1"), None);
    }

    #[test]
    fn numbers_are_found_by_the_start_of_their_line() {
        assert_eq!(number("Name:\tVmRSS: 1\nVmRSS:\t   2048 kB\n", "VmRSS:"), Some(2048));
        assert_eq!(number("cpu 1\nbtime 1700000000\n", "btime "), Some(1_700_000_000));
        assert_eq!(number("VmRSS: many\n", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_all_figures() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000), "{process:?}");
        assert!(process.cpu_seconds.is_some(), "{process:?}");
        assert!(process.open_fds.is_some_and(|n| n >= 3), "{process:?}");
        // After 2020, which catches a missing boot time and a wrong tick.
        assert!(process.start_seconds.is_some_and(|s| s > 1_577_836_800.0), "{process:?}");
    }
}
