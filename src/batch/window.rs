//! Where the panes of a window begin and end.
//!
//! Pure: a zone's rules are the ones compiled into the program, never the operating system's files,
//! so that replay by the same engine version cuts the same days wherever it runs. New rules come
//! with a new version.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use crate::analytics::settings::{Align, WindowSettings};
use crate::reading::{EventTime, SECOND};

/// Nanoseconds in a day of 24 hours.
const DAY: i64 = 86_400 * SECOND;

/// An IANA time zone. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC, where every day has 24 hours.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// The zone of that IANA name (`"Europe/Berlin"`), upper or lower case.
    ///
    /// # Errors
    /// For an unknown name, with the nearest known one.
    pub fn get(name: &str) -> Result<Zone, String> {
        if let Ok(zone) = TimeZoneDatabase::bundled().get(name) {
            return Ok(Zone(zone));
        }
        Err(match Zone::nearest(name) {
            Some(known) => format!("{name:?} is no IANA time zone; did you mean {known:?}?"),
            None => {
                format!("{name:?} is no IANA time zone; write e.g. \"Europe/Berlin\" or \"UTC\"")
            }
        })
    }

    /// The known name most like `name`, if any is like it.
    pub fn nearest(name: &str) -> Option<String> {
        // Compared by whole name and by its last part: people write "berlin" or "Germany/Berlin".
        let wanted = name.to_lowercase();
        let likeness = |known: &str| {
            let known = known.to_lowercase();
            let last_part = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
            let whole = strsim::jaro_winkler(&wanted, &known);
            let part = 0.95 * strsim::jaro_winkler(&last_part(&wanted), &last_part(&known));
            whole.max(part)
        };
        TimeZoneDatabase::bundled()
            .available()
            .map(|known| known.as_str().to_owned())
            .filter(|known| known != "Etc/Unknown")
            .map(|known| (likeness(&known), known))
            .fold(
                (0.8, None),
                |best: (f64, Option<String>), (score, known)| {
                    if score > best.0 { (score, Some(known)) } else { best }
                },
            )
            .1
    }

    /// The zone's IANA name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// By how much local time is ahead of UTC at `nanos` since the epoch, in nanoseconds.
    pub fn offset(&self, nanos: i64) -> i64 {
        i64::from(self.0.to_offset(timestamp(nanos)).seconds()) * SECOND
    }

    /// When the zone's clocks (or their name) change next after `nanos` since the epoch; `None`: never.
    pub fn next_change(&self, nanos: i64) -> Option<i64> {
        let next = self.0.following(timestamp(nanos)).next()?;
        Some(self::nanos(next.timestamp()))
    }

    /// Whether the zone's clocks have changed since 1970, or are going to.
    pub fn changes(&self) -> bool {
        self.next_change(0).is_some()
    }

    /// First instant of the local day `number` days after 1970-01-01 (nanoseconds since the epoch).
    /// That is midnight, or, where the clock jumps over midnight, the moment of the jump. Of a day
    /// that the zone left out altogether it is the start of the next.
    fn day_start(&self, number: i64) -> i64 {
        let midnight = self.0.to_ambiguous_timestamp(date(number).at(0, 0, 0, 0));
        let skipped = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
        // Of two midnights the earlier. A skipped one is told as late as the jump is long, which is
        // past the jump if that began before midnight (23:30 to 00:30 in Toronto, 1919).
        let start = match midnight.compatible() {
            Ok(start) => nanos(start),
            Err(error) => panic!("day {number} of {}: {error}", self.name()),
        };
        if !skipped {
            return start;
        }
        let after = Timestamp::from_nanosecond(i128::from(start) + 1).ok();
        let jump = after.and_then(|after| self.0.preceding(after).next());
        jump.map_or(start, |jump| nanos(jump.timestamp()))
    }

    /// Days from 1970-01-01 to the local date at `time`.
    fn day_number(&self, time: EventTime) -> i64 {
        days_since_epoch(self.0.to_datetime(timestamp(time.nanos())).date())
    }
}

/// The pane that contains `time`: from the first instant (inclusive) to the second (exclusive).
///
/// - `Align::Epoch`: multiples of the size since 1970-01-01T00:00:00Z.
/// - `Align::Local`: from local midnight to local midnight, so that a pane of one day has 23 or 25
///   hours when the clock changes. Panes of several days begin at days whose number, counted from
///   1970-01-01, is a multiple of theirs. Parts of a day in the size count for nothing.
///
/// Panes of a window tile time without gap or overlap. They are cut at [`EventTime::EARLIEST`] and
/// [`EventTime::LATEST`]; of the latter instant alone the pane's end is not after it.
///
/// An epoch pane costs a division; a local one about a microsecond: keep the bounds while they hold.
pub fn bounds(window: &WindowSettings, zone: &Zone, time: EventTime) -> (EventTime, EventTime) {
    let (start, end) = match window.align {
        Align::Epoch => {
            let size = window.pane_size().max(1);
            let start = time.nanos() - time.nanos().rem_euclid(size);
            (start, start.saturating_add(size))
        }
        Align::Local => local_bounds((window.pane_size() / DAY).max(1), zone, time),
    };
    (EventTime::clamped(start), EventTime::clamped(end))
}

/// [`bounds`] of panes of `days` local days, not yet clamped.
fn local_bounds(days: i64, zone: &Zone, time: EventTime) -> (i64, i64) {
    let mut block = zone.day_number(time).div_euclid(days) * days;
    let mut start = zone.day_start(block);
    let mut end = zone.day_start(block + days);
    // A clock set back across midnight (00:01 to 23:01 the day before in St. John's until 2011)
    // shows the old date again after the new day has begun: the day's first instant decides.
    while time.nanos() >= end {
        block += days;
        (start, end) = (end, zone.day_start(block + days));
    }
    while time.nanos() < start {
        block -= days;
        (start, end) = (zone.day_start(block), start);
    }
    (start, end)
}

/// The date `number` days after 1970-01-01.
fn date(number: i64) -> Date {
    match Date::constant(1970, 1, 1).checked_add(jiff::Span::new().days(number)) {
        Ok(date) => date,
        Err(error) => panic!("day {number}: {error}"),
    }
}

/// Days from 1970-01-01 to `date`.
fn days_since_epoch(date: Date) -> i64 {
    date.duration_since(Date::constant(1970, 1, 1)).as_hours() / 24
}

/// The instant `nanos` since the epoch.
fn timestamp(nanos: i64) -> Timestamp {
    match Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(timestamp) => timestamp,
        Err(error) => panic!("{nanos}: {error}"),
    }
}

/// Nanoseconds since the epoch, held to the range of `i64` (1677 to 2262).
fn nanos(timestamp: Timestamp) -> i64 {
    let nanos = timestamp.as_nanosecond();
    nanos.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::analytics::settings::HOUR;

    fn at(text: &str) -> EventTime {
        let timestamp: Timestamp = text.parse().unwrap();
        EventTime::from_nanos(nanos(timestamp)).unwrap()
    }

    fn local(days: i64) -> WindowSettings {
        WindowSettings { size: days * DAY, align: Align::Local, ..WindowSettings::default() }
    }

    fn epoch(size: i64) -> WindowSettings {
        WindowSettings { size, ..WindowSettings::default() }
    }

    fn check(window: &WindowSettings, zone: &str, time: &str, start: &str, end: &str) {
        let (actual_start, actual_end) = bounds(window, &Zone::get(zone).unwrap(), at(time));
        let actual = (actual_start.to_string(), actual_end.to_string());
        assert_eq!(actual, (start.to_owned(), end.to_owned()), "{zone} {time}");
    }

    #[test]
    fn epoch_panes() {
        let minute = epoch(60 * SECOND);
        check(
            &minute,
            "UTC",
            "2026-08-01T10:20:30.5Z",
            "2026-08-01T10:20:00Z",
            "2026-08-01T10:21:00Z",
        );
        check(
            &minute,
            "UTC",
            "2026-08-01T10:20:00Z",
            "2026-08-01T10:20:00Z",
            "2026-08-01T10:21:00Z",
        );
        // Before the epoch the division still goes down.
        check(
            &minute,
            "UTC",
            "1969-12-31T23:59:59.999999999Z",
            "1969-12-31T23:59:00Z",
            "1970-01-01T00:00:00Z",
        );
        check(
            &epoch(7 * HOUR),
            "UTC",
            "1969-12-31T12:00:00Z",
            "1969-12-31T10:00:00Z",
            "1969-12-31T17:00:00Z",
        );
        // The zone plays no part.
        check(
            &epoch(24 * HOUR),
            "Asia/Tokyo",
            "2026-08-01T20:00:00Z",
            "2026-08-01T00:00:00Z",
            "2026-08-02T00:00:00Z",
        );
    }

    #[test]
    fn local_days() {
        let day = local(1);
        for (zone, time, start, end) in [
            ("UTC", "2026-08-01T20:00:00Z", "2026-08-01T00:00:00Z", "2026-08-02T00:00:00Z"),
            // 23 hours, 25 hours.
            (
                "Europe/Berlin",
                "2026-03-29T12:00:00Z",
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-10-25T12:00:00Z",
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-03-28T22:59:59.999999999Z",
                "2026-03-27T23:00:00Z",
                "2026-03-28T23:00:00Z",
            ),
            (
                "America/New_York",
                "2026-03-08T12:00:00Z",
                "2026-03-08T05:00:00Z",
                "2026-03-09T04:00:00Z",
            ),
            (
                "America/New_York",
                "2026-11-01T12:00:00Z",
                "2026-11-01T04:00:00Z",
                "2026-11-02T05:00:00Z",
            ),
            // No midnight: the day begins at 01:00.
            (
                "America/Sao_Paulo",
                "2018-11-04T12:00:00Z",
                "2018-11-04T03:00:00Z",
                "2018-11-05T02:00:00Z",
            ),
            (
                "America/Sao_Paulo",
                "2018-11-04T02:59:59Z",
                "2018-11-03T03:00:00Z",
                "2018-11-04T03:00:00Z",
            ),
            ("Asia/Beirut", "2018-03-25T12:00:00Z", "2018-03-24T22:00:00Z", "2018-03-25T21:00:00Z"),
            // Midnight twice: the day begins at the first.
            (
                "America/Havana",
                "2018-11-04T04:30:00Z",
                "2018-11-04T04:00:00Z",
                "2018-11-05T05:00:00Z",
            ),
            (
                "America/Havana",
                "2018-11-04T05:30:00Z",
                "2018-11-04T04:00:00Z",
                "2018-11-05T05:00:00Z",
            ),
            // 00:01 goes back to 23:01: the old date once more, inside the new day.
            (
                "America/St_Johns",
                "2010-11-07T02:30:30Z",
                "2010-11-07T02:30:00Z",
                "2010-11-08T03:30:00Z",
            ),
            (
                "America/St_Johns",
                "2010-11-07T02:45:00Z",
                "2010-11-07T02:30:00Z",
                "2010-11-08T03:30:00Z",
            ),
            (
                "America/St_Johns",
                "2010-11-07T02:29:59Z",
                "2010-11-06T02:30:00Z",
                "2010-11-07T02:30:00Z",
            ),
            // 30 December 2011 did not happen.
            (
                "Pacific/Apia",
                "2011-12-30T09:59:59Z",
                "2011-12-29T10:00:00Z",
                "2011-12-30T10:00:00Z",
            ),
            (
                "Pacific/Apia",
                "2011-12-30T10:00:00Z",
                "2011-12-30T10:00:00Z",
                "2011-12-31T10:00:00Z",
            ),
        ] {
            check(&day, zone, time, start, end);
        }
    }

    #[test]
    fn local_weeks_count_from_the_epoch() {
        // 2026-01-01 is day 20454 = 7·2922, a Thursday as was 1970-01-01.
        check(
            &local(7),
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            "2026-03-25T23:00:00Z",
            "2026-04-01T22:00:00Z",
        );
        check(
            &local(7),
            "UTC",
            "1969-12-31T12:00:00Z",
            "1969-12-25T00:00:00Z",
            "1970-01-01T00:00:00Z",
        );
    }

    #[test]
    fn the_ends_of_time() {
        let zone = Zone::get("Pacific/Kiritimati").unwrap();
        for window in [epoch(i64::MAX), epoch(7 * HOUR), local(1), local(100_000)] {
            let (start, end) = bounds(&window, &zone, EventTime::EARLIEST);
            assert!(start == EventTime::EARLIEST && end > start, "{window:?}");
            let (start, end) = bounds(&window, &zone, EventTime::LATEST);
            assert!(start <= EventTime::LATEST && end == EventTime::LATEST, "{window:?}");
        }
    }

    #[test]
    fn unknown_zones_are_told_how_to_mend() {
        for (name, mend) in [
            ("Europe/Berln", "\"Europe/Berlin\""),
            ("berlin", "\"Europe/Berlin\""),
            ("Germany/Berlin", "\"Europe/Berlin\""),
            ("new york", "\"America/New_York\""),
            ("", "write e.g."),
            ("§§§§", "write e.g."),
            ("../../etc/passwd", "no IANA"),
        ] {
            let error = Zone::get(name).unwrap_err();
            assert!(error.contains(mend), "{error}");
        }
        assert_eq!(Zone::get("europe/berlin").unwrap().name(), "Europe/Berlin");
        assert_eq!(Zone::utc().name(), "UTC");
        assert_eq!(Zone::get("UTC").unwrap(), Zone::utc());
    }

    const ZONES: [&str; 11] = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Sao_Paulo",
        "America/St_Johns",
        "America/Havana",
        "America/Toronto",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Australia/Lord_Howe",
    ];

    fn window() -> impl Strategy<Value = WindowSettings> {
        prop_oneof![
            (1i64..=400 * DAY).prop_map(epoch),
            (1i64..=400_000).prop_map(|ms| epoch(ms * 1_000_000)),
            (1i64..=40).prop_map(local),
            Just(local(1)),
        ]
    }

    proptest! {
        #[test]
        fn panes_hold_their_time_and_tile(
            window in window(),
            zone in prop::sample::select(&ZONES[..]),
            time in EventTime::EARLIEST.nanos() + 800 * DAY..EventTime::LATEST.nanos() - 800 * DAY,
        ) {
            let zone = Zone::get(zone).unwrap();
            let time = EventTime::from_nanos(time).unwrap();
            let (start, end) = bounds(&window, &zone, time);
            prop_assert!(start <= time && time < end);
            // Every instant of the pane has the same bounds; its neighbours end and begin there.
            let last = EventTime::from_nanos(end.nanos() - 1).unwrap();
            let before = EventTime::from_nanos(start.nanos() - 1).unwrap();
            prop_assert_eq!(bounds(&window, &zone, start), (start, end));
            prop_assert_eq!(bounds(&window, &zone, last), (start, end));
            prop_assert_eq!(bounds(&window, &zone, end).0, end);
            prop_assert_eq!(bounds(&window, &zone, before).1, start);
        }
    }
}
