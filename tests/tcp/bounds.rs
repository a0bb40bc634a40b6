//! One sender cannot take what is the others', nor memory without bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::daemon::until;
use crate::sender::{Sender, line};
use crate::{JSON, site};

/// Bytes resident at most, whatever is sent: several times what a debug build with these few
/// series takes, and a fraction of what the flood sends.
const RESIDENT_MAX: f64 = 200e6;

#[test]
fn a_flood_is_slowed_down_and_others_are_served() {
    let (site, port) = site(None, JSON, "");
    let weir = site.start();
    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..3)
        .map(|flood| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut sender = Sender::new(port);
                let mut sent = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let lines: String =
                        (0..1000).map(|i| line(&format!("flood-{flood}"), i as f64, 1.0)).collect();
                    sender.send(&lines);
                    sent += 1000;
                }
                // A connection that is closed with answers unread is reset, with what it has
                // not sent yet.
                sender.finish();
                sender.closed();
                sent
            })
        })
        .collect();
    let mut sender = Sender::new(port);
    for number in 1..=20 {
        sender.send(line("calm", f64::from(number), 1.0));
        assert_eq!(sender.durable(), Some(u64::try_from(number).unwrap()), "while others flood");
    }
    let resident = weir.metric("process_resident_memory_bytes");
    assert!(resident < RESIDENT_MAX, "{resident}");
    stop.store(true, Ordering::Relaxed);
    let sent: u64 = floods.into_iter().map(|flood| flood.join().unwrap()).sum();
    // All of it arrived: slowed down is not dropped.
    weir.counts("weir_tcp_lines_total{input=\"tcp\"}", (sent + 20) as f64);
    weir.stop();
}

#[test]
fn connections_beyond_the_limit_are_refused_and_counted() {
    let (site, port) = site(None, JSON, "max_connections = 2\n");
    let weir = site.start();
    let mut kept = [Sender::new(port), Sender::new(port)];
    weir.counts("weir_tcp_connections{input=\"tcp\"}", 2.0);
    assert_eq!(Sender::new(port).closed(), "", "all come from this machine");
    weir.counts("weir_tcp_refused_total{reason=\"full\"}", 1.0);
    for (sender, device) in kept.iter_mut().zip(["a", "b"]) {
        sender.send(line(device, 0.0, 1.0));
        sender.acknowledged(1);
    }
    let [first, _second] = kept;
    drop(first);
    weir.counts("weir_tcp_connections{input=\"tcp\"}", 1.0);
    let mut next = Sender::new(port);
    next.send(line("c", 0.0, 1.0));
    next.acknowledged(1);
    weir.stop();
}

#[test]
fn who_sends_nothing_is_shown_out() {
    let (site, port) = site(None, JSON, "idle_timeout = '1s'\n");
    let weir = site.start();
    assert_eq!(Sender::new(port).closed(), "");
    let mut sender = Sender::new(port);
    sender.send("{\"half of");
    assert_eq!(sender.closed(), "");
    weir.drops("malformed", 1);
    weir.stop();
}

#[test]
fn a_sender_that_never_reads_is_served_all_the_same() {
    let (site, port) = site(None, JSON, "");
    let weir = site.start();
    let mut sender = Sender::new(port);
    let mut sent = 0;
    // Several batches, each with an acknowledgement that nobody reads.
    until("five batches", || {
        sender.send(line("a", f64::from(sent), 1.0));
        sent += 1;
        (weir.status()["batch"]["number"].as_u64() >= Some(5)).then_some(())
    });
    weir.takes(u64::try_from(sent).unwrap());
    weir.stop();
}
