use proptest::prelude::*;

use super::*;
use crate::analytics::alarm::Severity;

const START: i64 = 1_700_000_000;

fn at(seconds: i64) -> EventTime {
    EventTime::clamped((START + seconds) * SECOND)
}

fn above(limit: f64) -> ThresholdSettings {
    ThresholdSettings {
        name: "hot".to_owned(),
        above: Some(limit),
        below: None,
        clear_above: None,
        clear_below: None,
        hold: 0,
        within: None,
        repeat_after: 0,
        severity: Severity::Warning,
    }
}

fn held(limit: f64, hold: i64) -> ThresholdSettings {
    ThresholdSettings { hold: hold * SECOND, ..above(limit) }
}

/// A gateway whose input is attended for `attended` seconds while its clock says `now` seconds.
fn moment(attended: i64, now: i64) -> Moment<'static> {
    Moment {
        attended: AttendedTime(attended * SECOND),
        now: ProcessingTime((START + now) * SECOND),
        max_ahead: 300 * SECOND,
        patience: 5 * SECOND,
        unit: None,
    }
}

/// One alarm under test: what it says, as (state, second).
struct Bench {
    settings: Vec<ThresholdSettings>,
    thresholds: Thresholds,
    events: Vec<Event>,
    attended: i64,
}

impl Bench {
    fn new(settings: ThresholdSettings) -> Bench {
        let thresholds = Thresholds::default();
        Bench { settings: vec![settings], thresholds, events: Vec::new(), attended: 0 }
    }

    /// A reading that comes when it was measured, the input having been attended all the time.
    fn read(&mut self, second: i64, value: f64) -> &mut Self {
        self.read_after(second, value, 0)
    }

    /// … except for `away` seconds.
    fn read_after(&mut self, second: i64, value: f64, away: i64) -> &mut Self {
        self.attended = second - away;
        let moment = moment(self.attended, second);
        self.thresholds.on_reading(&self.settings, &moment, at(second), value, &mut self.events);
        self
    }

    fn tick(&mut self, attended: i64) -> &mut Self {
        let attended = AttendedTime(attended * SECOND);
        self.thresholds.tick(&self.settings, None, attended, &mut self.events);
        self
    }

    fn says(&self) -> Vec<(&'static str, i64)> {
        said(&self.events)
    }
}

fn said(events: &[Event]) -> Vec<(&'static str, i64)> {
    events.iter().map(|e| (e.state.name(), e.time.nanos() / SECOND - START)).collect()
}

#[test]
fn it_begins_above_and_ends_at_the_limit() {
    let mut bench = Bench::new(above(80.0));
    bench.read(0, 80.0).read(1, 80.1).read(2, 90.0).read(3, 80.0).read(4, 81.0);
    assert_eq!(bench.says(), [("active", 1), ("cleared", 3), ("active", 4)]);
    let (begin, end) = (&bench.events[0], &bench.events[1]);
    assert_eq!((&*begin.alarm, begin.value, begin.upper), ("hot", Some(80.1), Some(80.0)));
    assert_eq!((begin.lower, begin.expected, begin.severity), (None, None, Severity::Warning));
    assert_eq!(begin.reason, "80.1 is above 80");
    assert_eq!((end.reason.as_str(), end.value), ("80 is not above 80", Some(80.0)));
}

#[test]
fn hysteresis_keeps_it_until_the_value_is_well_back() {
    let mut bench = Bench::new(ThresholdSettings { clear_below: Some(78.0), ..above(80.0) });
    bench.read(0, 81.0).read(1, 79.0).read(2, 81.0).read(3, 78.5).read(4, 78.0).read(5, 79.9);
    assert_eq!(bench.says(), [("active", 0), ("cleared", 4)]);
    let low =
        ThresholdSettings { above: None, below: Some(5.0), clear_above: Some(7.0), ..above(0.0) };
    let mut bench = Bench::new(low);
    bench.read(0, 5.0).read(1, 4.9).read(2, 6.9).read(3, 7.0);
    assert_eq!(bench.says(), [("active", 1), ("cleared", 3)]);
}

#[test]
fn a_band_has_two_sides_and_one_alarm() {
    let mut bench = Bench::new(ThresholdSettings { below: Some(5.0), ..above(80.0) });
    bench.read(0, 81.0).read(1, 2.0).read(2, 50.0).read(3, 1.0);
    assert_eq!(bench.says(), [("active", 0), ("cleared", 2), ("active", 3)]);
    assert_eq!(bench.events[1].reason, "50 is within 5 to 80");
    assert_eq!(bench.events[2].reason, "1 is below 5");
}

#[test]
fn a_hold_must_be_unbroken() {
    let mut bench = Bench::new(held(80.0, 10));
    bench.read(0, 81.0).read(9, 80.0).read(10, 81.0).read(15, 82.0).read(19, 83.0);
    assert_eq!(bench.says(), []);
    bench.read(20, 84.0);
    assert_eq!(bench.says(), [("active", 20)]);
    assert_eq!(bench.events[0].value, Some(83.0), "the value that stood when it was over");
    assert_eq!(bench.events[0].reason, "above 80 for 10 s, now 83");
    bench.read(21, 80.0);
    assert_eq!(bench.says()[1..], [("cleared", 21)]);
}

#[test]
fn a_hold_ends_without_readings_when_none_can_break_it_any_more() {
    let mut bench = Bench::new(held(80.0, 10));
    bench.read(100, 81.0);
    assert_eq!(bench.thresholds.next_deadline(), Some(AttendedTime(115 * SECOND)));
    assert_eq!(bench.tick(114).says(), []);
    assert_eq!(bench.tick(115).says(), [("active", 110)]);
    assert_eq!(bench.thresholds.next_deadline(), None);
    // With the next reading, however it lies, it comes to the same.
    for next in [79.0, 81.0] {
        let mut bench = Bench::new(held(80.0, 10));
        bench.read(100, 81.0).read(300, next);
        assert_eq!(bench.says()[0], ("active", 110));
        assert_eq!(bench.says().len(), if next < 80.0 { 2 } else { 1 });
    }
}

#[test]
fn what_the_gateway_slept_through_raises_nothing() {
    let mut bench = Bench::new(held(80.0, 10));
    bench.read(0, 81.0).read_after(3600, 79.0, 3595);
    assert_eq!(bench.says(), [], "five seconds of it were attended");
    let mut bench = Bench::new(held(80.0, 10));
    bench.read(0, 81.0).read_after(3600, 79.0, 3590);
    assert_eq!(bench.says(), [("active", 10), ("cleared", 3600)], "ten seconds were");
    // Readings on both sides of it are evidence enough.
    let mut bench = Bench::new(held(80.0, 10));
    bench.read(0, 81.0).read_after(3600, 81.0, 3599);
    assert_eq!(bench.says(), [("active", 10)]);
}

#[test]
fn a_device_whose_clock_is_off_has_all_of_the_hold() {
    for off in [-3600, -1, 0, 60, 1_000_000] {
        let mut bench = Bench::new(held(80.0, 10));
        let arrives = moment(100, 100);
        let Bench { settings, thresholds, events, .. } = &mut bench;
        thresholds.on_reading(settings, &arrives, at(100 + off), 81.0, events);
        let deadline = thresholds.next_deadline().unwrap().0 / SECOND;
        assert!((115..=415).contains(&deadline), "{off}: {deadline}");
        let arrives = moment(105, 105);
        thresholds.on_reading(settings, &arrives, at(105 + off), 79.0, events);
        assert_eq!(bench.says(), [], "{off}");
    }
}

#[test]
fn it_is_not_repeated_before_its_time() {
    let mut bench = Bench::new(ThresholdSettings { repeat_after: 100 * SECOND, ..above(80.0) });
    bench.read(0, 81.0).read(10, 79.0).read(20, 81.0).read(30, 79.0).read(90, 81.0).read(109, 82.0);
    assert_eq!(bench.says(), [("active", 0), ("cleared", 10)]);
    bench.read(115, 83.0);
    assert_eq!(bench.says()[2..], [("active", 110)], "what is still outside raises it then");
}

fn forecast(origin: i64, mean: &[f64]) -> Forecast {
    Forecast {
        origin: at(origin),
        step: 600 * SECOND,
        nominal: 0.95,
        mean: mean.to_vec(),
        lower: mean.iter().map(|m| m - 30.0).collect(),
        upper: mean.iter().map(|m| m + 30.0).collect(),
        model: "level",
        coverage: None,
        skill: None,
    }
}

#[test]
fn a_forecast_that_crosses_within_the_time_raises_it_and_it_stays_one_alarm() {
    let ahead =
        ThresholdSettings { clear_below: Some(78.0), within: Some(1800 * SECOND), ..above(80.0) };
    let mut bench = Bench::new(ahead);
    let look = |bench: &mut Bench, second: i64, mean: &[f64]| {
        let Bench { settings, thresholds, events, .. } = bench;
        let forecast = forecast(second / 600 * 600, mean);
        thresholds.on_forecast(settings, None, (at(second), 70.0), Some(&forecast), events);
    };
    look(&mut bench, 10, &[70.0, 79.9, 80.0, 80.0, 81.0, 99.0]);
    assert_eq!(bench.says(), [], "the fifth slot begins after half an hour and more");
    look(&mut bench, 605, &[70.0, 79.0, 80.0, 81.234567, 99.0]);
    assert_eq!(bench.says(), [("active", 605)]);
    let begin = &bench.events[0];
    assert_eq!((begin.expected, begin.value), (Some(81.234567), Some(70.0)));
    let from = at(2400);
    let expected = format!("forecast to be above 80 from {from} on (mean 81.235), within 30 min");
    assert_eq!(begin.reason, expected);
    // It comes true, goes back, and is still forecast.
    bench.read(700, 81.0).read(800, 77.0);
    assert_eq!(bench.says().len(), 1);
    look(&mut bench, 1210, &[77.0, 79.0, 77.0, 77.0]);
    assert_eq!(bench.says().len(), 1, "a forecast between the limits changes nothing");
    look(&mut bench, 1810, &[77.0, 77.0, 78.0, 77.0]);
    assert_eq!(bench.says()[1..], [("cleared", 1810)]);
    // Without a forecast there is nothing to expect.
    look(&mut bench, 2410, &[90.0]);
    let Bench { settings, thresholds, events, .. } = &mut bench;
    thresholds.on_forecast(settings, None, (at(3010), 70.0), None, events);
    assert_eq!(bench.says()[2..], [("active", 2410), ("cleared", 3010)]);
    assert!(bench.thresholds.is_empty());
}

#[test]
fn alarms_follow_a_change_of_configuration() {
    let cold = |name: &str| ThresholdSettings {
        name: name.to_owned(),
        above: None,
        below: Some(5.0),
        ..above(0.0)
    };
    let mut bench = Bench::new(above(80.0));
    bench.settings.push(cold("cold"));
    bench.settings.push(held(70.0, 60));
    bench.settings[2].name = "warm".to_owned();
    bench.read(0, 81.0);
    assert_eq!(bench.says(), [("active", 0)]);
    let old = bench.settings.clone();
    // Another order, the held one changed, none missing: nothing is said, nothing forgotten.
    let mut warm = old[2].clone();
    warm.hold = 30 * SECOND;
    let new = vec![old[1].clone(), warm, old[0].clone()];
    bench.thresholds.change(&old, &new, true, at(1), &mut bench.events);
    assert_eq!((bench.says().len(), bench.thresholds.next_deadline()), (1, None));
    bench.settings = new.clone();
    bench.read(2, 82.0).read(31, 82.0);
    assert_eq!(bench.says(), [("active", 0)]);
    bench.read(32, 82.0);
    assert_eq!(bench.events[1].alarm.as_ref(), "warm");
    // Gone: cleared, once.
    bench.thresholds.change(&new, &new[..1], true, at(40), &mut bench.events);
    assert_eq!(bench.says()[2..], [("cleared", 40), ("cleared", 40)]);
    assert_eq!(bench.events[2].reason, "no longer configured");
    assert!(bench.thresholds.is_empty());
    // An alarm that only the forecast kept ends when that is no longer watched.
    let ahead = vec![ThresholdSettings { within: Some(3600 * SECOND), ..above(80.0) }];
    let (mut thresholds, mut events) = (Thresholds::default(), Vec::new());
    let rising = forecast(0, &[90.0]);
    thresholds.on_forecast(&ahead, None, (at(0), 70.0), Some(&rising), &mut events);
    thresholds.change(&ahead, &ahead, false, at(5), &mut events);
    assert_eq!(said(&events), [("active", 0), ("cleared", 5)]);
}

#[test]
fn durations_in_words() {
    for (nanos, expected) in [
        (0, "0 ms"),
        (SECOND / 2, "500 ms"),
        (90 * SECOND, "1 min 30 s"),
        (7200 * SECOND, "2 h"),
        (90_061 * SECOND, "1 d 1 h"),
    ] {
        assert_eq!(words(nanos), expected);
    }
}

/// The definition, second by second: the value that stands, since when it has been outside, and
/// until when the alarm keeps quiet.
fn defined(s: &ThresholdSettings, readings: &[(i64, f64)]) -> Vec<(&'static str, i64)> {
    let Some(&(last, _)) = readings.last() else { return Vec::new() };
    let (mut said, mut active, mut quiet) = (Vec::new(), false, i64::MIN);
    let mut outside_since = None;
    let is_outside = |v: f64| s.above.is_some_and(|a| v > a) || s.below.is_some_and(|b| v < b);
    let is_inside = |v: f64| {
        s.clear_below.or(s.above).is_none_or(|c| v <= c)
            && s.clear_above.or(s.below).is_none_or(|c| v >= c)
    };
    for second in 0..=last {
        let raise = |since: Option<i64>, quiet: i64, active: &mut bool, said: &mut Vec<_>| {
            let ripe = since.is_some_and(|since| second >= since + s.hold / SECOND);
            if ripe && second >= quiet && !*active {
                *active = true;
                said.push(("active", second));
            }
        };
        raise(outside_since, quiet, &mut active, &mut said);
        for &(_, value) in readings.iter().filter(|(t, _)| *t == second) {
            if is_outside(value) {
                outside_since = outside_since.or(Some(second));
                raise(outside_since, quiet, &mut active, &mut said);
            } else {
                outside_since = None;
            }
            if active && is_inside(value) {
                active = false;
                said.push(("cleared", second));
                quiet = second + s.repeat_after / SECOND;
            }
        }
    }
    said
}

fn any_settings() -> impl Strategy<Value = ThresholdSettings> {
    let sides = prop_oneof![
        Just((Some(80.0), None, None, None)),
        Just((Some(80.0), None, None, Some(78.0))),
        Just((None, Some(20.0), Some(30.0), None)),
        Just((Some(80.0), Some(20.0), Some(30.0), Some(70.0))),
    ];
    let hold = prop_oneof![Just(0i64), 1i64..40];
    let repeat = prop_oneof![Just(0i64), 1i64..60];
    (sides, hold, repeat).prop_map(|((above_, below, clear_above, clear_below), hold, repeat)| {
        ThresholdSettings {
            above: above_,
            below,
            clear_above,
            clear_below,
            hold: hold * SECOND,
            repeat_after: repeat * SECOND,
            ..above(0.0)
        }
    })
}

fn any_readings() -> impl Strategy<Value = Vec<(i64, f64)>> {
    // Few values, so that runs are met, some at the limits.
    let value = prop_oneof![
        Just(81.0),
        Just(80.0),
        Just(79.0),
        Just(78.0),
        Just(50.0),
        Just(20.0),
        Just(25.0),
        Just(10.0)
    ];
    let gap = prop_oneof![1i64..4, 1i64..30, 0i64..2];
    prop::collection::vec((gap, value), 1..80).prop_map(|gaps| {
        let mut second = 0;
        gaps.into_iter()
            .map(|(gap, value)| {
                second += gap;
                (second, value)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// However readings are cut into batches, whenever timers fire and the state is written and
    /// read: the events are those of the definition.
    #[test]
    fn events_are_those_of_the_definition(
        settings in prop::collection::vec(any_settings(), 1..4),
        readings in any_readings(),
        cuts in prop::collection::vec((1usize..12, any::<bool>(), any::<bool>()), 80),
        patience in 0i64..6,
    ) {
        let settings: Vec<ThresholdSettings> = settings
            .into_iter()
            .enumerate()
            .map(|(i, s)| ThresholdSettings { name: format!("a{i}"), ..s })
            .collect();
        let (mut thresholds, mut events) = (Thresholds::default(), Vec::new());
        let mut rest = &readings[..];
        for (size, ticks, stores) in cuts {
            if rest.is_empty() {
                break;
            }
            let (batch, after) = rest.split_at(size.min(rest.len()));
            // The batch closes with its last reading.
            let close = batch[batch.len() - 1].0;
            let moment = Moment { patience: patience * SECOND, ..moment(close, close) };
            for &(second, value) in batch {
                thresholds.on_reading(&settings, &moment, at(second), value, &mut events);
            }
            thresholds.tick(&settings, None, moment.attended, &mut events);
            if let (true, Some(&(next, _))) = (ticks, after.first()) {
                // A batch of other series, at any time before the next reading.
                let attended = AttendedTime((next - 1).max(close) * SECOND);
                thresholds.tick(&settings, None, attended, &mut events);
            }
            if stores {
                let bytes = serde_cbor::to_vec(&thresholds).unwrap();
                let read: Thresholds = crate::cbor::from_slice(&bytes).unwrap();
                prop_assert_eq!(&read, &thresholds);
                thresholds = read;
            }
            rest = after;
        }
        for s in &settings {
            let mine: Vec<Event> = events.iter().filter(|e| *e.alarm == *s.name).cloned().collect();
            prop_assert_eq!(said(&mine), defined(s, &readings), "{:?}", s);
        }
        prop_assert!(events.is_sorted_by_key(|e| e.time), "{:?}", said(&events));
    }
}
