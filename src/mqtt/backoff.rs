//! How long to wait before the next attempt to connect.
//!
//! Pure: the jitter comes in as a number, so that a fleet of gateways behind one failed broker
//! spreads out while a test stays exact.

use std::time::Duration;

/// Shortest wait.
pub const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Longest wait.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A connection that lived this long was a good one: the next failure starts from the shortest
/// wait. One that dies sooner (a poison packet, a client id used twice) keeps the wait growing.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);

/// Exponential backoff with jitter.
///
/// The n-th wait in a row (n from 0) is spread evenly over [`BACKOFF_MIN`] to
/// min([`BACKOFF_MAX`], 2^n s).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Starts with the shortest waits.
    pub const fn new() -> Backoff {
        Backoff { failures: 0 }
    }

    /// The wait before the next attempt. `jitter` is a number in [0, 1), random and different for
    /// every gateway; values outside (NaN too) are taken as the nearest bound.
    pub fn next_wait(&mut self, jitter: f64) -> Duration {
        // 2^6 s is above the longest wait already; the shift cannot overflow.
        let ceiling = Duration::from_secs(1 << self.failures.min(6)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let share = if jitter > 0.0 { jitter.min(1.0) } else { 0.0 };
        BACKOFF_MIN + (ceiling - BACKOFF_MIN).mul_f64(share)
    }

    /// Tells how long the connection that ended had lived; from [`STABLE_AFTER`] on the waits
    /// start anew.
    pub fn connection_ended(&mut self, lived: Duration) {
        if lived >= STABLE_AFTER {
            self.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new();
        let ceilings: Vec<u64> = (0..9).map(|_| backoff.next_wait(1.0).as_secs()).collect();
        assert_eq!(ceilings, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn only_a_connection_that_lived_resets() {
        let mut backoff = Backoff::new();
        for _ in 0..5 {
            backoff.next_wait(0.0);
        }
        backoff.connection_ended(STABLE_AFTER - Duration::from_nanos(1));
        assert_eq!(backoff.next_wait(1.0), Duration::from_secs(32));
        backoff.connection_ended(STABLE_AFTER);
        assert_eq!(backoff.next_wait(1.0), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn every_wait_is_within_bounds(attempts in 0u32..100, jitter in any::<f64>()) {
            let mut backoff = Backoff { failures: attempts };
            let wait = backoff.next_wait(jitter);
            prop_assert!((BACKOFF_MIN..=BACKOFF_MAX).contains(&wait), "{wait:?}");
        }
    }
}
