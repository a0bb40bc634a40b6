//! The devices' connection: publishes in order with QoS 1, and counts only what the broker has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir::mqtt::{Event, Options, connect};

use super::model::{Message, Model};

/// Publishes until stopped, then until everything is acknowledged.
pub struct Publisher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Model>,
}

impl Publisher {
    /// Starts publishing `rate` messages a second.
    pub fn start(port: u16, model: Model, rate: f64) -> Publisher {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(publish(port, model, rate, &seen))
        });
        Publisher { stop, thread }
    }

    /// Whether it still publishes; if not, [`finish`](Self::finish) says why.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Stops; returns the account of everything published and acknowledged by the broker.
    pub fn finish(self) -> Model {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

async fn publish(port: u16, mut model: Model, rate: f64, stop: &AtomicBool) -> Model {
    let options = Options { clean: true, ..Options::new("127.0.0.1", port, "devices") };
    let (sender, mut connection) = connect(&options);
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut waiting: VecDeque<Message> = VecDeque::new();
    let (mut unacknowledged, mut connected) = (0_u64, None::<Instant>);
    let (mut last, mut due) = (Instant::now(), 0.0);
    loop {
        let next = connection.poll();
        tokio::pin!(next);
        let event = loop {
            tokio::select! {
                event = &mut next => break event,
                _ = tick.tick() => {}
            }
            let elapsed = last.elapsed().as_secs_f64();
            last = Instant::now();
            if connected.is_none() {
                continue;
            }
            if stop.load(Ordering::Relaxed) {
                if waiting.is_empty() && unacknowledged == 0 {
                    return model;
                }
            } else {
                due += elapsed * rate;
                while due >= 1.0 && waiting.len() < 1000 {
                    due -= 1.0;
                    waiting.push_back(model.next(super::now_ms()));
                }
            }
            while let Some(message) = waiting.front() {
                if sender.try_publish(&message.topic, 1, false, message.payload.as_bytes()).is_err()
                {
                    break;
                }
                waiting.pop_front();
                unacknowledged += 1;
            }
        };
        match event.expect("the site's broker stays up") {
            Event::Connected { .. } => connected = Some(Instant::now()),
            Event::PublishAcknowledged { failure, .. } => {
                // "No matching subscribers" is a success with a reason.
                assert!(failure.is_none(), "the site's broker refuses a message: {failure:?}");
                unacknowledged -= 1;
            }
            _ => {}
        }
    }
}
