//! Lines over TCP as their senders meet them: the program, raw sockets, a real broker for results.

#[path = "support/client.rs"]
mod client;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "sim/rng.rs"]
mod rng;
#[path = "support/sender.rs"]
mod sender;

#[path = "tcp/bounds.rs"]
mod bounds;
#[path = "tcp/crash.rs"]
mod crash;
#[path = "tcp/lifecycle.rs"]
mod lifecycle;
#[path = "tcp/lines.rs"]
mod lines;

use daemon::{Settings, Site};
use mosquitto::free_port;

/// What a test wants of `[[tcp]]`: JSON lines with a time, acknowledged.
const JSON: &str = "value = '/value'\ntime = '/ts'\nack = 'line'\n";

/// A site that takes lines at the port returned, and no messages. `broker` takes its results.
fn site(broker: Option<u16>, input: &str, more: &str) -> (Site, u16) {
    let port = free_port();
    let mut settings = Settings::new(broker.unwrap_or(1));
    if broker.is_none() {
        settings.results = "enabled = false\n".to_owned();
    }
    settings = settings.and(&format!("[[tcp]]\nlisten = '127.0.0.1:{port}'\n{input}{more}"));
    let site = Site::new(&settings);
    site.configure_text(&without_subscriptions(&settings.text(&site.state)));
    (site, port)
}

/// The text without its `[[mqtt.subscribe]]`.
fn without_subscriptions(text: &str) -> String {
    let (before, rest) = text.split_once("[[mqtt.subscribe]]").expect("there is one");
    let (_, after) = rest.split_once("[[").expect("something follows");
    format!("{before}[[{after}")
}
