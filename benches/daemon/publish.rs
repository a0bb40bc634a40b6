//! A publisher that cannot be the bottleneck: packets made beforehand, written to a socket.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::broker::Broker;

const CONNACK: usize = 4;
const PUBACK: usize = 4;
const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: usize = 2;
/// How often a paced publisher writes: oftener than the silence after which weir commits early.
const TICK: Duration = Duration::from_millis(2);

/// The readings of all devices, round by round: `{"value": 21.37, "ts": 1700000000.123}`.
pub struct Messages {
    devices: usize,
    qos: u8,
    /// Event time of the next round, Unix seconds.
    time: f64,
    step: f64,
    random: u64,
    packet_id: u16,
}

/// Publish packets, one after the other.
pub struct Packets {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    qos: u8,
}

impl Packets {
    fn between(&self, from: usize, to: usize) -> &[u8] {
        let start = if from == 0 { 0 } else { self.ends[from - 1] };
        &self.bytes[start..self.ends[to - 1]]
    }
}

impl Messages {
    /// `begin_ago_s`: how long ago the first reading was; `step_s`: event time between a device's
    /// readings.
    pub fn new(devices: usize, qos: u8, begin_ago_s: u64, step_s: f64) -> Messages {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let time = (now - begin_ago_s) as f64;
        Messages { devices, qos, time, step: step_s, random: 1, packet_id: 0 }
    }

    /// The next `rounds` readings of each device.
    pub fn rounds(&mut self, rounds: usize) -> Packets {
        let count = rounds * self.devices;
        let mut packets =
            Packets { bytes: Vec::with_capacity(count * 80), ends: Vec::new(), qos: self.qos };
        for _ in 0..rounds {
            for device in 0..self.devices {
                self.publish(device, &mut packets.bytes);
                packets.ends.push(packets.bytes.len());
            }
            self.time += self.step;
        }
        packets
    }

    fn publish(&mut self, device: usize, out: &mut Vec<u8>) {
        // A day's swing and noise, as a thermometer has; devices a few milliseconds apart.
        let day = self.time / 86_400.0 * std::f64::consts::TAU;
        let value = 21.0 + 4.0 * (day + device as f64).sin() + 0.2 * self.noise();
        let time = self.time + device as f64 * 0.000_9;
        let topic = format!("sensors/device-{device:04}/temperature");
        let payload = format!("{{\"value\": {value:.2}, \"ts\": {time:.3}}}");
        let id = if self.qos > 0 { 2 } else { 0 };
        let length = 2 + topic.len() + id + payload.len();
        assert!(length < 128, "one byte of length");
        out.extend([0x30 | self.qos << 1, length as u8, 0, topic.len() as u8]);
        out.extend(topic.as_bytes());
        if self.qos > 0 {
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            out.extend(self.packet_id.to_be_bytes());
        }
        out.extend(payload.as_bytes());
    }

    /// Roughly normal: the sum of four uniform numbers (xorshift64*, Vigna 2016).
    fn noise(&mut self) -> f64 {
        let mut sum = -2.0;
        for _ in 0..4 {
            self.random ^= self.random >> 12;
            self.random ^= self.random << 25;
            self.random ^= self.random >> 27;
            let bits = self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
            sum += bits as f64 / (1u64 << 53) as f64;
        }
        sum * 3f64.sqrt()
    }
}

/// An MQTT 3.1.1 connection that only publishes.
pub struct Publisher {
    stream: TcpStream,
}

impl Publisher {
    pub fn connect(broker: &Broker) -> Publisher {
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port())).expect("the broker listens");
        stream.set_nodelay(true).expect("a TCP socket");
        // Clean session, keep-alive off, client id left to the broker.
        let connect = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
        stream.write_all(connect).expect("the broker takes a connection");
        let mut answer = [0; CONNACK];
        stream.read_exact(&mut answer).expect("the broker answers");
        assert_eq!(answer[3], 0, "the broker accepts");
        Publisher { stream }
    }

    /// Publishes all and waits until the broker has them.
    pub fn publish(&mut self, packets: &Packets) {
        self.write_all(packets, |stream| stream.write_all(&packets.bytes));
    }

    /// Publishes at `rate` messages a second, and waits until the broker has them.
    pub fn paced(&mut self, packets: &Packets, rate: u64) {
        self.write_all(packets, |stream| {
            let start = Instant::now();
            let mut sent = 0;
            while sent < packets.ends.len() {
                let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
                let due = due.min(packets.ends.len());
                if due > sent {
                    stream.write_all(packets.between(sent, due))?;
                    sent = due;
                }
                std::thread::sleep(TICK);
            }
            Ok(())
        });
    }

    /// Publishes all at QoS 1 with at most `window` unacknowledged: as fast as the broker lets it.
    pub fn windowed(&mut self, packets: &Packets, window: usize) {
        assert!(packets.qos > 0, "only QoS 1 is acknowledged");
        let count = packets.ends.len();
        let (mut sent, mut answered) = (0, 0);
        let mut answers = [0; 4096];
        while answered < count * PUBACK {
            let allowed = (answered / PUBACK + window).min(count);
            if allowed > sent {
                let bytes = packets.between(sent, allowed);
                self.stream.write_all(bytes).expect("the broker takes messages");
                sent = allowed;
            }
            let read = self.stream.read(&mut answers).expect("the broker answers");
            assert!(read > 0, "broker hung up");
            answered += read;
        }
    }

    fn write_all(
        &mut self,
        packets: &Packets,
        write: impl FnOnce(&mut TcpStream) -> std::io::Result<()>,
    ) {
        // The broker answers in order, so the ping's answer comes behind every PUBACK.
        let answers = packets.ends.len() * if packets.qos > 0 { PUBACK } else { 0 } + PINGRESP;
        let reader = self.stream.try_clone().expect("a socket can be cloned");
        let reading = std::thread::spawn(move || {
            let copied = std::io::copy(&mut reader.take(answers as u64), &mut std::io::sink());
            assert_eq!(copied.expect("the broker answers"), answers as u64, "broker hung up");
        });
        write(&mut self.stream).expect("the broker takes messages");
        self.stream.write_all(&PINGREQ).expect("the broker takes a ping");
        reading.join().expect("all answers");
    }
}
