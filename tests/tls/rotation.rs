//! The daemon over TLS: readings in, results and aggregates out, and new certificates on SIGHUP
//! while readings come.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::authority::{Authority, Pair, VALID, write};
use crate::client::{Publish, Subscriber, publish};
use crate::daemon::{Settings, Site, Weir, until_or};
use crate::handshake::{broker, wants};
use crate::mosquitto::{Mosquitto, free_port};

const AGGREGATES: &str = "weir/gw/d/m/aggregate";

/// `[mqtt]` or `[[forward]]` lines for these files.
fn lines(ca: &Path, pair: &Pair) -> String {
    format!(
        "ca_file = '{}'\ncert_file = '{}'\nkey_file = '{}'\n",
        ca.display(),
        pair.cert.display(),
        pair.key.display()
    )
}

/// A site whose broker is reached by TLS as `localhost`.
fn site(port: u16, mqtt: &str, more: &str) -> Site {
    let mut settings = Settings::new(port).and(more);
    settings.mqtt = mqtt.to_owned();
    let site = Site::new(&settings);
    let text = settings.text(&site.state);
    let plain = format!("mqtt://127.0.0.1:{port}");
    site.configure_text(&text.replace(&plain, &format!("mqtts://localhost:{port}")));
    site
}

/// A broker with a TLS listener that wants certificates of `clients`, and a plain one.
fn two_listeners(server: &Pair, clients: &Path) -> (Mosquitto, u16) {
    let plain = free_port();
    let more = format!("{}listener {plain} 127.0.0.1\n", wants(clients));
    (broker(server, &more), plain)
}

fn readings(port: u16, seconds: std::ops::Range<u64>) {
    publish(port, seconds.map(|s| Publish::reading("d", "m", s as f64, 1.0)));
}

/// Set also when an assertion fails: the publisher must end for the test to end.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until the certificate that a metric tells of ends in this year.
fn ends_in(weir: &Weir, used_by: &str, whose: &str, year: i16) {
    let end: jiff::Timestamp = format!("{year}-01-01T00:00:00Z").parse().unwrap();
    let name = format!(
        "weir_tls_certificate_expiry_timestamp_seconds{{used_by=\"{used_by}\",certificate=\"{whose}\"}}"
    );
    until_or(
        &format!("{name} in {year}"),
        || format!("{:?}\n{}", weir.metrics(), weir.log()),
        || (weir.metrics().get(&name) == Some(&(end.as_second() as f64))).then_some(()),
    );
}

#[test]
fn the_daemon_works_over_tls_in_both_versions_and_forwards_over_tls() {
    for version in [5, 4] {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new(folder.path(), "ca");
        let server = ca.server(&["localhost"], (2020, 2110));
        let (broker, plain) = two_listeners(&server, &ca.cert());
        let cloud = Authority::new(folder.path(), "cloud");
        let (up, up_plain) = two_listeners(&cloud.server(&["localhost"], VALID), &cloud.cert());
        let client = ca.client("gw", (2020, 2100));
        let forward = format!(
            "[[forward]]\nname = 'cloud'\ntype = 'mqtt'\nurl = 'mqtts://localhost:{}'\nversion = {version}\n\
             topic = 'up'\n{}",
            up.port(),
            lines(&cloud.cert(), &cloud.client("gw-up", VALID))
        );
        let mqtt = format!("version = {version}\n{}", lines(&ca.cert(), &client));
        let site = site(broker.port(), &mqtt, &forward);
        let (here, upstream) =
            (Subscriber::new(plain, &["weir/#"]), Subscriber::new(up_plain, &["up"]));
        let weir = site.start();
        readings(plain, 0..5);
        here.wait_aggregates(AGGREGATES, 5);
        upstream.wait("up", 1);
        here.wait_text("weir/gw/status", "online");
        ends_in(&weir, "mqtt", "own", 2100);
        ends_in(&weir, "mqtt", "broker", 2110);
        ends_in(&weir, "cloud", "own", 2120);
        let log = weir.stop();
        assert!(!log.contains("PRIVATE KEY"), "{log}");
    }
}

#[test]
fn certificates_rotate_under_load_and_no_reading_is_lost() {
    for version in [5, 4] {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let (old, new) =
            (Authority::new(folder.path(), "old"), Authority::new(folder.path(), "new"));
        let put = |from: &Pair, cert: &str, key: &str| {
            write(&file(cert), &std::fs::read_to_string(&from.cert).unwrap(), 0o644);
            write(&file(key), &std::fs::read_to_string(&from.key).unwrap(), 0o600);
        };
        // The broker takes clients of both authorities: so a rotation is done.
        write(&file("clients.pem"), &(old.pem() + &new.pem()), 0o644);
        put(&old.server(&["localhost"], (2020, 2101)), "broker.crt", "broker.key");
        put(&old.client("gw", (2020, 2102)), "gw.crt", "gw.key");
        write(&file("ca.pem"), &old.pem(), 0o644);
        let pair = |cert: &str, key: &str| Pair {
            cert: file(cert),
            key: file(key),
            ..old.client("x", VALID)
        };
        let (broker, plain) =
            two_listeners(&pair("broker.crt", "broker.key"), &file("clients.pem"));
        let own = pair("gw.crt", "gw.key");
        let mqtt = format!("version = {version}\n{}", lines(&file("ca.pem"), &own));
        let site = site(broker.port(), &mqtt, "");
        let here = Subscriber::new(plain, &["weir/#"]);
        let weir = site.start();
        ends_in(&weir, "mqtt", "broker", 2101);

        let done = AtomicBool::new(false);
        let published = std::thread::scope(|scope| {
            let _end = SetAtEnd(&done);
            let publisher = scope.spawn(|| {
                let mut next = 0;
                while !done.load(Ordering::Relaxed) {
                    readings(plain, next..next + 50);
                    next += 50;
                }
                next
            });
            // A key that is not the certificate's: refused with its place, the old goes on.
            put(&new.client("gw", VALID), "gw.crt", "other.key");
            weir.signal("HUP");
            weir.says("[mqtt] key_file: ");
            weir.says("does not belong to the certificate");
            weir.says("new configuration refused, the old one goes on");
            assert_eq!(weir.metric("weir_mqtt_reconnects_total"), 0.0, "{}", weir.log());

            put(&new.server(&["localhost"], (2020, 2103)), "broker.crt", "broker.key");
            crate::daemon::signal(broker.pid().unwrap(), "HUP");
            put(&new.client("gw", (2020, 2104)), "gw.crt", "gw.key");
            write(&file("ca.pem"), &new.pem(), 0o644);
            weir.signal("HUP");
            weir.says("connecting with the new ones");
            ends_in(&weir, "mqtt", "own", 2104);
            ends_in(&weir, "mqtt", "broker", 2103);
            // The connection that readings come on, too: once, with the new certificate.
            weir.counts("weir_mqtt_reconnects_total", 1.0);
            done.store(true, Ordering::Relaxed);
            publisher.join().unwrap()
        });
        weir.takes(published);
        let lost: f64 = weir
            .metrics()
            .iter()
            .filter(|(name, _)| name.starts_with("weir_readings_dropped_total"))
            .map(|(_, count)| count)
            .sum();
        assert_eq!(lost, 0.0);
        let aggregates = here.wait_aggregates(AGGREGATES, published);
        println!("MQTT {version}: {published} readings, {} aggregates, 0 lost", aggregates.len());
        weir.stop();
    }
}

#[test]
fn a_changed_password_is_taken_on_sighup() {
    let broker = Mosquitto::start_with_password("weir", "right");
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    write(&password, "wrong\n", 0o600);
    let mut settings = Settings::new(broker.port());
    settings.mqtt = format!("username = 'weir'\npassword_file = '{}'\n", password.display());
    let site = Site::new(&settings);
    let weir = site.spawn();
    weir.says("check username and password_file");
    write(&password, "right\n", 0o644);
    weir.signal("HUP");
    weir.says("chmod 0640");
    write(&password, "right\n", 0o600);
    weir.signal("HUP");
    weir.ready();
    let log = weir.stop();
    assert!(!log.contains("wrong") && !log.contains("right"), "{log}");
}

#[test]
fn a_revoked_broker_is_left_on_sighup_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let server = ca.server(&["localhost"], VALID);
    let (broker, plain) = two_listeners(&server, &ca.cert());
    let list = ca.revoke(&[]);
    let files =
        |client: &Pair| format!("{}crl_file = '{}'\n", lines(&ca.cert(), client), list.display());
    let forward = format!(
        "[[forward]]\nname = 'cloud'\ntype = 'mqtt'\nurl = 'mqtts://localhost:{}'\ntopic = 'up'\n{}",
        broker.port(),
        files(&ca.client("gw-up", VALID))
    );
    let site = site(broker.port(), &files(&ca.client("gw", VALID)), &forward);
    let upstream = Subscriber::new(plain, &["up"]);
    let weir = site.start();
    readings(plain, 0..5);
    weir.takes(5);
    upstream.wait("up", 1);
    ends_in(&weir, "mqtt", "crl", 2120);
    ends_in(&weir, "cloud", "crl", 2120);

    ca.revoke(&[&server]);
    weir.signal("HUP");
    weir.says("the broker's certificate is revoked");
    weir.unready("not connected to the broker");
    until_or(
        "upstream's end",
        || weir.log(),
        || (weir.metrics()["weir_forward_connected{forward=\"cloud\"}"] == 0.0).then_some(()),
    );
    // The broker keeps them for the session.
    readings(plain, 5..10);

    ca.revoke(&[]);
    weir.signal("HUP");
    weir.ready();
    weir.takes(10);

    // One that has ended is not put to use.
    ca.revoke_until(&[], 2025);
    weir.signal("HUP");
    weir.says("this list of revoked certificates ended on 2025-01-01");
    readings(plain, 10..15);
    weir.takes(15);
    weir.stop();
}
