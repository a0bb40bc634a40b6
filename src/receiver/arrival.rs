//! Times of arrival.

use crate::clock::Clock;
use crate::reading::{EventTime, SECOND};

/// Gives what arrives its time by the gateway's clock. Microseconds are plenty and keep the
/// journal small; what comes later gets a later time, so that arrival order is event order,
/// unless the clock stepped back.
#[derive(Debug, Default)]
pub struct Arrivals {
    latest: i64,
}

impl Arrivals {
    /// The time of the next. `together`: it was read from the socket in one go with the one
    /// before, so both came at one time and the clock need not be asked.
    pub fn next(&mut self, clock: &Clock, together: bool) -> EventTime {
        let earliest = self.latest + 1000;
        self.latest = if together {
            earliest
        } else {
            let now = clock.now().0 / 1000 * 1000;
            let stepped_back = self.latest - now > SECOND;
            if stepped_back { now } else { now.max(earliest) }
        };
        EventTime::clamped(self.latest)
    }
}
