//! The broker configuration that docs/security.md recommends: weir works with it, and a device
//! can write its own topics and nothing else.

use std::path::Path;
use std::process::Command;

use crate::authority::{Authority, Pair, VALID};
use crate::daemon::{EPOCH, Settings, Site, until};
use crate::mosquitto::Mosquitto;

/// The recommended files with the paths and the port of this test.
fn broker(folder: &Path, server: &Pair, ca: &Authority, revoked: &Pair) -> Mosquitto {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let text = std::fs::read_to_string(root.join("mosquitto-secure.conf")).unwrap();
    let acl = folder.join("acl");
    std::fs::copy(root.join("mosquitto-secure.acl"), &acl).unwrap();
    let list = ca.revoke(&[revoked]);
    let mut settings = String::new();
    for line in text.lines() {
        let replaced = match line.split(' ').next().unwrap_or("") {
            // The test's own, on a free port of the loopback interface.
            "listener" | "persistence" | "persistence_location" => String::new(),
            "certfile" => format!("certfile {}", server.cert.display()),
            "keyfile" => format!("keyfile {}", server.key.display()),
            "cafile" => format!("cafile {}", ca.cert().display()),
            "crlfile" => format!("crlfile {}", list.display()),
            "acl_file" => format!("acl_file {}", acl.display()),
            _ => line.to_owned(),
        };
        settings.push_str(&replaced);
        settings.push('\n');
    }
    Mosquitto::start_with(&settings)
}

/// `mosquitto_pub` as this client; whether the broker let it in and took the message.
fn publishes(port: u16, ca: &Path, pair: &Pair, topic: &str, payload: &str) -> bool {
    let output = Command::new("mosquitto_pub")
        .args(["-h", "localhost", "-p", &port.to_string(), "-V", "5", "-q", "1", "-d"])
        .arg("--cafile")
        .arg(ca)
        .arg("--cert")
        .arg(&pair.cert)
        .arg("--key")
        .arg(&pair.key)
        .args(["-t", topic, "-m", payload])
        .output()
        .expect("mosquitto_pub runs: install the package mosquitto-clients");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // 135: not authorized; 16: taken, nobody subscribed.
    output.status.success() && said.contains("PUBACK") && !said.contains("RC:135")
}

#[test]
fn weir_works_with_the_recommended_broker_and_devices_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let server = ca.server(&["localhost"], VALID);
    let [weir, boiler, pump, stolen] =
        ["weir", "boiler", "pump", "stolen"].map(|name| ca.client(name, VALID));
    let broker = broker(folder.path(), &server, &ca, &stolen);
    let port = broker.port();

    let mut settings = Settings::new(port);
    settings.mqtt = format!(
        "ca_file = '{}'\ncert_file = '{}'\nkey_file = '{}'\n",
        ca.cert().display(),
        weir.cert.display(),
        weir.key.display()
    );
    let site = Site::new(&settings);
    let text = settings.text(&site.state);
    let plain = format!("mqtt://127.0.0.1:{port}");
    site.configure_text(&text.replace(&plain, &format!("mqtts://localhost:{port}")));
    let daemon = site.start();
    until("results", || {
        daemon.status()["results"]["connected"].as_bool().filter(|yes| *yes).map(drop)
    });

    let reading = |seconds: i64| format!("{{\"value\": 1, \"ts\": {}}}", EPOCH + seconds);
    let writes = |who: &Pair, topic: &str| publishes(port, &ca.cert(), who, topic, &reading(0));
    assert!(writes(&boiler, "sensors/boiler/t"));
    assert!(writes(&pump, "sensors/pump/t"));
    daemon.takes(2);
    // Another's topic, weir's results, the broker's own, and a certificate that is revoked.
    for topic in ["sensors/pump/t", "weir/gw/pump/t/estimate", "weir/gw/status", "sensors", "other"]
    {
        assert!(!writes(&boiler, topic), "{topic}");
    }
    assert!(!writes(&stolen, "sensors/stolen/t"));
    // weir's own identity cannot invent readings of a device.
    assert!(!writes(&weir, "sensors/boiler/t"));
    assert!(writes(&boiler, "sensors/boiler/t2"));
    daemon.takes(3);
    until("results published", || {
        (daemon.metric("weir_results_published_total") > 0.0).then_some(())
    });
    let log = daemon.stop();
    assert!(!log.contains("refuses results"), "{log}");
}
