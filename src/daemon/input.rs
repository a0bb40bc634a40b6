//! The alarm of the whole input: the broker is away, or brings nothing although readings are due.
//!
//! What concerns every series at once is one alarm, not one for each. It is the daemon's, not the
//! core's: it comes from connections and the monotonic clock, is in no frame, and a restart
//! begins anew. The core's own alarms stand still meanwhile where the broker is away, since
//! attended time does.

use std::time::{Duration, Instant};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::analytics::alarm::{AlarmState, Event, Severity};
use crate::reading::{EventTime, ProcessingTime};

/// Without a connection, or without a message, for this long the input may be away. Shorter than
/// most gaps that matter, longer than a broker's restart.
pub const AWAY: Duration = Duration::from_secs(60);
/// So many readings must have been due in the silence: if series kept to their usual intervals by
/// chance alone, this many would all be missing once in e²⁰ silences.
const DUE_LEAST: f64 = 20.0;

/// Begin or end of the alarm: its name is `input`, its value the seconds without input, its upper end those that are
/// ordinary, its time the gateway's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct InputAlarm(pub Event);

/// As it is published: the fields of every alarm but device and metric.
impl Serialize for InputAlarm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Event { alarm, state, time, value, expected, lower, upper, reason, severity } = &self.0;
        let mut fields = serializer.serialize_struct("InputAlarm", 9)?;
        fields.serialize_field("alarm", &**alarm)?;
        fields.serialize_field("state", state)?;
        fields.serialize_field("time", &time.to_string())?;
        fields.serialize_field("value", value)?;
        fields.serialize_field("expected", expected)?;
        fields.serialize_field("lower", lower)?;
        fields.serialize_field("upper", upper)?;
        fields.serialize_field("reason", reason)?;
        fields.serialize_field("severity", severity)?;
        fields.end()
    }
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
        let event = Event {
            alarm: "input".into(),
            state: AlarmState::Cleared,
            time: EventTime::clamped(now.0),
            value: None,
            expected: None,
            lower: None,
            upper: Some(AWAY.as_secs_f64()),
            reason: "the gateway started".to_owned(),
            severity: Severity::Critical,
        };
        InputWatch { connected: false, heard: at, by_silence: false, alarm: InputAlarm(event) }
    }

    /// The alarm as it stands.
    pub fn alarm(&self) -> &InputAlarm {
        &self.alarm
    }

    /// True while the input is away.
    pub fn is_active(&self) -> bool {
        self.alarm.0.state == AlarmState::Active
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
        let event = &mut self.alarm.0;
        (event.state, event.time) = (state, EventTime::clamped(now.0));
        (event.value, event.reason) = (value, reason);
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
        assert_eq!(watch.alarm().0.reason, "no connection to the broker for 60 s");
        assert!(!watch.look(at(90), NOW, |_| 0.0), "it is said once");
        watch.connection(true, at(100));
        assert!(watch.look(at(101), NOW, |_| 0.0));
        assert!(!watch.is_active());
        assert!(!watch.look(at(300), NOW, |_| 0.0), "nothing is due");
    }

    #[test]
    fn what_is_published_has_the_fields_of_every_alarm() {
        let (mut watch, at) = watch();
        watch.look(at(60), NOW, |_| 0.0);
        assert_eq!(
            serde_json::to_string(watch.alarm()).unwrap(),
            r#"{"alarm":"input","state":"active","time":"1970-01-01T00:00:00Z","value":60.0,"expected":null,"#
                .to_owned()
                + r#""lower":null,"upper":60.0,"reason":"no connection to the broker for 60 s","severity":"critical"}"#
        );
    }

    #[test]
    fn silence_is_an_alarm_when_enough_was_due() {
        let (mut watch, at) = watch();
        watch.connection(true, at(0));
        watch.message(at(10));
        assert!(!watch.look(at(69), NOW, one_a_second));
        assert!(!watch.look(at(70), NOW, |silence| one_a_second(silence) / 10.0));
        assert!(watch.look(at(70), NOW, one_a_second));
        assert_eq!(watch.alarm().0.reason, "no message for 60 s, in which 60 readings were due");
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
