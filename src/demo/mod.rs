//! `weir demo`: an embedded broker, simulated sensors and a configuration that fits them.
//!
//! Edge, except [`sensors`]. The pipeline that the demo shows is the real one; only time runs
//! faster ([`Clock::scaled`](crate::clock::Clock::scaled)).

#[cfg(feature = "demo")]
pub mod broker;
mod publish;
pub mod sensors;

pub use publish::publish;

/// What the demo configures for its sensors, without `[mqtt]`, paths and ports: these are set by
/// whoever starts it.
///
/// Sensors report every five minutes of simulated time, so windows are hours. The lateness leaves
/// room for the relay, which swaps neighbouring readings. The pump's noise is given, as from a data
/// sheet, and `climate` filters temperature and humidity of a greenhouse together; all else is found
/// from the readings: noise, counters, states.
pub const CONFIGURATION: &str = r#"
[[mqtt.subscribe]]
topics = ["sensors/{device}/{metric}"]
qos = 1
format = "json"
value = "/value"
time = "/ts"
time_unit = "s"

[[profile]]
match = { metric = "*" }
lateness = "10m"
windows = [{ size = "1h" }, { size = "1d" }]
forecast = { step = "1h", season = ["1d"], trend = "none", seasonal = "additive", horizon = "24h" }

[[profile]]
match = { metric = "temperature" }
unit = "°C"
valid = [-40, 85]

[[profile]]
match = { device = "relay-*", metric = "temperature" }
hold = "10m"

[[profile]]
match = { metric = "humidity" }
unit = "%"
valid = [0, 100]

[[profile]]
match = { device = "greenhouse-*" }
[profile.kalman]
model = "custom"
name = "climate"
metrics = ["temperature", "humidity"]
per_second = true
F = [[0, 0], [0, 0]]
H = [[1, 0], [0, 1]]
Q = [[1.2e-4, 0], [0, 1.6e-3]]
R = [[1e-3, 0], [0, 1e-2]]

[[profile]]
match = { metric = "pressure" }
unit = "bar"
valid = [0, 16]
kalman = { model = "level", observation_sd = 0.05, level_sd = 0.05 }

[[profile]]
match = { metric = "energy" }
unit = "Wh"
valid = [0, 1000000000]

[[profile]]
match = { metric = "running" }
valid = [0, 1]

[[profile]]
match = { metric = "level" }
unit = "m"
"#;

#[cfg(test)]
mod tests {
    #[test]
    fn the_configuration_is_toml() {
        let table: toml::Table = super::CONFIGURATION.parse().unwrap();
        assert_eq!(table["profile"].as_array().unwrap().len(), 9);
    }
}
