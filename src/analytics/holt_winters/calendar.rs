//! Where a slot lies in its seasons: by UTC, or by local time.
//!
//! Slots are numbered since the epoch in UTC. A season of whole days belongs to the people and machines of
//! a site, whose days move when its clocks are changed: there a slot's **place** is the number that it would have if
//! local time were UTC, (start + offset)/step rounded down, and its phase is the place modulo the season's
//! length. So the slot that starts at 07:00 has the same phase in summer and winter, the hour that a day
//! leaves out leaves a phase out, and the hour that comes twice has one phase twice.
//!
//! Seasons that are not whole days go by UTC, and so does everything in zones whose clocks have not
//! changed since 1970: for a place counts how it moves against others, not where it began.
//!
//! Offsets are those of the zone database in the program ([`Zone`]).

use crate::batch::window::Zone;
use crate::reading::SECOND;

const DAY: i64 = 86_400 * SECOND;

/// What the phases of a series' slots go by.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    /// Length of a slot in nanoseconds, ≥ 1.
    step: i64,
    /// `None`: UTC.
    zone: Option<Zone>,
}

/// The calendar without a zone.
pub static UTC: Calendar = Calendar { step: 1, zone: None };

impl Calendar {
    /// For slots of `step` nanoseconds (≥ 1) and `seasons` of so many slots (0: none) at a site in `zone`.
    pub fn new(step: i64, seasons: [usize; 2], zone: &Zone) -> Calendar {
        let calendar = Calendar { step, zone: zone.changes().then(|| zone.clone()) };
        match seasons.iter().any(|&length| calendar.is_local(length)) {
            true => calendar,
            false => Calendar { step, zone: None },
        }
    }

    /// The zone by whose time some season goes; `None`: all go by UTC.
    pub fn zone(&self) -> Option<&str> {
        self.zone.as_ref().map(Zone::name)
    }

    /// The slot of that number.
    pub fn slot(&self, number: i64) -> Slot<'_> {
        Slot { number, calendar: self }
    }

    /// Whether a season of `length` slots goes by local time.
    fn is_local(&self, length: usize) -> bool {
        let whole_days = || (length as i64).saturating_mul(self.step) % DAY == 0;
        self.zone.is_some() && length > 0 && whole_days()
    }
}

/// A slot, and the calendar that its seasons go by.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    number: i64,
    calendar: &'a Calendar,
}

impl<'a> Slot<'a> {
    /// Its number since the epoch.
    pub fn number(self) -> i64 {
        self.number
    }

    /// The one `slots` later.
    pub fn after(self, slots: i64) -> Slot<'a> {
        Slot { number: self.number.saturating_add(slots), ..self }
    }

    /// Its number as a season of `length` slots counts.
    pub fn place(self, length: usize) -> i64 {
        match &self.calendar.zone {
            Some(zone) if self.calendar.is_local(length) => {
                self.number.saturating_add(self.shift(zone))
            }
            _ => self.number,
        }
    }

    /// Where it lies in a season of `length` ≥ 1 slots: 0 to length − 1.
    pub fn phase(self, length: usize) -> usize {
        phase(self.place(length), length)
    }

    /// From it on through seasons of these lengths (0: none).
    pub fn walk(self, lengths: (usize, usize)) -> Walk<'a> {
        let within = |length: usize| if length == 0 { 0 } else { self.phase(length) };
        let at = Phase { first: within(lengths.0), second: within(lengths.1) };
        Walk { slot: self, until: self.until(), lengths, at }
    }

    fn start(self) -> i64 {
        self.number.saturating_mul(self.calendar.step)
    }

    /// By how many slots local time is ahead, rounded down.
    fn shift(self, zone: &Zone) -> i64 {
        zone.offset(self.start()).div_euclid(self.calendar.step)
    }

    /// Number of the first slot that starts at or after the clocks' next change.
    fn until(self) -> i64 {
        let Some(zone) = &self.calendar.zone else { return i64::MAX };
        let change = zone.next_change(self.start());
        change.map_or(i64::MAX, |at| {
            let (before, step) = (at - 1, self.calendar.step);
            before.div_euclid(step) + 1
        })
    }
}

/// Where a slot lies in each season.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// In the (shorter) season.
    pub first: usize,
    /// In the longer of two.
    pub second: usize,
}

/// One slot after the other, with their phases.
///
/// Counts up, which is far quicker than dividing (fits go through hundreds of thousands of slots), and
/// looks into the zone only where its clocks change.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a> {
    slot: Slot<'a>,
    /// Number of the first slot whose phase does not follow from the one before it.
    until: i64,
    lengths: (usize, usize),
    at: Phase,
}

impl Walk<'_> {
    /// Phases of the present slot.
    #[inline]
    pub fn at(&self) -> Phase {
        self.at
    }

    /// Goes on to the next slot.
    #[inline]
    pub fn advance(&mut self) {
        self.slot = self.slot.after(1);
        if self.slot.number >= self.until {
            *self = self.slot.walk(self.lengths);
            return;
        }
        let up = |phase: usize, length: usize| if phase + 1 >= length { 0 } else { phase + 1 };
        let (first, second) = self.lengths;
        self.at = Phase { first: up(self.at.first, first), second: up(self.at.second, second) };
    }
}

/// Where `place` lies in a season of `length` ≥ 1 slots: 0 to length − 1, for negative places too.
pub fn phase(place: i64, length: usize) -> usize {
    place.rem_euclid(length as i64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3600 * SECOND;

    fn zone(name: &str) -> Zone {
        Zone::get(name).unwrap()
    }

    /// Phases read off the wall clock by Python's `zoneinfo` (`tests/data/reference/calendar`).
    #[test]
    fn phases_agree_with_reference() {
        let text = include_str!("../../../tests/data/reference/calendar/local_phases.json");
        let cases: serde_json::Value = serde_json::from_str(text).unwrap();
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 17);
        for case in cases {
            let name = case["zone"].as_str().unwrap();
            let step = case["step_s"].as_i64().unwrap() * SECOND;
            let first = case["start"].as_i64().unwrap() * SECOND / step;
            let list = |key: &str| -> Vec<usize> {
                let list = case[key].as_array().unwrap().iter();
                list.map(|phase| phase.as_u64().unwrap() as usize).collect()
            };
            let (day, week) = ((DAY / step) as usize, (7 * DAY / step) as usize);
            let calendar = Calendar::new(step, [day, week], &zone(name));
            assert_eq!(calendar.zone(), Some(name));
            let slots = || (0..list("day").len() as i64).map(|k| calendar.slot(first + k));
            let phases = |length| slots().map(|slot| slot.phase(length)).collect::<Vec<_>>();
            assert_eq!(phases(day), list("day"), "{name} {step}");
            assert_eq!(phases(week), list("week"), "{name} {step}");
        }
    }

    #[test]
    fn what_is_no_whole_day_or_never_changes_goes_by_utc() {
        let berlin = zone("Europe/Berlin");
        let summer = 1_751_328_000 / 3600;
        for length in [6, 8, 25, 36] {
            let calendar = Calendar::new(HOUR, [length, 0], &berlin);
            assert_eq!(calendar, Calendar { step: HOUR, zone: None }, "{length}");
        }
        // Beside a season that goes by local time.
        let calendar = Calendar::new(HOUR, [6, 24], &berlin);
        assert_eq!(calendar.slot(summer).walk((6, 24)).at(), Phase { first: 0, second: 2 });
        for name in ["UTC", "Etc/GMT-5", "Asia/Tokyo", "Asia/Kolkata"] {
            assert_eq!(Calendar::new(HOUR, [24, 168], &zone(name)).zone(), None, "{name}");
        }
        assert_eq!(Calendar::new(HOUR, [0, 0], &berlin).zone(), None);
        assert_eq!(UTC.slot(-1).phase(24), 23);
        assert_eq!(UTC.slot(49).walk((24, 0)).at(), Phase { first: 1, second: 0 });
    }

    const ZONES: [&str; 6] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "America/St_Johns",
    ];

    proptest! {
        /// Walking comes to the same as looking up every slot, over all changes.
        #[test]
        fn a_walk_is_every_slot_by_itself(
            zone in prop::sample::select(&ZONES[..]).prop_map(zone),
            (per_day, days) in prop::sample::select(&[(24, 7), (48, 7), (16, 1), (1, 7), (2, 2)][..]),
            start in -300_000_i64 * HOUR..1_000_000 * HOUR,
            steps in 1..6000_usize,
        ) {
            let step = DAY / per_day as i64;
            let (first, second) = (per_day, per_day * days);
            let calendar = Calendar::new(step, [first, second], &zone);
            let begin = calendar.slot(start.div_euclid(step));
            let mut walk = begin.walk((first, second));
            for k in 0..steps as i64 {
                let slot = begin.after(k);
                let at = Phase { first: slot.phase(first), second: slot.phase(second) };
                prop_assert_eq!(walk.at(), at, "{}", slot.number());
                walk.advance();
            }
        }
    }

    #[test]
    fn the_ends_of_time() {
        let calendar = Calendar::new(HOUR, [24, 168], &zone("Europe/Berlin"));
        for number in [i64::MIN / HOUR, i64::MAX / HOUR - 3] {
            let mut walk = calendar.slot(number).walk((24, 168));
            (0..10).for_each(|_| walk.advance());
            assert!(walk.at().second < 168);
        }
        let mut walk = calendar.slot(i64::MAX - 2).walk((24, 168));
        (0..10).for_each(|_| walk.advance());
        assert!(walk.at().first < 24);
    }
}
