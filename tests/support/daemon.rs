//! `weir run` as a child process in a temporary folder, and what its users see of it: log, exit
//! code, page, metrics.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A test that waits longer than this for one thing has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// 2026-01-01 in Unix seconds: event times begin here, so that results are the same every time.
pub const EPOCH: i64 = 1_767_225_600;

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none in [`PATIENCE`]; `what` says what was awaited.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_or(what, String::new, ask)
}

/// As [`until`], with `more` to say when it fails.
pub fn until_or<T>(
    what: &str,
    more: impl FnOnce() -> String,
    mut ask: impl FnMut() -> Option<T>,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        if begin.elapsed() > PATIENCE {
            panic!("waited {PATIENCE:?} for {what}\n{}", more());
        }
        // The pause of a poll, not a wait for time to pass.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The configuration of a test, by table; every text is the lines of that table.
#[derive(Clone)]
pub struct Settings {
    /// Port of the site's broker on 127.0.0.1.
    pub broker: u16,
    /// More of `[mqtt]`.
    pub mqtt: String,
    /// `[[mqtt.subscribe]]`.
    pub subscribe: String,
    /// `[batch]`.
    pub batch: String,
    /// `[results]`.
    pub results: String,
    /// Whole tables.
    pub rest: String,
}

impl Settings {
    /// Readings on `sensors/<device>/<metric>` as `{"value": v, "ts": s}`; batches of 100 ms;
    /// windows of one second without lateness, no forecast.
    pub fn new(broker: u16) -> Settings {
        Settings {
            broker,
            mqtt: String::new(),
            subscribe: "topics = ['sensors/{device}/{metric}']\nvalue = '/value'\ntime = '/ts'\n"
                .to_owned(),
            batch: "interval = '100ms'\n".to_owned(),
            results: "min_interval = '0s'\n".to_owned(),
            rest: "[[profile]]\nmatch = {}\nlateness = '0s'\nwindows = [{ size = '1s' }]\n\
                   forecast = false\n"
                .to_owned(),
        }
    }

    /// With these tables besides.
    pub fn and(mut self, tables: &str) -> Settings {
        self.rest.push_str(tables);
        self
    }

    /// The whole file.
    pub fn text(&self, state: &Path) -> String {
        let Settings { broker, mqtt, subscribe, batch, results, rest } = self;
        format!(
            "[gateway]\nid = 'gw'\n[batch]\n{batch}[state]\npath = '{}'\n[clock]\ntrust = 'always'\n\
             [http]\nlisten = '127.0.0.1:0'\n[results]\n{results}\
             [mqtt]\nurl = 'mqtt://127.0.0.1:{broker}'\n{mqtt}[[mqtt.subscribe]]\n{subscribe}{rest}",
            state.display()
        )
    }
}

/// Folder and configuration of a daemon, which may run, end and run again.
pub struct Site {
    folder: TempDir,
    /// `[state] path`.
    pub state: PathBuf,
    /// Variables for the daemon's environment.
    pub environment: Vec<(String, String)>,
    /// A program with its arguments to run the daemon under.
    pub under: Vec<String>,
}

impl Site {
    /// A new folder with this configuration.
    pub fn new(settings: &Settings) -> Site {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = folder.path().join("state");
        let site = Site { folder, state, environment: Vec::new(), under: Vec::new() };
        site.configure(settings);
        site
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("weir.toml")
    }

    /// Writes the configuration.
    pub fn configure(&self, settings: &Settings) {
        self.configure_text(&settings.text(&self.state));
    }

    /// Writes this text as the configuration.
    pub fn configure_text(&self, text: &str) {
        std::fs::write(self.file(), text).expect("the configuration can be written");
    }

    /// Starts the daemon, without waiting for anything.
    pub fn spawn(&self) -> Weir {
        let mut words = self.under.clone();
        words.push(env!("CARGO_BIN_EXE_weir").to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["run", "--config"]).arg(self.file());
        command.env_remove("WEIR_LOG").env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        command.envs(self.environment.iter().cloned());
        Weir::spawn(command)
    }

    /// Starts the daemon and waits until it takes readings.
    pub fn start(&self) -> Weir {
        let weir = self.spawn();
        weir.ready();
        weir
    }
}

/// A running daemon; killed when dropped.
pub struct Weir {
    child: RefCell<Child>,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Weir {
    /// Starts this command and gathers its standard error.
    pub fn spawn(mut command: Command) -> Weir {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let to = log.clone();
        let reader = std::thread::spawn(move || {
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Weir { child: RefCell::new(child), log, reader: Some(reader) }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the log holds `text`.
    pub fn says(&self, text: &str) {
        until_or(
            &format!("{text:?} in the log"),
            || self.log(),
            || {
                let ended = !self.runs();
                let said = self.log().contains(text);
                assert!(said || !ended, "ended without saying {text:?}\n{}", self.log());
                said.then_some(())
            },
        );
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.borrow().id()
    }

    /// Sends a signal, as `kill -NAME`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.child.get_mut().kill().expect("our child");
        self.child.get_mut().wait().expect("our child");
    }

    /// SIGTERM; it must end by itself with code 0 within five seconds. Returns the log.
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        let begin = Instant::now();
        let status = self.ends();
        let took = begin.elapsed();
        let log = self.log();
        assert!(status.success(), "{status}\n{log}");
        assert!(took < Duration::from_secs(5), "a stop took {took:?}\n{log}");
        log
    }

    /// Waits for it to end by itself; its log is then complete.
    pub fn ends(&mut self) -> ExitStatus {
        let status = until_or(
            "the daemon's end",
            || self.log(),
            || self.child.borrow_mut().try_wait().expect("our child"),
        );
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends with the pipe");
        }
        status
    }

    /// Waits for it to end by itself with this exit code; returns the log.
    pub fn ends_with(mut self, code: i32) -> String {
        let status = self.ends();
        assert_eq!(status.code(), Some(code), "{status}\n{}", self.log());
        self.log()
    }

    /// True while it runs.
    pub fn runs(&self) -> bool {
        self.child.borrow_mut().try_wait().expect("our child").is_none()
    }

    /// The port of the page.
    pub fn port(&self) -> u16 {
        let begin = "page and metrics at http://127.0.0.1:";
        self.says(begin);
        let log = self.log();
        let rest = log.split(begin).nth(1).expect("it is there");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a port")
    }

    /// GET: status code and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let get = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = match get() {
            Ok(answer) => answer,
            Err(error) => panic!("GET {path}: {error}\n{}", self.log()),
        };
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let code = head.split(' ').nth(1).expect("a status line").parse().expect("a code");
        (code, body.to_owned())
    }

    /// Waits until `/readyz` says 200.
    pub fn ready(&self) {
        until_or("readiness", || self.log(), || (self.get("/readyz").0 == 200).then_some(()));
    }

    /// Waits until `/readyz` says 503 with `reason`.
    pub fn unready(&self, reason: &str) {
        until_or(
            &format!("{reason:?} from /readyz"),
            || self.log(),
            || {
                let (code, body) = self.get("/readyz");
                (code == 503 && body.contains(reason)).then_some(())
            },
        );
    }

    /// `/api/status`.
    pub fn status(&self) -> serde_json::Value {
        let (code, body) = self.get("/api/status");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// All samples of `/metrics`, by name with labels.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (code, body) = self.get("/metrics");
        assert_eq!(code, 200, "{body}");
        let lines = body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("name and value");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// One sample of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        *metrics.get(name).unwrap_or_else(|| panic!("{name}: not among {:?}", metrics.keys()))
    }

    /// Waits until a metric has this value.
    pub fn counts(&self, name: &str, value: f64) {
        let mut last = f64::NAN;
        let begin = Instant::now();
        while last != value {
            last = self.metric(name);
            assert!(
                begin.elapsed() < PATIENCE,
                "{name}: {last} instead of {value}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until so many readings are committed.
    pub fn takes(&self, readings: u64) {
        self.counts("weir_readings_total", readings as f64);
    }

    /// Waits until so many drops of this reason are committed.
    pub fn drops(&self, reason: &str, count: u64) {
        self.counts(&format!("weir_readings_dropped_total{{reason=\"{reason}\"}}"), count as f64);
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // A panic here would hide the test's own.
        let _ = self.child.get_mut().kill();
        let _ = self.child.get_mut().wait();
    }
}

/// Sends a signal to a process of ours, as `kill -NAME`.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}
