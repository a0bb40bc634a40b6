//! Who listens: upstream, and the site's results. Both only note; faults are told at the end.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use weir::mqtt::{Event, Options, connect};
use weir::output::Aggregate;

use super::model::{Pane, Series, Totals, WINDOWS_MS};

/// (device, metric, start, end, part).
pub type Identity = (String, String, i64, i64, u64);

/// What weir says upstream.
#[derive(Deserialize)]
struct Envelope<'a> {
    schema: String,
    gateway: String,
    instance: String,
    sequence: u64,
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}

/// What upstream got.
#[derive(Default)]
pub struct Upstream {
    instance: Option<String>,
    /// Messages by `sequence` - 1.
    messages: Vec<Vec<u8>>,
    /// Messages that came again.
    pub repeated: u64,
    /// Records as their text.
    pub records: BTreeMap<Identity, String>,
    /// Merged over parts, by series and window size.
    pub totals: BTreeMap<(Series, i64), Totals>,
    /// Merged over parts.
    pub panes: BTreeMap<Pane, Totals>,
    /// Panes of more than one part have a positive number of further ones here.
    pub further_parts: u64,
    pub faults: Vec<String>,
}

impl Upstream {
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Readings in records of the smallest window.
    pub fn readings(&self) -> u64 {
        let smallest = self.totals.iter().filter(|((_, size), _)| *size == WINDOWS_MS[0]);
        smallest.map(|(_, totals)| totals.count).sum()
    }

    fn take(&mut self, payload: &[u8]) {
        let envelope: Envelope<'_> = match serde_json::from_slice(payload) {
            Ok(envelope) => envelope,
            Err(error) => return self.faults.push(format!("upstream: not a message: {error}")),
        };
        if envelope.schema != "weir/1" || envelope.gateway != "crash" {
            self.faults.push(format!("schema {} of {}", envelope.schema, envelope.gateway));
        }
        let first = self.instance.get_or_insert_with(|| envelope.instance.clone());
        if *first != envelope.instance {
            let text = format!("another instance {} than {first}", envelope.instance);
            self.faults.push(text);
        }
        let sequence = envelope.sequence;
        let at = (sequence as usize).wrapping_sub(1);
        if let Some(before) = self.messages.get(at) {
            self.repeated += 1;
            if before != payload {
                self.faults.push(format!("sequence {sequence} came again with other bytes"));
            }
            return;
        }
        if at != self.messages.len() {
            let seen = self.messages.len();
            self.faults.push(format!("sequence {sequence} came after {seen}"));
        }
        self.messages.push(payload.to_vec());
        for record in envelope.records {
            self.record(record.get());
        }
    }

    fn record(&mut self, text: &str) {
        // Alarms are not counted by readings: `daemon::alarms` looks at them.
        if text.starts_with("{\"kind\":\"alarm\"") {
            return;
        }
        let aggregate: Aggregate = match serde_json::from_str(text) {
            Ok(aggregate) => aggregate,
            Err(error) => return self.faults.push(format!("not an aggregate ({error}): {text}")),
        };
        if self.records.insert(identity(&aggregate), text.to_owned()).is_some() {
            self.faults.push(format!("two messages hold the record {text}"));
            return;
        }
        let series = (aggregate.device.to_string(), aggregate.metric.to_string());
        let start = aggregate.start.nanos() / 1_000_000;
        let size = aggregate.end.nanos() / 1_000_000 - start;
        let one = Totals {
            count: aggregate.count,
            sum: aggregate.sum,
            min: aggregate.min,
            max: aggregate.max,
        };
        self.totals.entry((series.clone(), size)).or_default().merge(&one);
        let pane = self.panes.entry((series, size, start)).or_default();
        self.further_parts += u64::from(pane.count > 0);
        pane.merge(&one);
    }
}

/// What a subscriber of the results got.
#[derive(Default)]
pub struct Results {
    /// Records as their text.
    pub records: BTreeMap<Identity, String>,
    /// Records that came again.
    pub repeated: u64,
    pub faults: Vec<String>,
}

impl Results {
    fn take(&mut self, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload).into_owned();
        let aggregate: Aggregate = match serde_json::from_str(&text) {
            Ok(aggregate) => aggregate,
            Err(error) => return self.faults.push(format!("result {text}: {error}")),
        };
        match self.records.insert(identity(&aggregate), text.clone()) {
            Some(before) if before != text => {
                self.faults.push(format!("result came again with other bytes: {before} {text}"));
            }
            Some(_) => self.repeated += 1,
            None => {}
        }
    }
}

pub fn identity(a: &Aggregate) -> Identity {
    (a.device.to_string(), a.metric.to_string(), a.start.nanos(), a.end.nanos(), a.part)
}

/// Something that listens, shared with its thread.
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T> Shared<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn upstream(port: u16, topic: &str) -> Shared<Upstream> {
    subscribe(port, "collector", topic, Upstream::take)
}

pub fn results(port: u16, filter: &str) -> Shared<Results> {
    subscribe(port, "site", filter, Results::take)
}

/// Subscribes with a persistent session, connecting again whenever the broker was away; returns
/// once the subscription stands. The thread ends with the test's process.
fn subscribe<T: Default + Send + 'static>(
    port: u16,
    client_id: &'static str,
    filter: &str,
    take: fn(&mut T, &[u8]),
) -> Shared<T> {
    let state = Arc::new(Mutex::new(T::default()));
    let (shared, filter) = (state.clone(), filter.to_owned());
    let (stands, wait) = sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            loop {
                let (sender, mut connection) = connect(&Options::new("127.0.0.1", port, client_id));
                while let Ok(event) = connection.poll().await {
                    match event {
                        Event::Connected { session_present: false, .. } => {
                            sender.try_subscribe(vec![(filter.clone(), 1)]).expect("room");
                        }
                        Event::Subscribed { failures } => {
                            assert!(failures.is_empty(), "{failures:?}");
                            let _ = stands.try_send(());
                        }
                        Event::Message(message) => {
                            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                            take(&mut state, &message.payload);
                            drop(state);
                            if sender.try_acknowledge(message.packet_id).is_err() {
                                break;
                            }
                        }
                        _ => {}
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    });
    wait.recv_timeout(Duration::from_secs(20)).expect("the subscription stands");
    Shared(state)
}
