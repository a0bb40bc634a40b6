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
/// For how long it is watched what follows acknowledgements. A trickle slower than one message in
/// [`SILENCE`] brings five at most; a broker that was waiting sends a window's worth.
const WATCH: i64 = SECOND / 10;
/// Fewer owed acknowledgements than this are no sign of a full window: no broker's default is
/// smaller (mosquitto has 20), and lone sensors must not cost a flash write each.
const OWED_LEAST: usize = 10;

/// How many acknowledgements must be owed in a silence before it is taken for a full window.
///
/// A stall shows by what follows the acknowledgements: at once about as many messages as were
/// acknowledged. If they do not come, the broker just had nothing to say, and the next silence must
/// be of twice as many: sensors that report now and then must not cost a flash write every few
/// messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    threshold: usize,
    watched: Option<Watched>,
}

/// What came since the last acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    until: i64,
    acknowledged: usize,
    came: usize,
    by_silence: bool,
}

impl Default for Silence {
    fn default() -> Self {
        Silence { threshold: OWED_LEAST, watched: None }
    }
}

impl Silence {
    /// `owed` acknowledgements leave at monotonic `now`; `by_silence`: because of a silence.
    pub fn acknowledged(&mut self, now: i64, owed: usize, by_silence: bool) {
        self.settle(now);
        self.watched = (owed >= OWED_LEAST).then_some(Watched {
            until: now + WATCH,
            acknowledged: owed,
            came: 0,
            by_silence,
        });
    }

    /// `count` messages came at monotonic `now`.
    pub fn messages(&mut self, now: i64, count: usize) {
        self.settle(now);
        if let Some(watched) = &mut self.watched {
            watched.came += count;
            if watched.came * 4 >= watched.acknowledged * 3 {
                self.threshold = watched.acknowledged.clamp(OWED_LEAST, self.threshold);
                self.watched = None;
            }
        }
    }

    fn settle(&mut self, now: i64) {
        if let Some(watched) = self.watched.take_if(|watched| now > watched.until)
            && watched.by_silence
        {
            self.threshold = (self.threshold * 2).min(1 << 16);
        }
    }
}

impl ClosePolicy {
    /// When the batch must close: now if not after `now`. `None` while there is nothing to close.
    pub fn due(&self, gathered: Option<Gathered>, silence: &Silence) -> Option<i64> {
        let g = gathered?;
        if g.readings >= self.max_readings
            || g.bytes >= self.max_bytes
            || g.owed >= (self.window * 3 / 4).max(1)
        {
            return Some(g.latest);
        }
        let regular = g.opened + self.interval;
        if g.owed >= silence.threshold {
            return Some(regular.min(g.latest + SILENCE));
        }
        Some(regular)
    }

    /// Whether a batch that closes at `now` closes because of a silence.
    pub fn is_by_silence(&self, gathered: Gathered, silence: &Silence, now: i64) -> bool {
        let patient = Silence { threshold: usize::MAX, watched: None };
        self.due(Some(gathered), silence) != self.due(Some(gathered), &patient)
            && now < gathered.opened + self.interval
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
            assert_eq!(
                POLICY.due(gathered(readings, owed), &Silence::default()),
                Some(expected),
                "{why}"
            );
        }
        assert_eq!(POLICY.due(None, &Silence::default()), None);
    }

    #[test]
    fn silence_never_delays() {
        let late = Gathered { opened: 0, latest: 2 * SECOND - 1, readings: 1, bytes: 1, owed: 12 };
        assert_eq!(POLICY.due(Some(late), &Silence::default()), Some(2 * SECOND));
    }

    /// Sensors that report every 25 ms: after a few silences nobody commits for them any more.
    #[test]
    fn a_trickle_is_not_taken_for_a_stall() {
        let policy = ClosePolicy { window: 10_000, ..POLICY };
        let mut silence = Silence::default();
        let (mut commits, mut open): (usize, Option<Gathered>) = (0, None);
        for i in 0..4000 {
            let now = i * SECOND / 40;
            while let Some(due) = policy.due(open, &silence).filter(|&due| due < now) {
                let g = open.take().unwrap_or_else(|| unreachable!());
                silence.acknowledged(due, g.owed, policy.is_by_silence(g, &silence, due));
                commits += 1;
            }
            silence.messages(now, 1);
            let g = open.get_or_insert(Gathered {
                opened: now,
                latest: now,
                readings: 0,
                bytes: 0,
                owed: 0,
            });
            (g.latest, g.readings, g.owed) = (now, g.readings + 1, g.owed + 1);
            g.readings %= 100;
        }
        // 100 seconds at an interval of two make 50 commits; a few more while it learns.
        assert!((50..60).contains(&commits), "{commits}");
    }

    /// A broker with a window of 20 and a long queue: found even after a trickle.
    #[test]
    fn a_full_window_is_learned() {
        let mut silence = Silence { threshold: 640, watched: None };
        silence.acknowledged(0, 20, false);
        silence.messages(1000, 20);
        let g = Gathered { opened: 1000, latest: 2000, readings: 20, bytes: 20, owed: 20 };
        let policy = ClosePolicy { window: 1000, ..POLICY };
        assert_eq!(policy.due(Some(g), &silence), Some(2000 + SILENCE));
        assert!(policy.is_by_silence(g, &silence, 2000 + SILENCE));
    }
}
