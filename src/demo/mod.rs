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
/// room for the relay, which swaps neighbouring readings.
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
kalman = { model = "level", observation_sd = 0.2, level_sd = 2.0 }

[[profile]]
match = { device = "relay-*", metric = "temperature" }
hold = "10m"

[[profile]]
match = { metric = "humidity" }
unit = "%"
valid = [0, 100]
kalman = { model = "level", observation_sd = 0.8, level_sd = 5.0 }

[[profile]]
match = { metric = "pressure" }
unit = "bar"
valid = [0, 16]
kalman = { model = "level", observation_sd = 0.05, level_sd = 0.05 }

[[profile]]
match = { metric = "energy" }
unit = "kWh"
valid = [0, 1000000]
kalman = { model = "trend" }
forecast = { trend = "additive" }

[[profile]]
match = { metric = "running" }
valid = [0, 1]
kalman = { model = "off" }
forecast = false

[[profile]]
match = { metric = "level" }
unit = "m"
kalman = { model = "level", observation_sd = 0.005, level_sd = 0.02 }
"#;

#[cfg(test)]
mod tests {
    #[test]
    fn the_configuration_is_toml() {
        let table: toml::Table = super::CONFIGURATION.parse().unwrap();
        assert_eq!(table["profile"].as_array().unwrap().len(), 8);
    }
}
