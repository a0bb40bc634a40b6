//! The alarm of the whole input: the broker is away, or brings nothing although readings are due.
//!
//! What concerns every series at once is one alarm, not one for each. It is the daemon's, not the
//! core's: it comes from connections and the monotonic clock, is in no frame, and a restart
//! begins anew. The core's own alarms stand still meanwhile where the broker is away, since
//! attended time does.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::analytics::alarm::{AlarmState, Severity};
use crate::reading::ProcessingTime;

/// Without a connection, or without a message, for this long the input may be away. Shorter than
/// most gaps that matter, longer than a broker's restart.
pub const AWAY: Duration = Duration::from_secs(60);
/// So many readings must have been due in the silence: if series kept to their usual intervals by
/// chance alone, this many would all be missing once in e²⁰ silences.
const DUE_LEAST: f64 = 20.0;

/// The alarm as it is published: the fields of every alarm but device and metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InputAlarm {
    /// `input`.
    pub alarm: &'static str,
    /// Begin or end.
    pub state: AlarmState,
    /// The gateway's clock at that moment; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub time: ProcessingTime,
    /// Seconds without input.
    pub value: Option<f64>,
    /// Always absent.
    pub expected: Option<f64>,
    /// Always absent.
    pub lower: Option<f64>,
    /// Seconds without input that are ordinary.
    pub upper: Option<f64>,
    /// In words, with numbers.
    pub reason: String,
    /// [`Severity::Critical`].
    pub severity: Severity,
}

fn rfc3339<S: serde::Serializer>(time: &ProcessingTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

/// Watches the input. Instants are those of a monotonic clock.
#[derive(Debug)]
pub struct InputWatch {
    connected: bool,
    /// The latest message, change of connection, or the start.
    heard: Instant,
    /// The alarm began with a connection and without messages.
    by_silence: bool,
    alarm: InputAlarm,
}

impl InputWatch {
    /// The process started; nothing is connected yet.
    pub fn new(at: Instant, now: ProcessingTime) -> InputWatch {
        let alarm = InputAlarm {
            alarm: "input",
            state: AlarmState::Cleared,
            time: now,
            value: None,
            expected: None,
            lower: None,
            upper: Some(AWAY.as_secs_f64()),
            reason: "the gateway started".to_owned(),
            severity: Severity::Critical,
        };
        InputWatch { connected: false, heard: at, by_silence: false, alarm }
    }

    /// The alarm as it stands.
    pub fn alarm(&self) -> &InputAlarm {
        &self.alarm
    }

    /// True while the input is away.
    pub fn is_active(&self) -> bool {
        self.alarm.state == AlarmState::Active
    }

    /// A connection came up or ended.
    pub fn connection(&mut self, connected: bool, at: Instant) {
        // A silence goes on through losses of the connection until there is a message.
        let silence = self.is_active() && self.by_silence;
        if self.connected != connected && !silence {
            self.heard = at;
        }
        self.connected = connected;
    }

    /// A message came.
    pub fn message(&mut self, at: Instant) {
        self.heard = at;
    }

    /// Judges; true when the alarm began or ended. `due`: readings that the series would have sent
    /// in a silence of this length; asked only when that decides.
    pub fn look(
        &mut self,
        at: Instant,
        now: ProcessingTime,
        due: impl FnOnce(Duration) -> f64,
    ) -> bool {
        let silent = at.saturating_duration_since(self.heard);
        let seconds = silent.as_secs();
        if self.is_active() {
            // Ends with a message, or with the connection whose absence began it.
            if silent < AWAY {
                let reason = if self.by_silence {
                    "messages come again"
                } else {
                    "the broker is there again"
                };
                self.set(AlarmState::Cleared, now, None, reason.to_owned());
                return true;
            }
            return false;
        }
        if silent < AWAY {
            return false;
        }
        let reason = if self.connected {
            let due = due(silent);
            if due < DUE_LEAST {
                return false;
            }
            format!("no message for {seconds} s, in which {due:.0} readings were due")
        } else {
            format!("no connection to the broker for {seconds} s")
        };
        self.by_silence = self.connected;
        self.set(AlarmState::Active, now, Some(silent.as_secs_f64()), reason);
        true
    }

    fn set(&mut self, state: AlarmState, now: ProcessingTime, value: Option<f64>, reason: String) {
        self.alarm.state = state;
        self.alarm.time = now;
        self.alarm.value = value;
        self.alarm.reason = reason;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: ProcessingTime = ProcessingTime(0);

    fn watch() -> (InputWatch, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (InputWatch::new(start, NOW), move |seconds| start + Duration::from_secs(seconds))
    }

    /// A reading a second in all.
    fn one_a_second(silence: Duration) -> f64 {
        silence.as_secs_f64()
    }

    #[test]
    fn a_broker_that_stays_away_is_one_alarm_until_it_is_there() {
        let (mut watch, at) = watch();
        assert!(!watch.look(at(59), NOW, |_| 0.0));
        assert!(watch.look(at(60), NOW, |_| 0.0));
        assert_eq!(watch.alarm().reason, "no connection to the broker for 60 s");
        assert!(!watch.look(at(90), NOW, |_| 0.0), "it is said once");
        watch.connection(true, at(100));
        assert!(watch.look(at(101), NOW, |_| 0.0));
        assert!(!watch.is_active());
        assert!(!watch.look(at(300), NOW, |_| 0.0), "nothing is due");
    }

    #[test]
    fn silence_is_an_alarm_when_enough_was_due() {
        let (mut watch, at) = watch();
        watch.connection(true, at(0));
        watch.message(at(10));
        assert!(!watch.look(at(69), NOW, one_a_second));
        assert!(!watch.look(at(70), NOW, |silence| one_a_second(silence) / 10.0));
        assert!(watch.look(at(70), NOW, one_a_second));
        assert_eq!(watch.alarm().reason, "no message for 60 s, in which 60 readings were due");
        assert!(!watch.look(at(1000), NOW, one_a_second));
        watch.connection(false, at(1000));
        assert!(!watch.look(at(1000), NOW, one_a_second), "still silent");
        watch.connection(true, at(1000));
        assert!(!watch.look(at(1000), NOW, one_a_second), "still silent");
        watch.message(at(1001));
        assert!(watch.look(at(1001), NOW, one_a_second));
        assert!(!watch.is_active());
    }

    #[test]
    fn short_losses_of_the_connection_are_none() {
        let (mut watch, at) = watch();
        for minute in 0..10 {
            watch.connection(true, at(minute * 60));
            watch.message(at(minute * 60 + 1));
            watch.connection(false, at(minute * 60 + 5));
            assert!(!watch.look(at(minute * 60 + 59), NOW, one_a_second));
        }
    }
}
