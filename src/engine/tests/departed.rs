//! Counts of series that left, when several leave one slot between two checkpoints and the process
//! dies after a checkpoint's chunks were written, before its meta.

use super::world::Stored;
use crate::analytics::members::UnitKind;
use crate::engine::{CoreConfig, Engine};
use crate::journal::frame::{Define, Frame, FrameReading};
use crate::reading::{AttendedTime, EventTime, Finite, ProcessingTime, SECOND, SeriesId};

const SLOT: SeriesId = SeriesId(0);

/// What is on disk: checkpoints and all frames.
struct Disk {
    stored: Stored,
    frames: Vec<Frame>,
}

impl Disk {
    fn new() -> Disk {
        Disk { stored: Stored::new(CoreConfig::default()), frames: Vec::new() }
    }

    /// The slot's series leaves, another one comes and has `readings` readings.
    fn succeed(&mut self, engine: &mut Engine, device: &str, readings: i64) {
        let batch = engine.meta().batch + 1;
        let now = batch as i64 * 100 * SECOND;
        let mut frame = Frame::empty(batch, ProcessingTime(now), AttendedTime(now));
        if engine.unit(SLOT).is_some() {
            frame.evict.push(SLOT);
        }
        let (device, metric) = (device.to_owned(), "t".to_owned());
        frame.define.push(Define { series: SLOT, device, metric, kind: UnitKind::Series });
        frame.readings.extend((0..readings).map(|i| FrameReading {
            series: SLOT,
            time: EventTime::clamped(now - (readings - i) * SECOND),
            value: Finite::new(1.0).unwrap(),
            dedup: true,
        }));
        engine.step(&frame).unwrap();
        self.frames.push(frame);
    }

    /// A checkpoint that ends before its meta, or a whole one.
    fn checkpoint(&mut self, engine: &mut Engine, whole: bool) {
        self.stored.checkpoint(engine, usize::MAX, whole);
    }

    fn recover(&self) -> Engine {
        self.stored.recover(&self.frames)
    }
}

#[test]
fn counts_survive_two_that_left_one_slot_between_checkpoints() {
    let mut disk = Disk::new();
    let mut engine = disk.recover();
    disk.succeed(&mut engine, "a", 3);
    disk.checkpoint(&mut engine, true);
    disk.succeed(&mut engine, "b", 5);
    disk.succeed(&mut engine, "c", 7);
    disk.succeed(&mut engine, "d", 11);
    disk.checkpoint(&mut engine, false);
    assert_eq!(engine.totals().readings, 26);
    assert_eq!(disk.recover().totals(), engine.totals());
}

#[test]
fn counts_survive_a_second_crash_before_meta() {
    let mut disk = Disk::new();
    let mut engine = disk.recover();
    disk.succeed(&mut engine, "a", 3);
    disk.checkpoint(&mut engine, true);
    disk.succeed(&mut engine, "b", 5);
    disk.succeed(&mut engine, "c", 7);
    disk.checkpoint(&mut engine, false);
    let mut engine = disk.recover();
    disk.succeed(&mut engine, "d", 11);
    disk.checkpoint(&mut engine, false);
    let mut engine = disk.recover();
    assert_eq!(engine.totals().readings, 26);
    // Nor are they counted twice once meta has them.
    disk.succeed(&mut engine, "e", 13);
    disk.checkpoint(&mut engine, true);
    disk.succeed(&mut engine, "f", 17);
    disk.checkpoint(&mut engine, false);
    assert_eq!(engine.totals().readings, 56);
    assert_eq!(disk.recover().totals(), engine.totals());
}
