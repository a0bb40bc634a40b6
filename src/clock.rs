//! The clocks of the daemon, and whether the wall clock may be believed.
//!
//! Edge: everything behind the pipeline takes times as arguments. A scaled clock runs the demo:
//! wall and monotonic time pass `speed` times as fast as the real ones, in step with each other.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::reading::ProcessingTime;

/// Exists once systemd-timesyncd has set the clock since boot (systemd-timesyncd.service(8)).
const TIMESYNC_MARK: &str = "/run/systemd/timesync/synchronized";

/// How long `timedatectl` may take.
const TRUST_LIMIT: Duration = Duration::from_secs(2);

/// A wall clock and a monotonic one. Copies share their origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    wall: Wall,
}

#[derive(Clone, Copy, Debug)]
enum Wall {
    System,
    Scaled { origin: i64, speed: f64 },
}

impl Clock {
    /// The system's clock. Its wall time may step, its monotonic time starts at 0 now.
    pub fn system() -> Clock {
        Clock { started: Instant::now(), wall: Wall::System }
    }

    /// A clock that shows `origin_wall` (nanoseconds since the Unix epoch) now and runs `speed`
    /// times as fast as the real one. A speed that is not a positive finite number is taken as 1.
    pub fn scaled(origin_wall: i64, speed: f64) -> Clock {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        Clock { started: Instant::now(), wall: Wall::Scaled { origin: origin_wall, speed } }
    }

    /// Wall time: nanoseconds since the Unix epoch. Saturates at the ends of the range.
    pub fn now(&self) -> ProcessingTime {
        match self.wall {
            Wall::System => ProcessingTime(since_epoch(SystemTime::now())),
            Wall::Scaled { origin, .. } => ProcessingTime(origin.saturating_add(self.monotonic())),
        }
    }

    /// Nanoseconds since the clock was made; never goes back, stands still while the machine
    /// sleeps. Scaled like the wall time.
    pub fn monotonic(&self) -> i64 {
        self.scale(self.started.elapsed())
    }

    /// How long to sleep really until this clock has advanced by `nanos`; zero if not positive.
    /// Rounded up to a nanosecond, so that the clock is never short of it.
    pub fn real(&self, nanos: i64) -> Duration {
        let nanos = u64::try_from(nanos).unwrap_or(0);
        match self.wall {
            Wall::System => Duration::from_nanos(nanos),
            // Saturates above u64::MAX, by the rules of `as`.
            Wall::Scaled { speed, .. } => {
                Duration::from_nanos((nanos as f64 / speed).ceil() as u64)
            }
        }
    }

    /// How fast this clock runs; 1 for the system's.
    pub fn speed(&self) -> f64 {
        match self.wall {
            Wall::System => 1.0,
            Wall::Scaled { speed, .. } => speed,
        }
    }

    fn scale(&self, elapsed: Duration) -> i64 {
        let nanos = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        match self.wall {
            Wall::System => nanos,
            // Rounding keeps the order, so the result never goes back; `as` saturates.
            Wall::Scaled { speed, .. } => (nanos as f64 * speed) as i64,
        }
    }
}

fn since_epoch(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    }
}

/// Whether the wall clock may be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A time service has set it.
    Trusted,
    /// Nobody vouches for it.
    Untrusted {
        /// Why, in plain words.
        why: String,
    },
}

/// Asks the system whether its clock has been set by a time service since boot:
/// systemd-timesyncd's mark, else what the kernel reports through `timedatectl` (chrony, ntpd).
///
/// Blocks for up to 2 s (usually a few milliseconds; with the mark, none): call it from a thread
/// that may wait. Cheap enough for every 10 s.
pub fn clock_trusted() -> Trust {
    let mut timedatectl = Command::new("timedatectl");
    timedatectl.args(["show", "-p", "NTPSynchronized", "--value"]);
    trust(Path::new(TIMESYNC_MARK), &mut timedatectl, TRUST_LIMIT)
}

fn trust(mark: &Path, timedatectl: &mut Command, limit: Duration) -> Trust {
    if mark.exists() {
        return Trust::Trusted;
    }
    let why = match ask(timedatectl, limit) {
        Ok(answer) if answer.trim() == "yes" => return Trust::Trusted,
        Ok(answer) if answer.trim() == "no" => "the clock has not been synchronized".to_owned(),
        Ok(answer) => format!("timedatectl says {:?} instead of yes or no", answer.trim()),
        Err(error) => format!("{} does not exist and {error}", mark.display()),
    };
    Trust::Untrusted { why }
}

/// Runs a command for its standard output, at most `limit` long, then kills it.
fn ask(command: &mut Command, limit: Duration) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program} cannot be run ({error})"))?;
    let Some(stdout) = child.stdout.take() else {
        return Err(format!("{program} has no output"));
    };
    // A thread reads, because the standard library knows no read with a deadline; it ends with
    // the child. The answer is one word: more than 64 bytes are somebody else's.
    let (sender, receiver) = mpsc::sync_channel(1);
    let reader = std::thread::Builder::new().name("clock-trust".to_owned()).spawn(move || {
        let mut text = String::new();
        let read = std::io::Read::read_to_string(&mut std::io::Read::take(stdout, 64), &mut text);
        // The receiver may have given up; then nobody needs it.
        let _ = sender.send(read.map(|_| text));
    });
    let answer = match reader {
        Ok(_) => match receiver.recv_timeout(limit) {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(format!("the output of {program} cannot be read ({error})")),
            Err(_) => Err(format!("{program} did not answer within {} s", limit.as_secs_f64())),
        },
        Err(error) => Err(format!("no thread can be started ({error})")),
    };
    if answer.is_err() {
        // It may have ended meanwhile; killing it then fails, and may.
        let _ = child.kill();
    }
    match (child.wait(), answer) {
        (Ok(status), Ok(_)) if !status.success() => Err(format!("{program} failed ({status})")),
        (Err(error), _) => Err(format!("{program} cannot be waited for ({error})")),
        (Ok(_), answer) => answer,
    }
}

/// A number in [0, 1) for spreading retries out: different in every process and call, of no
/// cryptographic worth.
pub fn jitter() -> f64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::SECOND;
    use proptest::prelude::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_scaled_clock_starts_at_its_origin_and_runs_at_its_speed() {
        let clock = Clock::scaled(1_000 * SECOND, 3600.0);
        assert_eq!(clock.scale(Duration::ZERO), 0);
        assert_eq!(clock.scale(Duration::from_millis(500)), 1800 * SECOND);
        assert_eq!(clock.real(3600 * SECOND), Duration::from_secs(1));
        assert_eq!(clock.real(-1), Duration::ZERO);
        let before = clock.monotonic();
        let wall = clock.now().0 - 1_000 * SECOND;
        let after = clock.monotonic();
        assert!(before <= wall && wall <= after, "{before} {wall} {after}");
        for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Clock::scaled(0, speed).speed(), 1.0);
        }
    }

    #[test]
    fn copies_share_their_origin() {
        let clock = Clock::system();
        let copy = clock;
        let earlier = clock.monotonic();
        assert!(copy.monotonic() >= earlier);
    }

    #[test]
    fn the_system_clock_counts_from_the_epoch() {
        assert_eq!(since_epoch(UNIX_EPOCH + Duration::from_nanos(7)), 7);
        assert_eq!(since_epoch(UNIX_EPOCH - Duration::from_nanos(7)), -7);
        // 2020-01-01: any machine that builds this is later.
        assert!(Clock::system().now().0 > 1_577_836_800 * SECOND);
    }

    proptest! {
        #[test]
        fn sleeping_as_long_as_told_is_never_short(nanos in 0..1i64 << 60, speed in 0.001..1e6f64) {
            let clock = Clock::scaled(0, speed);
            let reached = clock.scale(clock.real(nanos));
            // Relative rounding of two operations on 53 bits.
            prop_assert!(reached as f64 >= nanos as f64 * (1.0 - 4.0 * f64::EPSILON));
        }

        #[test]
        fn scaled_time_keeps_the_order(a in 0..1u64 << 62, b in 0..1u64 << 62, speed in 0.001..1e6f64) {
            let clock = Clock::scaled(0, speed);
            let (first, second) = (a.min(b), a.max(b));
            prop_assert!(
                clock.scale(Duration::from_nanos(first)) <= clock.scale(Duration::from_nanos(second))
            );
        }
    }

    #[test]
    fn trust_comes_from_the_mark_or_from_timedatectl() {
        let directory = tempfile::tempdir().unwrap();
        let mark = directory.path().join("synchronized");
        let limit = Duration::from_secs(20);
        let check = |script: &str, expected: &str| match trust(&mark, &mut shell(script), limit) {
            Trust::Trusted => assert_eq!(expected, "", "{script}"),
            Trust::Untrusted { why } => {
                assert!(!expected.is_empty() && why.contains(expected), "{script}: {why}");
            }
        };
        check("echo yes", "");
        check("echo no", "not been synchronized");
        check("echo maybe", "\"maybe\"");
        check("exit 1", "sh failed");
        std::fs::write(&mark, "").unwrap();
        check("echo no", "");
    }

    #[test]
    fn a_program_that_is_missing_or_hangs_is_no_reason_to_wait() {
        let mark = Path::new("/nonexistent");
        let mut missing = Command::new("/nonexistent/timedatectl");
        match trust(mark, &mut missing, Duration::from_secs(20)) {
            Trust::Untrusted { why } => assert!(why.contains("cannot be run"), "{why}"),
            Trust::Trusted => panic!("trusted"),
        }
        // The child would outlive the test by far: that the test ends shows that it was killed.
        match trust(mark, &mut shell("exec sleep 600"), Duration::from_millis(20)) {
            Trust::Untrusted { why } => assert!(why.contains("did not answer"), "{why}"),
            Trust::Trusted => panic!("trusted"),
        }
    }

    #[test]
    fn endless_output_is_cut() {
        let error = ask(&mut shell("exec yes"), Duration::from_secs(20)).unwrap_err();
        assert!(error.contains("sh failed"), "{error}");
    }
}
