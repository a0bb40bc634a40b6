//! `weir run` as a child process, watched through its page and /proc.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use tempfile::TempDir;

use crate::broker::{Broker, free_port};
use crate::process::Process;

/// Often enough to see the end, seldom enough not to be a load.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Names a file with more configuration, to see what it changes.
pub const EXTRA: &str = "WEIR_BENCH_EXTRA";

/// Set: weir's log goes to standard error.
pub const LOG: &str = "WEIR_BENCH_LOG";

pub struct Daemon {
    child: Child,
    page: u16,
    _directory: TempDir,
}

/// A committed batch, as the page tells it.
pub struct Batch {
    pub readings: u64,
    pub closed: SystemTime,
}

/// What was written up to a moment.
pub struct Written {
    pub process: u64,
    pub journal: u64,
    pub checkpoint: u64,
    pub batches: u64,
    pub checkpoints: u64,
}

#[derive(Deserialize)]
struct Status {
    mqtt_connected: bool,
    readings_total: u64,
    drops: std::collections::BTreeMap<String, u64>,
    recent: Vec<BatchStatus>,
    batch: Option<BatchStatus>,
    journal_bytes_total: u64,
    checkpoint_bytes_total: u64,
    checkpoints_total: u64,
    forwards: Vec<ForwardStatus>,
    results: ResultsStatus,
}

#[derive(Deserialize)]
struct BatchStatus {
    number: u64,
    closed: String,
    readings: u64,
}

#[derive(Deserialize)]
struct ForwardStatus {
    connected: bool,
}

#[derive(Deserialize)]
struct ResultsStatus {
    connected: bool,
}

impl Daemon {
    pub fn start(broker: &Broker, upstream: &Broker, qos: u8) -> Daemon {
        Daemon::start_with_interval(broker, upstream, qos, "2s")
    }

    /// Starts it and waits until it is connected everywhere.
    pub fn start_with_interval(
        broker: &Broker,
        upstream: &Broker,
        qos: u8,
        interval: &str,
    ) -> Daemon {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let page = free_port();
        let file = directory.path().join("weir.toml");
        let state = directory.path().join("state");
        // A client id of its own for each, so that no session of a former one is resumed.
        let text = format!(
            r#"
            [gateway]
            id = "load-{page}"
            [batch]
            interval = "{interval}"
            [state]
            path = "{}"
            [clock]
            trust = "always"
            [mqtt]
            url = "mqtt://127.0.0.1:{}"
            session_expiry = "1m"
            [[mqtt.subscribe]]
            topics = ["sensors/{{device}}/{{metric}}"]
            qos = {qos}
            value = "/value"
            time = "/ts"
            [[forward]]
            name = "cloud"
            type = "mqtt"
            url = "mqtt://127.0.0.1:{}"
            topic = "fleet/{{gateway}}/aggregates"
            [http]
            listen = "127.0.0.1:{page}"
            "#,
            state.display(),
            broker.port(),
            upstream.port(),
        );
        std::fs::write(&file, text).expect("the configuration can be written");
        if let Some(extra) = std::env::var_os(EXTRA) {
            let folder = directory.path().join("conf.d");
            std::fs::create_dir(&folder).expect("a folder can be made");
            std::fs::copy(&extra, folder.join("extra.toml")).expect("the extra file can be read");
        }
        let child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["run", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(match std::env::var_os(LOG) {
                Some(_) => Stdio::inherit(),
                None => Stdio::null(),
            })
            .spawn()
            .expect("weir starts");
        let mut daemon = Daemon { child, page, _directory: directory };
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(ended) = daemon.child.try_wait().expect("our child") {
                panic!("weir ended with {ended}; set WEIR_BENCH_LOG=1 to see why");
            }
            if daemon.try_status().is_some_and(|status| {
                let forwards = status.forwards.iter().all(|forward| forward.connected);
                status.mqtt_connected && status.results.connected && forwards
            }) {
                return daemon;
            }
            assert!(Instant::now() < until, "weir does not come up");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Waits until `count` readings are committed; how many were when they stopped coming, if
    /// fewer come.
    pub fn wait_for_readings(&self, count: u64, patience: Duration) -> u64 {
        let mut seen = 0;
        let mut until = Instant::now() + patience;
        loop {
            let status = self.status();
            let drops: u64 = status.drops.values().sum();
            assert_eq!(drops, 0, "readings were dropped: {:?}", status.drops);
            if status.readings_total >= count {
                return status.readings_total;
            }
            if status.readings_total > seen {
                seen = status.readings_total;
                until = Instant::now() + patience.min(Duration::from_secs(10));
            }
            if Instant::now() > until {
                return seen;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Number of the last batch; the process must not be stopped.
    pub fn last_batch(&self) -> u64 {
        self.status().batch.map_or(0, |batch| batch.number)
    }

    /// Batches after `number`, oldest first.
    pub fn batches_after(&self, number: u64) -> Vec<Batch> {
        let recent = self.status().recent.into_iter().filter(|batch| batch.number > number);
        let batches = recent.filter(|batch| batch.readings > 0).map(|batch| Batch {
            readings: batch.readings,
            closed: {
                let closed: jiff::Timestamp = batch.closed.parse().expect("RFC 3339");
                SystemTime::from(closed)
            },
        });
        batches.collect()
    }

    pub fn written(&self) -> Written {
        let status = self.status();
        Written {
            process: self.process().write_bytes(),
            journal: status.journal_bytes_total,
            checkpoint: status.checkpoint_bytes_total,
            batches: status.batch.map_or(0, |batch| batch.number),
            checkpoints: status.checkpoints_total,
        }
    }

    fn status(&self) -> Status {
        self.try_status().expect("the page answers")
    }

    fn try_status(&self) -> Option<Status> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.page)).ok()?;
        let request = "GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process().terminate();
        let _ = self.child.wait();
    }
}
