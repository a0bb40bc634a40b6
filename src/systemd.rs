//! Telling systemd how the daemon does: sd_notify(3), sd_watchdog_enabled(3).
//!
//! Edge. With the feature `systemd` libsystemd sends; without it (static builds, the demo) the
//! same datagrams are sent in pure Rust. Outside systemd every call does nothing. A failure is
//! logged once and never stops the daemon: the worst that follows is systemd's own timeout.

use std::env;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub mod activation;
#[cfg(feature = "systemd")]
pub mod journal;

/// Longest status text sent, in bytes; systemd cuts off at a few kilobytes.
const STATUS_MAX: usize = 512;

/// Sends notifications to the service manager.
#[derive(Debug)]
pub struct Notifier {
    target: Target,
    watchdog: Option<Duration>,
    complained: AtomicBool,
}

#[derive(Debug)]
enum Target {
    /// Not started by systemd.
    Nobody,
    /// libsystemd finds the socket in the environment.
    #[cfg(feature = "systemd")]
    Environment,
    Socket(SocketAddr),
}

impl Notifier {
    /// Reads `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID`. The environment stays as it
    /// is.
    pub fn from_env() -> Notifier {
        let socket = env::var_os("NOTIFY_SOCKET").map(OsStringExt::into_vec);
        let usec = env::var_os("WATCHDOG_USEC");
        let pid = env::var_os("WATCHDOG_PID");
        let watchdog = watchdog(
            usec.as_deref().map(OsStrExt::as_bytes),
            pid.as_deref().map(OsStrExt::as_bytes),
            std::process::id(),
        );
        let notifier = Notifier::new(socket.as_deref().unwrap_or_default(), watchdog);
        #[cfg(feature = "systemd")]
        if socket.is_some_and(|address| !address.is_empty()) {
            return Notifier { target: Target::Environment, ..notifier };
        }
        notifier
    }

    /// Sends to this socket: a path, or `@name` for an abstract one; empty: to nobody. `watchdog`
    /// is the interval that [`watchdog_interval`](Self::watchdog_interval) gives back.
    pub fn new(address: &[u8], watchdog: Option<Duration>) -> Notifier {
        let (target, fault) = match parse(address) {
            Ok(Some(socket)) => (Target::Socket(socket), None),
            Ok(None) => (Target::Nobody, None),
            Err(error) => (Target::Nobody, Some(error)),
        };
        let notifier = Notifier { target, watchdog, complained: AtomicBool::new(false) };
        if let Some(error) = fault {
            notifier.complain(&error);
        }
        notifier
    }

    /// Start-up (or a reload) is finished.
    pub fn ready(&self, status: &str) {
        self.send(&[("READY", "1"), ("STATUS", &one_line(status))]);
    }

    /// The configuration is being read again. `monotonic_usec`: CLOCK_MONOTONIC in microseconds
    /// ([`monotonic_usec`]); systemd waits for the next [`ready`](Self::ready).
    pub fn reloading(&self, monotonic_usec: u64) {
        self.send(&[("RELOADING", "1"), ("MONOTONIC_USEC", &monotonic_usec.to_string())]);
    }

    /// Still starting: systemd waits for [`ready`](Self::ready) at least this much longer, whatever
    /// `TimeoutStartSec=` says.
    pub fn starting(&self, longer: Duration, status: &str) {
        let usec = longer.as_micros().to_string();
        self.send(&[("EXTEND_TIMEOUT_USEC", &usec), ("STATUS", &one_line(status))]);
    }

    /// The daemon is about to end.
    pub fn stopping(&self) {
        self.send(&[("STOPPING", "1")]);
    }

    /// Still alive; at least twice in every [`watchdog_interval`](Self::watchdog_interval).
    pub fn watchdog(&self) {
        self.send(&[("WATCHDOG", "1")]);
    }

    /// One line for `systemctl status`; more lines are joined.
    pub fn status(&self, text: &str) {
        self.send(&[("STATUS", &one_line(text))]);
    }

    /// Within what time systemd wants to hear [`watchdog`](Self::watchdog); `None` if it does not
    /// watch this process.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    fn send(&self, fields: &[(&str, &str)]) {
        let sent = match &self.target {
            Target::Nobody => return,
            #[cfg(feature = "systemd")]
            Target::Environment => {
                systemd::daemon::notify(fields.iter()).map(drop).map_err(io::Error::from)
            }
            Target::Socket(address) => send_to(address, fields),
        };
        if let Err(error) = sent {
            self.complain(&error);
        }
    }

    fn complain(&self, error: &io::Error) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "systemd cannot be notified ({error}); if it waits for READY=1 it will stop this \
                 service: check $NOTIFY_SOCKET and NotifyAccess="
            );
        }
    }
}

/// CLOCK_MONOTONIC in microseconds, for [`Notifier::reloading`].
pub fn monotonic_usec() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Both fields are never negative on this clock.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000;
    seconds * 1_000_000 + micros
}

fn send_to(address: &SocketAddr, fields: &[(&str, &str)]) -> io::Result<()> {
    let mut datagram = String::new();
    for (key, value) in fields {
        // Writing to a string cannot fail.
        let _ = writeln!(datagram, "{key}={value}");
    }
    let socket = UnixDatagram::unbound()?;
    // A service manager that does not read must not stop the daemon.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(datagram.as_bytes(), address).map(drop)
}

/// `Ok(None)`: no address given.
fn parse(address: &[u8]) -> io::Result<Option<SocketAddr>> {
    match address {
        [] => Ok(None),
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address)).map(Some),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).map(Some),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{}: neither a path nor @name", String::from_utf8_lossy(address)),
        )),
    }
}

/// As sd_watchdog_enabled(3): no interval for another process, none for zero or nonsense.
fn watchdog(usec: Option<&[u8]>, pid: Option<&[u8]>, own_pid: u32) -> Option<Duration> {
    if let Some(pid) = pid
        && number(pid)? != u64::from(own_pid)
    {
        return None;
    }
    let usec = number(usec?)?;
    (usec > 0 && usec < u64::MAX).then(|| Duration::from_micros(usec))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// A line break would start a field of its own.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        if line.len() + character.len_utf8() > STATUS_MAX {
            break;
        }
        line.push(if character.is_control() { ' ' } else { character });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Manager {
        socket: UnixDatagram,
    }

    impl Manager {
        fn heard(&self) -> String {
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }
    }

    fn says_everything(notifier: &Notifier, manager: &Manager) {
        notifier.ready("up");
        assert_eq!(manager.heard(), "READY=1\nSTATUS=up\n");
        notifier.status("two\nREADY=1");
        assert_eq!(manager.heard(), "STATUS=two READY=1\n");
        notifier.watchdog();
        assert_eq!(manager.heard(), "WATCHDOG=1\n");
        notifier.reloading(42);
        assert_eq!(manager.heard(), "RELOADING=1\nMONOTONIC_USEC=42\n");
        notifier.starting(Duration::from_secs(2), "recovering");
        assert_eq!(manager.heard(), "EXTEND_TIMEOUT_USEC=2000000\nSTATUS=recovering\n");
        notifier.stopping();
        assert_eq!(manager.heard(), "STOPPING=1\n");
    }

    #[test]
    fn datagrams_arrive_at_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = Manager { socket: UnixDatagram::bind(&path).unwrap() };
        let notifier = Notifier::new(path.as_os_str().as_bytes(), None);
        says_everything(&notifier, &manager);
    }

    #[test]
    fn datagrams_arrive_at_an_abstract_socket() {
        let name = format!("weir-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = Manager { socket: UnixDatagram::bind_addr(&address).unwrap() };
        let notifier = Notifier::new(format!("@{name}").as_bytes(), None);
        says_everything(&notifier, &manager);
    }

    #[test]
    fn nobody_to_notify_is_no_fault() {
        let silent = Notifier::new(b"", Some(Duration::from_secs(3)));
        silent.ready("up");
        assert!(!silent.complained.load(Ordering::Relaxed));
        assert_eq!(silent.watchdog_interval(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn failures_are_told_and_survived() {
        for address in [&b"/nonexistent/notify"[..], b"vsock:2:1234", b"relative"] {
            let notifier = Notifier::new(address, None);
            notifier.ready("up");
            assert!(notifier.complained.load(Ordering::Relaxed), "{address:?}");
        }
    }

    #[test]
    fn the_watchdog_is_for_one_process() {
        let check = |usec: Option<&str>, pid: Option<&str>, expected: Option<u64>| {
            let interval = watchdog(usec.map(str::as_bytes), pid.map(str::as_bytes), 77);
            assert_eq!(interval, expected.map(Duration::from_micros), "{usec:?} {pid:?}");
        };
        check(None, None, None);
        check(Some("30000000"), None, Some(30_000_000));
        check(Some("30000000"), Some("77"), Some(30_000_000));
        check(Some("30000000"), Some("78"), None);
        check(Some("30000000"), Some("x"), None);
        check(Some("0"), Some("77"), None);
        check(Some("18446744073709551615"), None, None);
        check(Some("-1"), None, None);
    }

    #[test]
    fn a_long_status_is_cut_at_a_character() {
        let line = one_line(&"ü".repeat(1000));
        assert_eq!(line.len(), STATUS_MAX);
    }

    #[test]
    fn monotonic_time_does_not_go_back() {
        let earlier = monotonic_usec();
        assert!(earlier > 0 && monotonic_usec() >= earlier);
    }
}
