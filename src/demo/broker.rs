//! The embedded broker of `weir demo` (rumqttd): in memory, on the loopback interface, for as long
//! as the process lives (it has no way to stop).
//!
//! It needs no installation, and that is all that speaks for it: nothing survives the process, and
//! it sends at most 100 unacknowledged messages, whatever receive maximum the client names.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, SegmentConfig, ServerSettings};

/// Largest payload, in bytes.
const MAX_PAYLOAD: usize = 1024 * 1024;

/// Memory for messages on their way to a subscriber, per filter (twice that while a segment is
/// replaced): what a subscriber that fell further behind has not read is lost.
const SEGMENT: SegmentConfig = SegmentConfig { max_segment_size: 256 * 1024, max_segment_count: 2 };

/// The same for the sensors' readings: the demo's history is published as fast as it goes.
const SENSOR_SEGMENT: SegmentConfig =
    SegmentConfig { max_segment_size: 4 * 1024 * 1024, max_segment_count: 8 };

/// How long the listeners may take to open.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Where the broker listens. The two protocol versions have a port each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// MQTT 3.1.1, the default of most command-line clients.
    pub v4: SocketAddr,
    /// MQTT 5.
    pub v5: SocketAddr,
}

/// Starts the broker on 127.0.0.1: MQTT 3.1.1 on `port`, MQTT 5 on the port after it (port 0: two
/// free ones). Returns when both accept connections; logs through `tracing` as `rumqttd`.
///
/// # Errors
/// A port is taken, or the broker does not come up within 5 s.
pub fn start(port: u16) -> io::Result<Addresses> {
    let addresses = choose(port)?;
    let mut broker = Broker::new(config(addresses));
    let (failed, failure) = mpsc::sync_channel(1);
    std::thread::Builder::new().name("demo-broker".to_owned()).spawn(move || {
        // Returns only when its listeners have failed.
        let outcome = broker.start().map_or_else(|error| error.to_string(), |()| String::new());
        let _ = failed.send(outcome);
    })?;
    let deadline = Instant::now() + START_LIMIT;
    for address in [addresses.v4, addresses.v5] {
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err(other(format!("the demo broker does not answer on {address}")));
            }
            if let Ok(outcome) = failure.recv_timeout(Duration::from_millis(5)) {
                return Err(other(format!("the demo broker failed to start: {outcome}")));
            }
        }
    }
    Ok(addresses)
}

fn other(text: String) -> io::Error {
    io::Error::other(text)
}

/// Finds out now whether the ports are free: the broker itself only logs it.
fn choose(port: u16) -> io::Result<Addresses> {
    let bind = |port: u16| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
            let what = format!(
                "the demo broker cannot listen on 127.0.0.1:{port} ({error}): choose another \
                 port, or use the broker that is there with --broker mqtt://127.0.0.1:{port}"
            );
            io::Error::new(error.kind(), what)
        })
    };
    let second = if port == 0 {
        0
    } else {
        port.checked_add(1)
            .ok_or_else(|| other(format!("the port after {port} is for MQTT 5: choose a lower")))?
    };
    // Both are held until both are known, so that two free ones differ.
    let (v4, v5) = (bind(port)?, bind(second)?);
    Ok(Addresses { v4: v4.local_addr()?, v5: v5.local_addr()? })
}

fn config(addresses: Addresses) -> Config {
    let server = |name: &str, listen: SocketAddr| {
        let connections = ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: MAX_PAYLOAD,
            max_inflight_count: 100,
            auth: None,
            external_auth: None,
            // Else a publish that nobody has subscribed to would end the publisher's connection.
            dynamic_filters: true,
        };
        let settings = ServerSettings {
            name: name.to_owned(),
            listen,
            tls: None,
            next_connection_delay_ms: 0,
            connections,
        };
        Some(HashMap::from([(name.to_owned(), settings)]))
    };
    Config {
        id: 0,
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 200,
            max_segment_size: SEGMENT.max_segment_size,
            max_segment_count: SEGMENT.max_segment_count,
            custom_segment: Some(HashMap::from([("sensors/#".to_owned(), SENSOR_SEGMENT)])),
            initialized_filters: None,
            shared_subscriptions_strategy: Default::default(),
        },
        v4: server("demo-v4", addresses.v4),
        v5: server("demo-v5", addresses.v5),
        ws: None,
        cluster: None,
        console: None,
        bridge: None,
        prometheus: None,
        metrics: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = start(port).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    }

    #[test]
    fn the_last_port_leaves_no_room_for_the_second() {
        assert!(start(u16::MAX).unwrap_err().to_string().contains("choose a lower"));
    }
}
