//! MQTT clients for tests: a publisher that waits for its acknowledgements, and a subscriber that
//! gathers in the background.

#![allow(dead_code)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use weir::mqtt::{Event, Message, Options, PublishError, Version, connect};

use crate::daemon::{EPOCH, PATIENCE, until};

/// Client ids must differ on one broker.
static NEXT: AtomicU32 = AtomicU32::new(0);

fn options(port: u16, version: Version) -> Options {
    let id = format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut options = Options::new("127.0.0.1", port, id);
    options.version = version;
    options.clean = true;
    options.max_packet = 64 << 20;
    options
}

/// One message to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
}

impl Publish {
    /// QoS 1, not retained.
    pub fn new(topic: &str, payload: impl Into<Vec<u8>>) -> Publish {
        Publish { topic: topic.to_owned(), payload: payload.into(), qos: 1, retain: false }
    }

    /// `{"value": value, "ts": EPOCH + seconds}` on `sensors/<device>/<metric>`.
    pub fn reading(device: &str, metric: &str, seconds: f64, value: f64) -> Publish {
        let ts = EPOCH as f64 + seconds;
        Publish::new(
            &format!("sensors/{device}/{metric}"),
            format!("{{\"value\": {value}, \"ts\": {ts}}}"),
        )
    }
}

/// Publishes all on one connection and returns when the broker has acknowledged them.
pub fn publish(port: u16, messages: impl IntoIterator<Item = Publish>) {
    publish_as(port, Version::V5, messages);
}

/// As [`publish`], in this version.
pub fn publish_as(port: u16, version: Version, messages: impl IntoIterator<Item = Publish>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = async {
        let (sender, mut connection) = connect(&options(port, version));
        let mut messages = messages.into_iter().peekable();
        let mut waiting = 0;
        let mut leaving = false;
        loop {
            match connection.poll().await {
                Ok(Event::PublishAcknowledged { .. }) => waiting -= 1,
                Ok(Event::PublishSent(0)) => waiting -= 1,
                Ok(Event::DisconnectSent) => return,
                Ok(_) => {}
                Err(error) => panic!("publishing: {error}"),
            }
            while let Some(next) = messages.peek() {
                let Publish { topic, payload, qos, retain } = next.clone();
                match sender.try_publish(&topic, qos, retain, payload) {
                    Ok(()) => waiting += 1,
                    Err(PublishError::Full) => break,
                    Err(error) => panic!("{topic}: {error}"),
                }
                messages.next();
            }
            if waiting == 0 && messages.peek().is_none() && !leaving {
                leaving = true;
                sender.try_disconnect().unwrap();
            }
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.expect("in time") });
}

/// Gathers everything on some filters until dropped; comes back when the broker does.
pub struct Subscriber {
    messages: Arc<Mutex<Vec<Message>>>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Subscriber {
    /// Subscribes with QoS 1 and waits for the broker's word.
    pub fn new(port: u16, filters: &[&str]) -> Subscriber {
        let messages: Arc<Mutex<Vec<Message>>> = Arc::default();
        let (stop, mut stopped) = watch::channel(false);
        let (subscribed, is_subscribed) = std::sync::mpsc::channel();
        let filters: Vec<(String, u8)> = filters.iter().map(|f| ((*f).to_owned(), 1)).collect();
        let to = messages.clone();
        let mut options = options(port, Version::V5);
        // The session stays, so that a broker that comes back has what came in between.
        options.clean = false;
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                while !*stopped.borrow() {
                    let (sender, mut connection) = connect(&options);
                    let gather = async {
                        while let Ok(event) = connection.poll().await {
                            match event {
                                Event::Connected { session_present: false, .. } => {
                                    sender.try_subscribe(filters.clone()).unwrap();
                                }
                                Event::Subscribed { failures } => {
                                    assert!(failures.is_empty(), "{failures:?}");
                                    let _ = subscribed.send(());
                                }
                                Event::Message(message) => {
                                    let _ = sender.try_acknowledge(message.packet_id);
                                    to.lock().unwrap().push(message);
                                }
                                _ => {}
                            }
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    };
                    tokio::select! {
                        () = gather => {}
                        _ = stopped.changed() => {}
                    }
                }
            });
        });
        is_subscribed.recv_timeout(PATIENCE).expect("the broker takes the subscription");
        Subscriber { messages, stop, thread: Some(thread) }
    }

    /// All so far.
    pub fn all(&self) -> Vec<Message> {
        self.messages.lock().unwrap().clone()
    }

    /// All so far on this topic.
    pub fn on(&self, topic: &str) -> Vec<Message> {
        self.all().into_iter().filter(|message| message.topic == topic).collect()
    }

    /// Waits for `count` messages on `topic`; all that are there then.
    pub fn wait(&self, topic: &str, count: usize) -> Vec<Message> {
        until(&format!("{count} messages on {topic}"), || {
            let found = self.on(topic);
            (found.len() >= count).then_some(found)
        })
    }

    /// As [`wait`](Self::wait), read as JSON.
    pub fn wait_json(&self, topic: &str, count: usize) -> Vec<Value> {
        self.wait(topic, count).iter().map(json).collect()
    }

    /// Waits until the aggregates on `topic`, one of each identity (a crash publishes some again),
    /// count so many readings, no more and no fewer.
    pub fn wait_aggregates(&self, topic: &str, readings: u64) -> Vec<Value> {
        let mut found = Vec::new();
        until(&format!("aggregates of {readings} readings on {topic}"), || {
            let mut identities = std::collections::BTreeSet::new();
            found = self.on(topic).iter().map(json).collect();
            found.retain(|a: &Value| {
                identities.insert(format!("{} {} {}", a["start"], a["end"], a["part"]))
            });
            let counts = found.iter().map(|a: &Value| a["count"].as_u64().expect("a count"));
            let count: u64 = counts.sum();
            assert!(count <= readings, "{count} readings, {readings} were published");
            (count == readings).then_some(())
        });
        found
    }

    /// Waits until the last message on `topic` is this text.
    pub fn wait_text(&self, topic: &str, text: &str) {
        until(&format!("{text:?} on {topic}"), || {
            self.on(topic).last().filter(|last| last.payload == text.as_bytes()).map(drop)
        });
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A message's payload as JSON.
pub fn json(message: &Message) -> Value {
    match serde_json::from_slice(&message.payload) {
        Ok(value) => value,
        Err(error) => {
            panic!("{}: {error}: {}", message.topic, String::from_utf8_lossy(&message.payload))
        }
    }
}
