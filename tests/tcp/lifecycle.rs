//! Start, stop, reload, pauses.

use crate::daemon::Settings;
use crate::mosquitto::{Mosquitto, free_port};
use crate::sender::{Sender, line};
use crate::{JSON, site};

#[test]
fn a_site_without_a_broker_is_ready_and_stops_cleanly() {
    let (site, port) = site(None, JSON, "");
    let weir = site.start();
    assert_eq!(weir.metric("weir_mqtt_connected"), 0.0);
    let mut sender = Sender::new(port);
    sender.send(line("a", 0.0, 1.0));
    sender.acknowledged(1);
    weir.stop();
    assert!(Sender::try_new(port).is_err());
}

#[test]
fn a_stop_commits_and_acknowledges_what_has_arrived() {
    let broker = Mosquitto::start();
    let port = free_port();
    let mut settings = Settings::new(broker.port());
    // Only a stop can close this batch in time.
    settings.batch = "interval = '1m'\n".to_owned();
    let input = format!("[[tcp]]\nlisten = '127.0.0.1:{port}'\n{JSON}");
    let settings = settings.and(&input);
    let site = crate::Site::new(&settings);
    let weir = site.start();
    let (mut sender, mut silent) = (Sender::new(port), Sender::new(port));
    (0..100).for_each(|s| sender.send(line("a", f64::from(s), 1.0)));
    silent.send(line("b", 0.0, 1.0));
    silent.finish();
    weir.counts("weir_tcp_lines_total{input=\"tcp\"}", 101.0);
    weir.stop();
    sender.acknowledged(100);
    silent.acknowledged(1);
    let weir = site.start();
    weir.takes(101);
    weir.stop();
}

#[test]
fn a_stop_takes_what_reached_the_machine_before_it() {
    let (site, port) = site(None, "value = '/value'\ntime = '/ts'\n", "");
    let weir = site.start();
    let mut senders: Vec<Sender> = (0..12).map(|_| Sender::new(port)).collect();
    weir.counts("weir_tcp_connections{input=\"tcp\"}", 12.0);
    // While weir stands still its kernel takes lines, and the signal waits with them.
    weir.signal("STOP");
    for (number, sender) in senders.iter_mut().enumerate() {
        let device = format!("d{number}");
        sender.send((0..500).map(|s| line(&device, f64::from(s), 1.0)).collect::<String>());
        sender.finish();
    }
    weir.signal("TERM");
    weir.signal("CONT");
    weir.stop();
    let weir = site.start();
    weir.takes(12 * 500);
    weir.stop();
}

#[test]
fn lines_wait_while_the_clock_is_awaited() {
    let (site, port) = site(None, JSON, "");
    let text = std::fs::read_to_string(site.file()).unwrap();
    let clock = |wait| text.replace("trust = 'always'", &format!("trust = 'ntp'\nwait = '{wait}'"));
    site.configure_text(&clock("1h"));
    let weir = site.spawn();
    weir.says("lines are taken at");
    if weir.log().contains("clock synchronised") || weir.get("/readyz").0 == 200 {
        // This machine's clock is synchronised: nothing is awaited.
        weir.stop();
        return;
    }
    weir.unready("waiting for the clock");
    let mut sender = Sender::new(port);
    sender.send(line("a", 0.0, 1.0));
    weir.says("clock not synchronised");
    assert_eq!(weir.metric("weir_tcp_lines_total{input=\"tcp\"}"), 0.0);
    site.configure_text(&clock("0s"));
    weir.signal("HUP");
    sender.acknowledged(1);
    weir.ready();
    weir.stop();
}

#[test]
fn lines_are_read_another_way_after_a_reload() {
    let (site, port) = site(None, JSON, "");
    let weir = site.start();
    let mut sender = Sender::new(port);
    sender.send(line("a", 0.0, 1.0));
    sender.acknowledged(1);
    let text = std::fs::read_to_string(site.file()).unwrap();
    site.configure_text(&text.replace("value = '/value'", "value = '/other'"));
    weir.signal("HUP");
    weir.says("configuration reloaded");
    sender.send(line("a", 1.0, 1.0).replace("value", "other"));
    assert_eq!(sender.durable(), Some(2));
    weir.takes(2);
    // Where it listens does not change: said, and the input stays as it is.
    let elsewhere = text.replace("value = '/value'", "max_connections = 1\nvalue = '/third'");
    site.configure_text(&elsewhere);
    weir.signal("HUP");
    weir.says("takes effect with the next restart");
    sender.send(line("a", 2.0, 1.0).replace("value", "other"));
    assert_eq!(sender.durable(), Some(3));
    weir.takes(3);
    weir.stop();
}

#[test]
fn a_port_that_is_taken_is_told() {
    let (site, port) = site(None, JSON, "");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let log = site.spawn().ends_with(1);
    assert!(log.contains(&format!("[[tcp]] tcp: cannot listen on 127.0.0.1:{port}")), "{log}");
}
