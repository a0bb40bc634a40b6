//! The yardstick: a subscriber that uses the same client library with the same options and only
//! counts. Runs as a process of its own (this program, started with [`COMMAND`]), so that the
//! kernel counts its CPU by itself.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, Packet};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

use crate::broker::Broker;
use crate::process::Process;

pub const COMMAND: &str = "bare-subscriber";

/// `PORT QOS NAME COUNT...`: prints `ready` once subscribed, then the time (Unix nanoseconds) at
/// which each count of messages was reached, and takes no more after the last. Answers a line on
/// standard input with the number of messages so far, and ends with standard input.
pub fn run(mut arguments: impl Iterator<Item = String>) {
    let mut next = || arguments.next().expect("PORT QOS NAME COUNT...");
    let port: u16 = next().parse().expect("a port");
    let qos = if next() == "0" { QoS::AtMostOnce } else { QoS::AtLeastOnce };
    let name = next();
    std::thread::spawn(answer);
    let counts: Vec<u64> = arguments.map(|count| count.parse().expect("a count")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async move {
        // weir's options for its readings; see `weir::mqtt::Options` and `weir::daemon`.
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        let mut properties = ConnectProperties::new();
        properties.receive_maximum = Some(u16::MAX);
        properties.max_packet_size = Some(1024 * 1024);
        properties.session_expiry_interval = Some(3600);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options
            .set_keep_alive(Duration::from_secs(30))
            .set_clean_start(false)
            .set_connect_properties(properties)
            .set_outgoing_inflight_upper_limit(100)
            .set_network_options(network);
        let (client, mut events) = AsyncClient::new(options, 1024);
        client.try_subscribe("sensors/+/+", qos).expect("room in the channel");
        let mut received = 0;
        let mut counts = counts.into_iter();
        let mut awaited = counts.next();
        while let Some(count) = awaited {
            match events.poll().await.expect("the broker stays") {
                Event::Incoming(Packet::SubAck(_)) => println!("ready"),
                Event::Incoming(Packet::Publish(_)) => {
                    received += 1;
                    RECEIVED.store(received, Ordering::Relaxed);
                    if received == count {
                        println!("{}", unix_nanos());
                        awaited = counts.next();
                    }
                }
                _ => {}
            }
        }
        // The parent reads our CPU time before it lets us go.
        loop {
            std::thread::park();
        }
    });
}

static RECEIVED: AtomicU64 = AtomicU64::new(0);

fn answer() {
    for _ in std::io::stdin().lines() {
        println!("{}", RECEIVED.load(Ordering::Relaxed));
    }
    std::process::exit(0);
}

fn unix_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()
}

/// The child process.
pub struct Bare {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Bare {
    pub fn start(broker: &Broker, qos: u8, trial: usize, counts: &[u64]) -> Bare {
        let mut child = Command::new(std::env::current_exe().expect("our own path"))
            .args([COMMAND, &broker.port().to_string(), &qos.to_string()])
            .arg(format!("bare-{trial}"))
            .args(counts.iter().map(u64::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut bare = Bare { child, lines };
        assert_eq!(bare.line(), "ready");
        bare
    }

    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// When the next count was reached; waits for it.
    pub fn wait_for_count(&mut self) -> SystemTime {
        let nanos: u64 = self.line().parse().expect("nanoseconds");
        UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    /// Messages so far; no count may be outstanding that could still be reached.
    pub fn received(&mut self) -> u64 {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        stdin.write_all(b"\n").expect("the subscriber listens");
        self.line().parse().expect("a count")
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the subscriber goes on").expect("text")
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
