//! Recorded readings through the production engine, with event time as its clock.
//!
//! Pure. The clock is the largest event time so far: it only moves forward, so no reading is ever
//! ahead of it, and readings that go back in time are late data, as in production. Batches close
//! as they do there ([`ClosePolicy`]), attended time advances with the clock, newcomers are
//! admitted the same way. What differs is only that nothing is kept, and that searches for better
//! parameters run where they arise, as if their results came in time.

use crate::analytics::step::Origins;
use crate::batch::builder::Builder;
use crate::batch::close::{ClosePolicy, Silence};
use crate::engine::{ConfigError, CoreConfig, Engine, StepOutput};
use crate::journal::frame::Frame;
use crate::reading::{AttendedTime, DropCounts, DropReason, EventTime, Finite, ProcessingTime};

/// Attended time passed at the end: first this much, then twice as much as before.
const END_STEP: i64 = 86_400 * crate::reading::SECOND;

/// The engine with its open batch and its clock.
#[derive(Debug)]
pub struct Player {
    engine: Engine,
    builder: Builder,
    policy: ClosePolicy,
    /// Goes with the first frame.
    configuration: Option<Vec<u8>>,
    /// Event time of the first reading; `None` before it.
    began: Option<i64>,
    /// Largest event time so far.
    now: i64,
    attended: AttendedTime,
}

impl Player {
    /// Nothing played yet. `interval`: nanoseconds of event time after which a batch closes;
    /// `max_readings`: how many it holds at most.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn new(
        config: CoreConfig,
        interval: i64,
        max_readings: usize,
    ) -> Result<Player, ConfigError> {
        let configuration =
            serde_cbor::to_vec(&config).map_err(|error| ConfigError(error.to_string()))?;
        let mut engine = Engine::new(config)?;
        engine.fit_in_place();
        Ok(Player {
            engine,
            builder: Builder::default(),
            // No broker waits for acknowledgements, and readings bound the memory.
            policy: ClosePolicy { interval, max_readings, max_bytes: usize::MAX, window: 65_535 },
            configuration: Some(configuration),
            began: None,
            now: i64::MIN,
            attended: AttendedTime(0),
        })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// See [`Engine::keep_details`].
    pub fn keep_details(&mut self) {
        self.engine.keep_details();
    }

    /// See [`Engine::keep_outlooks`].
    pub fn keep_outlooks(&mut self, origins: Origins) {
        self.engine.keep_outlooks(origins);
    }

    /// Takes a reading into the open batch; if that must close before it, returns what it made.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn push(
        &mut self,
        (device, metric): (&str, &str),
        time: EventTime,
        value: Finite,
    ) -> Result<Option<StepOutput>, ConfigError> {
        let now = self.now.max(time.nanos());
        let due = self
            .policy
            .due(self.builder.gathered(), &Silence::default())
            .is_some_and(|due| due <= now);
        let output = if due { Some(self.cut()?) } else { None };
        self.now = now;
        self.attended = AttendedTime(now - *self.began.get_or_insert(now));
        self.builder.message(now, 0);
        // Recorded data carries its time, so a repeat is one.
        self.builder.reading(&self.engine, (device, metric), time, value, true);
        Ok(output)
    }

    /// Counts something that is no reading with the open batch.
    pub fn drop_one(&mut self, reason: DropReason) {
        let mut drops = DropCounts::default();
        drops.add(reason, 1);
        self.builder.drops(&drops);
    }

    /// Closes the open batch, full or not.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn cut(&mut self) -> Result<StepOutput, ConfigError> {
        let batch = self.engine.meta().batch + 1;
        let mut frame = Frame::empty(batch, ProcessingTime(self.now), self.attended);
        frame.configuration = self.configuration.take();
        let (frame, _) = self.builder.close(&self.engine, frame);
        self.engine.step(&frame)
    }

    /// No more readings: closes the batch, then lets attended time pass until nothing is open.
    /// `take` gets what each batch makes.
    ///
    /// # Errors
    /// The configuration cannot be used, or the first of `take`'s.
    pub fn finish<E: From<ConfigError>>(
        &mut self,
        mut take: impl FnMut(&Engine, StepOutput) -> Result<(), E>,
    ) -> Result<(), E> {
        let output = self.cut()?;
        take(&self.engine, output)?;
        // The end of a recording is no silence: nothing begins because nothing comes.
        self.engine.forget_waiting();
        let mut step = END_STEP;
        // Each step passes some deadline: they lie at most a window and a lateness ahead.
        while self.engine.next_deadline().is_some() {
            // Both clocks, so that what was held back keeps its place in attended time.
            self.attended.0 = self.attended.0.saturating_add(step);
            self.now = self.now.saturating_add(step);
            step = step.saturating_mul(2);
            let output = self.cut()?;
            take(&self.engine, output)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Record;
    use crate::reading::SECOND;

    fn at(seconds: i64) -> EventTime {
        EventTime::clamped(seconds * SECOND)
    }

    fn play(readings: &[(&str, i64, f64)]) -> (Player, Vec<StepOutput>) {
        let mut player = Player::new(CoreConfig::default(), 2 * SECOND, 100).unwrap();
        player.keep_details();
        let mut outputs = Vec::new();
        for &(device, seconds, value) in readings {
            let value = Finite::new(value).unwrap();
            outputs.extend(player.push((device, "m"), at(seconds), value).unwrap());
        }
        player
            .finish::<ConfigError>(|_, output| {
                outputs.push(output);
                Ok(())
            })
            .unwrap();
        (player, outputs)
    }

    fn counts(outputs: &[StepOutput]) -> Vec<u64> {
        let records = outputs.iter().flat_map(|output| &output.records);
        let count = |record: &Record| match record {
            Record::Aggregate(a) => Some(a.count),
            Record::View(_) | Record::Forecast(_) | Record::Alarm(_) => None,
        };
        records.filter_map(count).collect()
    }

    #[test]
    fn batches_close_by_event_time_and_the_end_closes_every_pane() {
        let (player, outputs) =
            play(&[("a", 0, 1.0), ("a", 1, 2.0), ("a", 2, 3.0), ("a", 70, 4.0)]);
        let batches: Vec<usize> = outputs
            .iter()
            .map(|o| o.details.iter().map(|d| d.details.readings.len()).sum())
            .collect();
        assert_eq!(batches, [2, 1, 1, 0], "two seconds a batch, and one after the end");
        assert_eq!(counts(&outputs), [3, 1]);
        assert_eq!(player.engine().next_deadline(), None);
        assert!(player.engine().drops().is_empty());
    }

    #[test]
    fn a_device_that_follows_another_in_the_file_is_neither_late_nor_ahead() {
        let (player, outputs) =
            play(&[("a", 0, 1.0), ("a", 600, 2.0), ("b", 0, 1.0), ("b", 30, 1.0), ("b", 600, 2.0)]);
        assert_eq!(counts(&outputs), [1, 2, 1, 1]);
        assert_eq!(player.engine().totals().unordered, 0);
        assert!(player.engine().drops().is_empty());
    }

    #[test]
    fn readings_that_go_back_are_late_and_repeats_are_dropped() {
        let (player, outputs) =
            play(&[("a", 100, 1.0), ("a", 100, 1.0), ("a", 10, 2.0), ("a", 101, 1.0)]);
        assert_eq!(counts(&outputs).iter().sum::<u64>(), 3);
        let totals = player.engine().totals();
        // Within one batch the readings are in order; the one at 10 came first in it.
        assert_eq!((totals.readings, totals.duplicate, totals.unordered), (4, 1, 0));
    }
}
