//! When a micro-batch closes.
//!
//! Pure. A batch closes when its interval is over, when it is full, when the broker's window is
//! nearly used, or when the broker falls silent with acknowledgements owed (its window may be
//! smaller than ours: it then waits for us, and waiting for more messages would stall for good).

use crate::reading::SECOND;

/// What has been gathered, in monotonic nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// When the first message (or timer) of the batch came.
    pub opened: i64,
    /// When the latest message came.
    pub latest: i64,
    /// Readings.
    pub readings: usize,
    /// Payload bytes.
    pub bytes: usize,
    /// Acknowledgements owed.
    pub owed: usize,
}

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosePolicy {
    /// `batch.interval`, nanoseconds.
    pub interval: i64,
    /// Readings at which a batch is full.
    pub max_readings: usize,
    /// Payload bytes at which a batch is full.
    pub max_bytes: usize,
    /// Unacknowledged messages that the broker may have out (`mqtt.receive_maximum`).
    pub window: usize,
}

/// Silence after which a broker may be waiting for acknowledgements.
const SILENCE: i64 = SECOND / 50;
/// Fewer owed acknowledgements than this are no sign of a full window: no broker's default is
/// smaller (mosquitto has 20), and lone sensors must not cost a flash write each.
const OWED_IN_SILENCE: usize = 10;

impl ClosePolicy {
    /// When the batch must close: now if not after `now`. `None` while there is nothing to close.
    pub fn due(&self, gathered: Option<Gathered>) -> Option<i64> {
        let g = gathered?;
        if g.readings >= self.max_readings
            || g.bytes >= self.max_bytes
            || g.owed >= (self.window * 3 / 4).max(1)
        {
            return Some(g.latest);
        }
        let regular = g.opened + self.interval;
        if g.owed >= OWED_IN_SILENCE {
            return Some(regular.min(g.latest + SILENCE));
        }
        Some(regular)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: ClosePolicy =
        ClosePolicy { interval: 2 * SECOND, max_readings: 100, max_bytes: 1000, window: 20 };

    fn gathered(readings: usize, owed: usize) -> Option<Gathered> {
        Some(Gathered { opened: 0, latest: SECOND, readings, bytes: readings, owed })
    }

    #[test]
    fn batches_close_by_time_size_window_and_silence() {
        for (readings, owed, expected, why) in [
            (1, 1, 2 * SECOND, "lone messages wait for the interval"),
            (1, 9, 2 * SECOND, "few owed"),
            (1, 10, SECOND + SILENCE, "silence with acknowledgements owed"),
            (100, 0, SECOND, "full"),
            (15, 15, SECOND, "window nearly used"),
        ] {
            assert_eq!(POLICY.due(gathered(readings, owed)), Some(expected), "{why}");
        }
        assert_eq!(POLICY.due(None), None);
    }

    #[test]
    fn silence_never_delays() {
        let late = Gathered { opened: 0, latest: 2 * SECOND - 1, readings: 1, bytes: 1, owed: 12 };
        assert_eq!(POLICY.due(Some(late)), Some(2 * SECOND));
    }
}
