//! A mosquitto that logs nothing per message (the tests' one does, and that costs as much as the
//! message).

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PROGRAMS: [&str; 2] = ["mosquitto", "/usr/sbin/mosquitto"];

/// A running broker with the windows and queues of `configs/mosquitto.conf`; ends when dropped.
pub struct Broker {
    port: u16,
    child: Child,
    _directory: TempDir,
}

impl Broker {
    pub fn start() -> Broker {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let port = free_port();
        let file = directory.path().join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
             max_inflight_messages 0\npersistence false\nlog_type error\nlog_dest stderr\n"
        );
        std::fs::write(&file, text).expect("the configuration can be written");
        let child = PROGRAMS
            .iter()
            .find_map(|program| {
                let mut command = Command::new(program);
                command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
                command.spawn().ok()
            })
            .expect("mosquitto runs: install the package mosquitto");
        let broker = Broker { port, child, _directory: directory };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < until, "mosquitto does not listen on port {port}");
            std::thread::sleep(Duration::from_millis(10));
        }
        broker
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// As the broker says it.
    pub fn version() -> String {
        let output = PROGRAMS.iter().find_map(|p| Command::new(p).arg("-h").output().ok());
        let output = output.expect("mosquitto runs: install the package mosquitto");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().unwrap_or("mosquitto").to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
