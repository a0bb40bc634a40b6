//! `weir explain` beside the running daemon.

use std::process::Command;

use crate::client::{Publish, publish};
use crate::daemon::{Settings, Site};
use crate::mosquitto::Mosquitto;

/// What `weir explain` says beside the daemon whose page has this port.
pub fn explain(site: &Site, port: u16, series: [&str; 2]) -> String {
    // As the configuration would name it.
    let text = std::fs::read_to_string(site.file()).unwrap();
    let file = site.folder().join("named.toml");
    std::fs::write(&file, text.replace("127.0.0.1:0'", &format!("127.0.0.1:{port}'"))).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["explain", "--config"])
        .arg(&file)
        .args(series)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_running_daemons_state_is_explained() {
    let broker = Mosquitto::start();
    let noise = "[[profile]]\nmatch = { metric = 't' }\nkalman = { observation_sd = 0.001, level_sd = 0.001 }\n";
    let site = Site::new(&Settings::new(broker.port()).and(noise));
    let weir = site.start();
    let reading = |i: u32| {
        let value = 20.0 + f64::from(i * 7919 % 101) / 50.0;
        Publish::reading("boiler-3", "t", f64::from(i), value)
    };
    publish(broker.port(), (0..200).map(reading));
    weir.takes(200);
    let said = explain(&site, weir.port(), ["boiler-3", "t"]);
    for part in [
        "kalman.observation_sd  0.001",
        "state, from the daemon at 127.0.0.1:",
        "readings  200, 0 dropped",
        "observation_sd 0.001, level_sd 0.001 (given)",
        "too small: the noise is too small: mean NIS",
        "raise observation_sd",
        "forecast  none yet, or off",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let port = weir.port();
    weir.stop();
    assert!(explain(&site, port, ["boiler-3", "t"]).contains("state: the daemon is not running"));
}
