//! The alarms of one series that are active now: each with the event of its begin.
//!
//! Pure. Whoever raises an alarm leaves its events; what is active follows from them, so that
//! topics can be asserted again, and the page can list alarms, without asking who raised them.

use serde::{Deserialize, Serialize};

use super::{AlarmState, Event};
use crate::reading::EventTime;

/// The active alarms, longest active first; each name once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Active {
    events: Vec<Event>,
}

impl Active {
    /// Takes in the events of a step, in order.
    pub fn follow(&mut self, events: &[Event]) {
        for event in events {
            self.events.retain(|other| other.alarm != event.alarm);
            if event.state == AlarmState::Active {
                self.events.push(event.clone());
            }
        }
    }

    /// The series leaves: whatever is active ends.
    pub fn end_all(&self, now: EventTime, reason: &str, events: &mut Vec<Event>) {
        events.extend(self.events.iter().map(|begin| Event {
            state: AlarmState::Cleared,
            time: now,
            value: None,
            expected: None,
            reason: reason.to_owned(),
            ..begin.clone()
        }));
    }

    /// The begins, longest active first.
    pub fn iter(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True when none is active.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        let texts: usize = self.events.iter().map(|e| e.alarm.len() + e.reason.len()).sum();
        self.events.capacity() * size_of::<Event>() + texts
    }
}
