//! Start, stop, reload, kill: what is promised to whoever operates it.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use weir::mqtt::Version;

use crate::client::{Publish, Subscriber, publish, publish_as};
use crate::daemon::{PATIENCE, Settings, Site, Weir, until};
use crate::mosquitto::Mosquitto;

fn seconds(seconds: std::ops::Range<i32>) -> impl Iterator<Item = Publish> {
    seconds.map(|s| Publish::reading("d", "m", f64::from(s), f64::from(s)))
}

/// Samples whose values are committed: the same before and after a crash.
fn committed(weir: &Weir) -> Vec<(String, f64)> {
    let names = ["weir_readings_total", "weir_readings_dropped_total", "weir_series"];
    let all = weir.metrics().into_iter();
    all.filter(|(name, _)| {
        let bare = name.split('{').next().unwrap();
        names.contains(&bare)
    })
    .collect()
}

#[test]
fn a_stop_commits_what_was_gathered_and_keeps_the_session() {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    // Only a stop can close this batch in time; few enough not to look like a full window. What
    // is acknowledged eagerly does not come again: a stop that dropped it would lose it.
    settings.batch = "interval = '1m'\n".to_owned();
    settings.mqtt = "ack = 'eager'\n".to_owned();
    let site = Site::new(&settings);
    let weir = site.start();
    publish(broker.port(), seconds(0..5));
    weir.stop();
    // While it is away the broker keeps what comes.
    publish(broker.port(), seconds(5..10));
    settings.batch = "interval = '100ms'\n".to_owned();
    site.configure(&settings);
    let weir = site.start();
    weir.says("session_present=true");
    weir.takes(10);
    weir.stop();
}

#[test]
fn counters_are_the_same_after_kill_9() {
    let broker = Mosquitto::start();
    // A duplicate is one above the watermark only.
    let settings = Settings::new(broker.port()).and("[[profile]]\nmatch = {}\nlateness = '5s'\n");
    let site = Site::new(&settings);
    let mut weir = site.start();
    publish(broker.port(), seconds(0..30).chain(seconds(29..30)));
    publish(broker.port(), [Publish::new("sensors/d/m", "not json")]);
    // Committed readings; what the engine drops is counted besides.
    weir.takes(31);
    weir.drops("malformed", 1);
    weir.drops("duplicate", 1);
    // Panes may still close; they change no counter.
    let before = committed(&weir);
    let journal = weir.metric("weir_journal_bytes_total");
    assert!(journal > 0.0);
    weir.kill();
    let weir = site.start();
    assert_eq!(committed(&weir), before);
    assert!(weir.metric("weir_journal_bytes_total") >= journal);
    weir.stop();
    let weir = site.start();
    assert_eq!(committed(&weir), before, "after a clean stop");
    weir.stop();
}

#[test]
fn page_health_and_metrics_have_the_names_of_the_contract() {
    let (broker, upstream) = (Mosquitto::start(), Mosquitto::start());
    let site = Site::new(&Settings::new(broker.port()).and(&format!(
        "[[forward]]\nname = 'cloud'\ntype = 'mqtt'\nurl = 'mqtt://127.0.0.1:{}'\ntopic = 'up'\n",
        upstream.port()
    )));
    let weir = site.start();
    publish(broker.port(), seconds(0..3));
    weir.takes(3);
    let begin = Instant::now();
    until("an acknowledgement from upstream", || {
        let name = "weir_forward_last_success_timestamp_seconds{forward=\"cloud\"}";
        weir.metrics().contains_key(name).then_some(())
    });
    // No batch follows that would bring the numbers up to date.
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    let metrics = weir.metrics();
    for name in [
        "weir_readings_total",
        "weir_readings_dropped_total{reason=\"malformed\"}",
        "weir_batch_duration_seconds_count",
        "weir_batch_delay_seconds_count",
        "weir_journal_bytes_total",
        "weir_checkpoint_bytes_total",
        "weir_series",
        "weir_outbox_bytes{forward=\"cloud\"}",
        "weir_outbox_records{forward=\"cloud\"}",
        "weir_outbox_oldest_seconds{forward=\"cloud\"}",
        "weir_forward_last_success_timestamp_seconds{forward=\"cloud\"}",
        "weir_mqtt_connected",
        "weir_clock_trusted",
        "weir_alarms_active",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(metrics.contains_key(name), "{name}: not among {:?}", metrics.keys());
    }
    assert_eq!((metrics["weir_series"], metrics["weir_mqtt_connected"]), (1.0, 1.0));
    assert!(metrics["weir_batch_duration_seconds_count"] >= 1.0);
    assert_eq!(weir.get("/healthz").0, 200);
    assert_eq!(weir.get("/readyz").0, 200);
    let (code, page) = weir.get("/");
    assert!(code == 200 && page.contains("<html"), "{code}");
    let (code, series) = weir.get("/api/series/d/m");
    assert_eq!(code, 200, "{series}");
    assert_eq!(weir.get("/nothing").0, 404);
    weir.stop();
}

#[test]
fn sighup_changes_profiles_and_the_change_survives_kill_9() {
    let broker = Mosquitto::start();
    let settings = Settings::new(broker.port());
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["weir/#"]);
    let mut weir = site.start();
    publish(broker.port(), seconds(0..6));
    weir.takes(6);
    seen.wait_aggregates("weir/gw/d/m/aggregate", 6);

    let mut changed = settings.clone();
    changed.rest = "[[profile]]\nmatch = {}\nlateness = '2s'\nunit = 'bar'\nvalid = [0, 1000]\n\
        windows = [{ size = '10s' }]\nforecast = false\n"
        .to_owned();
    site.configure(&changed);
    weir.signal("HUP");
    weir.says("configuration reloaded");
    publish(broker.port(), (10..30).map(|s| Publish::reading("d", "m", f64::from(s), 5.0)));
    publish(broker.port(), [Publish::reading("d", "m", 30.0, 5000.0)]);
    weir.takes(27);
    weir.drops("invalid", 1);
    // The old configuration in the file is not what is in force: the journal knows.
    weir.kill();
    let weir = site.start();
    publish(broker.port(), [Publish::reading("d", "m", 40.0, 5.0)]);
    weir.takes(28);
    weir.drops("invalid", 1);
    let aggregates = seen.wait_aggregates("weir/gw/d/m/aggregate", 27);
    let long: Vec<u64> = aggregates[6..].iter().map(|a| a["count"].as_u64().unwrap()).collect();
    assert_eq!(long, [10, 10, 1]);
    let estimate = seen.on("weir/gw/d/m/estimate").pop().map(|m| crate::client::json(&m)).unwrap();
    assert_eq!(estimate["unit"], "bar");
    weir.stop();
}

#[test]
fn sighup_with_a_bad_configuration_is_refused_with_its_place() {
    let broker = Mosquitto::start();
    let settings = Settings::new(broker.port());
    let site = Site::new(&settings);
    let weir = site.start();
    publish(broker.port(), seconds(0..3));
    weir.takes(3);
    site.configure(&settings.clone().and("[[profile]]\nmatch = {}\nlatness = '1s'\nunit = 7\n"));
    weir.signal("HUP");
    weir.says("new configuration refused, the old one goes on");
    weir.says("2 faults");
    weir.says("weir.toml:");
    weir.says("did you mean lateness?");
    publish(broker.port(), seconds(3..6));
    weir.takes(6);
    assert_eq!(weir.get("/readyz").0, 200);
    // Mended, it is taken.
    site.configure(&settings.and("[[profile]]\nmatch = {}\nlateness = '1s'\n"));
    weir.signal("HUP");
    weir.says("configuration reloaded");
    weir.stop();
}

#[test]
fn sighup_subscribes_new_topics_and_lets_go_of_old_ones() {
    let broker = Mosquitto::start();
    let settings = Settings::new(broker.port());
    let site = Site::new(&settings);
    let weir = site.start();
    publish(broker.port(), seconds(0..3));
    weir.takes(3);
    let mut changed = settings.clone();
    changed.subscribe =
        "topics = ['plant/{device}/{metric}']\nvalue = '/value'\ntime = '/ts'\n".to_owned();
    site.configure(&changed);
    let connections = weir.log().matches("readings: connected").count();
    weir.signal("HUP");
    until("the new subscriptions", || {
        (weir.log().matches("readings: connected").count() > connections).then_some(())
    });
    weir.ready();
    publish(
        broker.port(),
        seconds(3..6).map(|m| Publish { topic: m.topic.replace("sensors", "plant"), ..m }),
    );
    weir.takes(6);
    // The old topics are not taken any more: neither as readings nor as drops.
    publish(broker.port(), seconds(6..9));
    publish(
        broker.port(),
        seconds(9..10).map(|m| Publish { topic: m.topic.replace("sensors", "plant"), ..m }),
    );
    weir.takes(7);
    weir.drops("topic", 0);
    weir.stop();
}

#[test]
fn sighup_says_what_needs_a_restart_and_leaves_it_as_it_was() {
    let broker = Mosquitto::start();
    let settings = Settings::new(broker.port());
    let site = Site::new(&settings);
    let seen = Subscriber::new(broker.port(), &["#"]);
    let weir = site.start();
    let mut changed = settings.clone();
    changed.results = "min_interval = '0s'\nprefix = 'elsewhere'\n".to_owned();
    site.configure(&changed);
    weir.signal("HUP");
    weir.says("this change takes effect with the next restart");
    weir.says("configuration reloaded");
    publish(broker.port(), seconds(0..3));
    seen.wait_aggregates("weir/gw/d/m/aggregate", 3);
    weir.stop();
    let weir = site.start();
    publish(broker.port(), seconds(3..6));
    seen.wait_aggregates("elsewhere/d/m/aggregate", 3);
    weir.stop();
}

#[test]
fn systemd_is_told_of_readiness_reload_life_and_stop() {
    let broker = Mosquitto::start();
    let settings = Settings::new(broker.port());
    let mut site = Site::new(&settings);
    let path = site.folder().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    site.environment = vec![
        ("NOTIFY_SOCKET".to_owned(), path.display().to_string()),
        ("WATCHDOG_USEC".to_owned(), "1000000".to_owned()),
    ];
    let hears = |text: &str| -> String {
        let begin = Instant::now();
        let mut heard = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let length =
                manager.recv(&mut buffer).unwrap_or_else(|e| panic!("{text}: {e}: {heard:?}"));
            let datagram = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if datagram.lines().any(|line| line.starts_with(text)) {
                return datagram;
            }
            heard.push(datagram);
            assert!(begin.elapsed() < PATIENCE, "{text}: {heard:?}");
        }
    };
    let weir = site.start();
    hears("READY=1");
    hears("WATCHDOG=1");
    publish(broker.port(), seconds(0..3));
    hears("STATUS=3 readings, 1 series");
    weir.signal("HUP");
    assert!(hears("RELOADING=1").contains("MONOTONIC_USEC="));
    hears("READY=1");
    // Frozen, it is not alive; nothing is heard.
    weir.signal("STOP");
    manager.set_nonblocking(true).unwrap();
    while manager.recv(&mut [0; 4096]).is_ok() {}
    manager.set_nonblocking(false).unwrap();
    manager.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    assert!(manager.recv(&mut [0; 4096]).is_err(), "a frozen process spoke");
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    weir.signal("CONT");
    hears("WATCHDOG=1");
    weir.signal("TERM");
    hears("STOPPING=1");
    assert!(weir.ends_with(0).contains("stopped"));
}

#[test]
fn a_bad_configuration_ends_with_78_and_all_faults() {
    let site = Site::new(&Settings::new(1));
    site.configure_text("[batch]\nintervall = '2s'\ninterval = 2\n[mqtt]\nurl = 'http://x'\n");
    let log = site.spawn().ends_with(78);
    let place = site.file().display().to_string();
    for text in
        [":2:1: [batch] intervall", ":3:12: [batch] interval", ":5:7: [mqtt] url", "3 faults"]
    {
        assert!(log.contains(text), "{text}\n{log}");
    }
    assert_eq!(log.matches(&place).count(), 3, "{log}");
    assert!(!site.state.exists());
}

#[test]
fn a_missing_configuration_ends_with_78_and_names_the_file() {
    let site = Site::new(&Settings::new(1));
    std::fs::remove_file(site.file()).unwrap();
    let log = site.spawn().ends_with(78);
    assert!(log.contains(&site.file().display().to_string()), "{log}");
}

#[test]
fn mqtt_3_1_1_sessions_are_kept_over_a_restart() {
    let broker = Mosquitto::start();
    let mut settings = Settings::new(broker.port());
    settings.mqtt = "version = 4\n".to_owned();
    let site = Site::new(&settings);
    let mut weir = site.start();
    publish_as(broker.port(), Version::V4, seconds(0..3));
    weir.takes(3);
    weir.kill();
    publish_as(broker.port(), Version::V4, seconds(3..6));
    let weir = site.start();
    weir.takes(6);
    weir.stop();
}
