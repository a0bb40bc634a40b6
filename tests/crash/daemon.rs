//! The real program as a child process: started, asked for its metrics, killed.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::model::{ARRAY_MAX, LATENESS_MS, PAYLOAD_MAX, RECEIVE_MAXIMUM, VALID};

/// Size of a journal segment: the least there is where segments that go are kept elsewhere.
pub const SEGMENT_BYTES: u64 = if cfg!(feature = "failpoints") { 64 << 10 } else { 1 << 30 };
/// Journal growth between checkpoints.
const CHECKPOINT_GROWTH: u64 = 6 << 10;
/// Outbox ceiling.
pub const OUTBOX_BYTES: u64 = 256 << 20;

/// The folder of one battery.
pub struct Home {
    pub root: PathBuf,
    lives: u64,
}

impl Home {
    /// Writes the configuration.
    pub fn new(root: &Path, site: u16, upstream: u16, max_series: usize) -> Home {
        let home = Home { root: root.to_owned(), lives: 0 };
        fs::create_dir(home.archive()).expect("the folder is ours");
        let state = home.state();
        let text = format!(
            r#"
[gateway]
id = "crash"
[state]
path = "{}"
segment_bytes = "{SEGMENT_BYTES}B"
[outbox]
max_bytes = "{OUTBOX_BYTES}B"
[batch]
interval = "100ms"
[series]
max_series = {max_series}
max_ahead = "1h"
[clock]
trust = "always"
[http]
listen = "127.0.0.1:0"
[mqtt]
url = "mqtt://127.0.0.1:{site}"
receive_maximum = {RECEIVE_MAXIMUM}
keep_alive = "5s"
[[mqtt.subscribe]]
topics = ["t/{{device}}/{{metric}}"]
value = "/v"
time = "/t"
time_unit = "ms"
missing = ["unavailable"]
max_payload = "{PAYLOAD_MAX}B"
[[mqtt.subscribe]]
topics = ["b/{{device}}/{{metric}}"]
records = "/r"
value = "/v"
time = "/t"
time_unit = "ms"
max_readings = {ARRAY_MAX}
[[mqtt.subscribe]]
topics = ["a/{{device}}/{{metric}}"]
value = "/v"
[[mqtt.subscribe]]
topics = ["m/{{device}}"]
values = {{ x = "/x", y = "/y" }}
time = "/t"
time_unit = "ms"
[results]
min_interval = "0s"
[[forward]]
name = "cloud"
type = "mqtt"
url = "mqtt://127.0.0.1:{upstream}"
topic = "fleet/{{gateway}}"
max_message = "8KiB"
[[profile]]
match = {{ device = "*" }}
lateness = "{LATENESS_MS}ms"
valid = [-{VALID}, {VALID}]
windows = [{{ size = "1s", quantiles = [0.5] }}, {{ size = "10s" }}]
forecast = false
[[profile]]
match = {{ device = ["t1", "b1", "m1"] }}
hold = "300ms"
[[profile]]
match = {{ device = ["t0", "a0"] }}
forecast = {{ step = "1s", season = ["5s"], horizon = "5s" }}
[[profile]]
match = {{ device = ["t2", "m0"] }}
kalman = {{ model = "trend" }}
"#,
            state.display()
        );
        fs::write(home.config(), text).expect("the folder is ours");
        home
    }

    fn config(&self) -> PathBuf {
        self.root.join("weir.toml")
    }

    /// The daemon's state folder.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Where journal segments are kept that the daemon deletes.
    pub fn archive(&self) -> PathBuf {
        self.root.join("archive")
    }

    /// Starts the daemon; `failpoint`: where it is to die.
    pub fn start(&mut self, failpoint: Option<&str>) -> Daemon {
        self.lives += 1;
        let log = self.root.join(format!("life-{:04}.log", self.lives));
        let mut command = super::program::weir();
        command.arg("run").arg("--config").arg(self.config());
        command.env("WEIR_CHECKPOINT_GROWTH", CHECKPOINT_GROWTH.to_string());
        command.env("WEIR_JOURNAL_ARCHIVE", self.archive());
        command.env_remove("WEIR_FAILPOINT");
        if let Some(failpoint) = failpoint {
            command.env("WEIR_FAILPOINT", failpoint);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).expect("the folder is ours"));
        let child = command.spawn().expect("weir starts");
        Daemon { child, log, address: None, seen: Metrics::default() }
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    address: Option<String>,
    /// The last metrics that could be had.
    pub seen: Metrics,
}

impl Daemon {
    /// Its end, if it ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Looks at `/metrics`, if it can be had yet.
    pub fn look(&mut self) -> bool {
        if self.address.is_none() {
            let log = self.log();
            let Some((_, rest)) = log.split_once("page and metrics at http://") else {
                return false;
            };
            self.address = rest.split_once('/').map(|(address, _)| address.to_owned());
        }
        let Some(address) = &self.address else { return false };
        match scrape(address) {
            Some(text) => {
                self.seen = Metrics(text);
                true
            }
            None => false,
        }
    }

    /// SIGKILL, now.
    pub fn kill(mut self) -> Metrics {
        if let Some(status) = self.ended() {
            panic!("weir ended by itself ({status}); its log:\n{}", self.log());
        }
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
        std::mem::take(&mut self.seen)
    }

    /// Waits until it dies at its failpoint.
    pub fn await_death(&mut self, failpoint: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut turn = 0_u32;
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(Instant::now() < deadline, "{failpoint} not reached; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
            turn += 1;
            if turn.is_multiple_of(20) {
                self.look();
            }
        };
        assert_eq!(status.signal(), Some(9), "{failpoint}: {status}; log:\n{}", self.log());
    }

    /// SIGTERM; how long it took to end with exit code 0.
    pub fn stop(mut self) -> Duration {
        let asked = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our child");
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(asked.elapsed() < Duration::from_secs(20), "SIGTERM: no end in 20 s");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0), "SIGTERM: {status}; log:\n{}", self.log());
        asked.elapsed()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn scrape(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.starts_with("HTTP/1.1 200").then_some(text)
}

/// A page of metrics.
#[derive(Clone, Default)]
pub struct Metrics(String);

impl Metrics {
    /// The value of a sample, 0 where there is none.
    pub fn get(&self, sample: &str) -> u64 {
        let line = |line: &str| line.strip_prefix(sample)?.strip_prefix(' ')?.parse::<f64>().ok();
        self.0.lines().find_map(line).unwrap_or(0.0) as u64
    }

    pub fn dropped(&self, reason: &str) -> u64 {
        self.get(&format!("weir_readings_dropped_total{{reason=\"{reason}\"}}"))
    }
}
