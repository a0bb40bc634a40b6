//! A real mosquitto as a child process, for tests. Include it with
//! `#[path = "support/mosquitto.rs"] mod mosquitto;`.
//!
//! It listens on a free loopback port, keeps its files in a temporary directory of its own and
//! goes away (by its own process id) when dropped. mosquitto is a requirement of the tests: where
//! it is missing they fail and say so.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// How many ports to try before giving up: another process may take a port between our looking
/// and the broker's binding.
const ATTEMPTS: usize = 10;

/// A running (or stopped) mosquitto.
pub struct Mosquitto {
    directory: TempDir,
    settings: String,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts a broker for anonymous clients that queues without limit. It saves its database
    /// when [stopped](Self::stop), not when [killed](Self::kill).
    pub fn start() -> Mosquitto {
        Mosquitto::start_with("allow_anonymous true\nmax_queued_messages 0\n")
    }

    /// As [`start`](Self::start), but saves after every change, and so survives being killed with
    /// at most the last change lost. Every save writes all there is: keep queues short.
    pub fn start_durable() -> Mosquitto {
        Mosquitto::start_with(
            "allow_anonymous true\n\
             max_queued_messages 0\n\
             autosave_interval 1\n\
             autosave_on_changes true\n",
        )
    }

    /// Starts a broker that knows exactly one user.
    pub fn start_with_password(username: &str, password: &str) -> Mosquitto {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("passwords");
        let status = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(&file)
            .args([username, password])
            .status()
            .expect("mosquitto_passwd runs: install the package mosquitto");
        assert!(status.success(), "mosquitto_passwd: {status}");
        let settings =
            format!("allow_anonymous false\npassword_file {}\n", file.to_str().expect("UTF-8"));
        Mosquitto::start_in(directory, settings)
    }

    /// Starts a broker with these lines of configuration (besides listener and persistence).
    pub fn start_with(settings: &str) -> Mosquitto {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Mosquitto::start_in(directory, settings.to_owned())
    }

    fn start_in(directory: TempDir, settings: String) -> Mosquitto {
        let mut broker = Mosquitto { directory, settings, port: 0, child: None };
        let mut log = String::new();
        for _ in 0..ATTEMPTS {
            broker.port = free_port();
            match broker.spawn() {
                Ok(child) => {
                    broker.child = Some(child);
                    return broker;
                }
                Err(output) => log = output,
            }
        }
        panic!("mosquitto did not start in {ATTEMPTS} attempts; its last words:\n{log}");
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The temporary directory with its configuration and database.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// SIGTERM: it saves its database and ends. Waits for the end.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            // Right after its start it may not listen to the signal yet: asked again until it goes.
            while child.try_wait().expect("the broker is our child").is_none() {
                let status = Command::new("kill").args(["-TERM", &pid]).status();
                assert!(status.is_ok_and(|status| status.success()), "kill -TERM {pid}");
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }

    /// SIGKILL: it saves nothing. Waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the broker is our child");
            child.wait().expect("the broker is our child");
        }
    }

    /// Starts it again after [`stop`](Self::stop) or [`kill`](Self::kill), on the same port and
    /// database; stops it first if it runs.
    pub fn restart(&mut self) {
        self.stop();
        match self.spawn() {
            Ok(child) => self.child = Some(child),
            Err(log) => panic!("mosquitto did not come back on port {}:\n{log}", self.port),
        }
    }

    /// Starts the child and waits for its word that it runs; its output if it ends before.
    fn spawn(&self) -> Result<Child, String> {
        let directory = self.directory.path().to_str().expect("UTF-8");
        let mut text = String::new();
        // `user root`: started as root, it would otherwise change to a user that cannot write
        // into our directory; started as anybody else it ignores the line.
        write!(
            text,
            "user root\nlistener {} 127.0.0.1\npersistence true\npersistence_location {directory}/\n\
             log_dest stderr\nlog_type all\n{}",
            self.port, self.settings
        )
        .expect("writing to a string");
        let file = self.directory.path().join("mosquitto.conf");
        std::fs::write(&file, text).expect("the configuration can be written");
        let mut child = ["mosquitto", "/usr/sbin/mosquitto"]
            .iter()
            .find_map(|program| {
                let mut command = Command::new(program);
                command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
                command.stderr(Stdio::piped()).spawn().ok()
            })
            .expect("mosquitto runs: install the package mosquitto");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        let mut log = String::new();
        while let Some(Ok(line)) = lines.next() {
            // The listener is open when it says so (net__socket_listen precedes the line).
            if line.contains("running") {
                // Keep reading, or a full pipe would stop the broker.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(child);
            }
            log.push_str(&line);
            log.push('\n');
        }
        child.wait().expect("the broker is our child");
        Err(log)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A panic here would hide the test's own.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A loopback port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
