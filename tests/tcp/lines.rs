//! Lines in, results out; what is dropped is counted.

use crate::client::Subscriber;
use crate::mosquitto::Mosquitto;
use crate::sender::{Sender, line};
use crate::{JSON, site};

#[test]
fn lines_in_aggregates_out() {
    let broker = Mosquitto::start();
    let results = Subscriber::new(broker.port(), &["weir/gw/press/m/aggregate"]);
    let (site, port) = site(Some(broker.port()), JSON, "");
    let weir = site.start();
    let mut sender = Sender::new(port);
    // Readings close the panes before them; the last one closes because time goes on, though no
    // readings come from a broker.
    for (seconds, value) in [(0.0, 1.0), (0.5, 3.0), (1.5, 7.0), (2.5, 0.0)] {
        sender.send(line("press", seconds, value));
    }
    sender.acknowledged(4);
    let aggregates = results.wait_aggregates("weir/gw/press/m/aggregate", 4);
    let sums: Vec<f64> = aggregates.iter().map(|a| a["sum"].as_f64().unwrap()).collect();
    assert_eq!(sums, [4.0, 7.0, 0.0]);
    weir.counts("weir_tcp_connections{input=\"tcp\"}", 1.0);
    weir.counts("weir_tcp_lines_total{input=\"tcp\"}", 4.0);
    drop(sender);
    weir.counts("weir_tcp_connections{input=\"tcp\"}", 0.0);
    let input = &weir.status()["inputs"][0];
    assert_eq!((input["lines"].as_u64(), input["name"].as_str()), (Some(4), Some("tcp")));
    weir.stop();
}

#[test]
fn csv_and_text_are_read_line_by_line() {
    let csv =
        "format = 'csv'\ntime = '0'\ndevice = '/1'\nmetric = 'm'\nvalue = '2'\nack = 'line'\n";
    let (csv, port) = site(None, csv, "");
    let weir = csv.start();
    let mut sender = Sender::new(port);
    sender.send("1767225600,press,3.5\n1767225601,pump,4\r\n\n1767225602,pump,?\n");
    sender.acknowledged(4);
    weir.takes(2);
    weir.drops("malformed", 1);
    assert!(weir.get("/api/series/press/m").1.contains("3.5"));
    weir.stop();

    let text =
        "format = 'text'\ndevice = 'hall'\nmetric = 'heat'\nmap = { ON = 1 }\nack = 'line'\n";
    let (text, port) = site(None, text, "");
    let weir = text.start();
    let mut sender = Sender::new(port);
    sender.send("20.5\nON\n20.5\n");
    sender.acknowledged(3);
    // The same again is another reading where the line carries no time.
    weir.takes(3);
    assert_eq!(weir.get("/api/series/hall/heat").0, 200);
    weir.stop();
}

#[test]
fn bad_lines_are_counted_under_their_reasons_and_acknowledged() {
    let (site, port) = site(None, JSON, "max_line = '200B'\n");
    let weir = site.start();
    let mut sender = Sender::new(port);
    sender.send("not json\n");
    sender.send(line("a", 0.0, 1.0).replace("1767225600", "\"when?\""));
    sender.send(format!("{{\"device\":\"a\",\"filler\":\"{}\"}}\n", "x".repeat(100_000)));
    sender.send(line("a", 1.0, 1.0).replace("1,\"ts", "null,\"ts"));
    sender.send(line("", 2.0, 1.0));
    sender.send("\n\n");
    sender.send(line("a", 3.0, 1.0));
    sender.acknowledged(8);
    weir.takes(1);
    for reason in ["malformed", "bad_time", "oversize", "missing", "topic"] {
        weir.drops(reason, 1);
    }
    weir.says("dropped: input \"tcp\": ");
    weir.stop();
}

#[test]
fn a_last_line_without_its_end_is_taken_at_a_clean_end_and_counted_at_a_broken_one() {
    let (site, port) = site(None, JSON, "");
    let weir = site.start();
    let mut sender = Sender::new(port);
    sender.send(line("a", 0.0, 1.0).trim_end());
    sender.finish();
    sender.acknowledged(1);
    assert_eq!(sender.closed(), "", "nothing behind the last one, then the end");
    weir.takes(1);

    let mut sender = Sender::new(port);
    sender.send(line("a", 1.0, 1.0));
    sender.send("{\"device\": \"half of");
    // Closed with its answer unread: the kernel sends a reset.
    weir.takes(2);
    weir.counts("weir_tcp_lines_total{input=\"tcp\"}", 2.0);
    sender.wait_unread();
    drop(sender);
    weir.drops("malformed", 1);
    weir.says("broke in the middle of this line");
    weir.stop();
}

#[test]
fn repeats_of_what_was_not_acknowledged_are_one_reading() {
    let (site, port) = site(None, JSON, "[[profile]]\nmatch = {}\nlateness = '1m'\n");
    let weir = site.start();
    for _ in 0..2 {
        let mut sender = Sender::new(port);
        (0..30).for_each(|s| sender.send(line("a", f64::from(s), 1.0)));
        sender.acknowledged(30);
    }
    weir.drops("duplicate", 30);
    weir.stop();
}
