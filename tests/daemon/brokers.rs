//! The site's broker: absent, restarted, forgetful, with a small window.

use std::time::{Duration, Instant};

use weir::mqtt::Version;

use crate::client::{Publish, Subscriber, publish, publish_as};
use crate::daemon::{Settings, Site, signal, until};
use crate::mosquitto::{Mosquitto, free_port};

fn burst(from: i32, count: i32) -> impl Iterator<Item = Publish> {
    (from..from + count).map(|i| Publish::reading("d", "m", f64::from(i) / 100.0, f64::from(i)))
}

#[test]
fn a_broker_that_comes_late_is_awaited() {
    let mut broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    // It says that it runs a moment before it heeds SIGTERM; once it answers it does.
    drop(Subscriber::new(broker.port(), &["weir/#"]));
    broker.stop();
    let weir = site.spawn();
    weir.unready("not connected to the broker");
    assert_eq!(weir.get("/healthz").0, 200);
    broker.restart();
    weir.ready();
    publish(broker.port(), burst(0, 10));
    weir.takes(10);
    weir.stop();
}

#[test]
fn no_broker_at_all_is_no_failure_and_a_stop_is_clean() {
    let site = Site::new(&Settings::new(free_port()));
    let weir = site.spawn();
    weir.says("no connection to the broker");
    weir.stop();
}

#[test]
fn a_broker_that_keeps_its_sessions_may_restart() {
    let mut broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let seen = Subscriber::new(broker.port(), &["weir/gw/status"]);
    let weir = site.start();
    publish(broker.port(), burst(0, 50));
    weir.takes(50);
    broker.restart();
    weir.ready();
    publish(broker.port(), burst(50, 50));
    weir.takes(100);
    assert!(weir.metric("weir_mqtt_reconnects_total") >= 1.0);
    seen.wait_text("weir/gw/status", "online");
    weir.stop();
}

#[test]
fn a_broker_that_forgets_its_sessions_is_subscribed_again() {
    // Killed before it has saved anything.
    let mut broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let weir = site.start();
    publish(broker.port(), burst(0, 50));
    weir.takes(50);
    broker.kill();
    weir.unready("not connected");
    broker.restart();
    weir.ready();
    publish(broker.port(), burst(50, 50));
    weir.takes(100);
    // And retained topics that it forgot stand again.
    let seen = Subscriber::new(broker.port(), &["weir/gw/status"]);
    seen.wait_text("weir/gw/status", "online");
    weir.stop();
}

/// 500 messages through a window of 20: if even the first window waited for the interval, this
/// would take 20 s. (How many more mosquitto then sends at once differs.)
fn does_not_wait_for_the_interval(broker: &Mosquitto, version: Version, mqtt: &str) {
    let mut settings = Settings::new(broker.port());
    settings.batch = "interval = '20s'\n".to_owned();
    settings.mqtt = mqtt.to_owned();
    let site = Site::new(&settings);
    let weir = site.start();
    let begin = Instant::now();
    publish_as(broker.port(), version, burst(0, 500));
    // The last ones, fewer than a window, may rightly wait for the interval.
    until("nearly all readings", || {
        (weir.status()["readings_total"].as_u64() >= Some(460)).then_some(())
    });
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}\n{}", weir.log());
    weir.stop();
}

#[test]
fn a_small_window_of_the_broker_does_not_wait_for_the_interval() {
    let broker = Mosquitto::start_with(
        "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 20\n",
    );
    does_not_wait_for_the_interval(&broker, Version::V4, "version = 4\n");
}

#[test]
fn a_small_receive_maximum_does_not_wait_for_the_interval() {
    let broker = Mosquitto::start();
    does_not_wait_for_the_interval(&broker, Version::V5, "receive_maximum = 20\n");
}

#[test]
fn brokers_that_hang_do_not_delay_a_stop() {
    let (broker, upstream) = (Mosquitto::start(), Mosquitto::start());
    let settings = Settings::new(broker.port()).and(&format!(
        "[[profile]]\nmatch = {{}}\nlateness = '1s'\n\
         [[forward]]\nname = 'cloud'\ntype = 'mqtt'\nurl = 'mqtt://127.0.0.1:{}'\n\
         topic = 'fleet'\n",
        upstream.port()
    ));
    let site = Site::new(&settings);
    let mut weir = site.start();
    publish(broker.port(), burst(0, 100));
    weir.takes(100);
    let pids = [broker.pid().expect("it runs"), upstream.pid().expect("it runs")];
    // The pane is still open; when it closes for want of readings, nobody takes its aggregate.
    for pid in pids {
        signal(pid, "STOP");
    }
    weir.counts("weir_outbox_records{forward=\"cloud\"}", 1.0);
    until("an aggregate that waits for its acknowledgement", || {
        (weir.status()["results"]["queued"].as_u64() > Some(0)).then_some(())
    });
    let begin = Instant::now();
    weir.signal("TERM");
    let status = weir.ends();
    let took = begin.elapsed();
    for pid in pids {
        signal(pid, "CONT");
    }

    assert!(status.success(), "{status}\n{}", weir.log());
    assert!(took < Duration::from_secs(5), "{took:?}\n{}", weir.log());
    // What they did not take comes with the next start.
    let seen = Subscriber::new(broker.port(), &["weir/+/+/+/aggregate"]);
    let sent = Subscriber::new(upstream.port(), &["fleet"]);
    let weir = site.start();
    seen.wait_aggregates("weir/gw/d/m/aggregate", 100);
    sent.wait("fleet", 1);
    weir.stop();
}
