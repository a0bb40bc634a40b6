//! The drawing itself.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::track::{Envelope, Mark, Slot, Track, seconds};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 1100;
const PANEL_HEIGHT: u32 = 280;
const LEGEND_HEIGHT: u32 = 34;
/// Horizons of the past that the close panel shows before the forecast.
const CLOSE_HORIZONS: f64 = 5.0;
/// Readings that it shows where there is no forecast.
const CLOSE_READINGS: usize = 500;
/// Standard deviations in the estimate's band: 95 % of a normal distribution.
const BAND: f64 = 1.96;

const READING: RGBColor = RGBColor(148, 163, 184);
const ESTIMATE: RGBColor = RGBColor(29, 78, 216);
const FORECAST: RGBColor = RGBColor(194, 65, 12);
const OUTLIER: RGBColor = RGBColor(220, 38, 38);
const TEXT: RGBColor = RGBColor(30, 41, 59);
const GRID: RGBColor = RGBColor(226, 232, 240);

/// One panel's content.
struct Panel<'a> {
    title: String,
    unit: &'a str,
    readings: Envelope,
    /// The one-step forecasts, where they can be seen.
    slots: Vec<Slot>,
    forecast: Vec<(f64, f64, f64, f64)>,
    marks: &'a [Mark],
    time: Range<f64>,
}

/// All tracks as one picture.
pub(super) fn svg(tracks: &BTreeMap<(String, String), Track>) -> Result<String, String> {
    let mut panels = Vec::new();
    for ((device, metric), track) in tracks {
        panels.extend(of_track(&format!("{device}/{metric}"), track));
    }
    let mut text = String::new();
    {
        let height = LEGEND_HEIGHT + PANEL_HEIGHT * panels.len() as u32;
        let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        root.fill(&WHITE).map_err(|e| e.to_string())?;
        let (top, below) = root.split_vertically(LEGEND_HEIGHT);
        legend(&top).map_err(|error| error.to_string())?;
        for (panel, area) in panels.iter().zip(below.split_evenly((panels.len(), 1))) {
            panel.draw(&area).map_err(|error| error.to_string())?;
        }
        root.present().map_err(|error| error.to_string())?;
    }
    Ok(text)
}

fn of_track<'a>(name: &str, track: &'a Track) -> Vec<Panel<'a>> {
    let (Some(first), Some(last)) = (track.all.columns().next(), track.all.columns().last()) else {
        return Vec::new();
    };
    let (begin, end) = (first.time, last.time.max(first.time + 1.0));
    let unit = track.unit.as_deref().unwrap_or("");
    let forecast = fan(track);
    let beyond = forecast.last().map_or(end, |&(time, ..)| time);
    let close_from = match track.forecast.as_ref() {
        Some(f) => end - CLOSE_HORIZONS * seconds(f.step) * f.mean.len() as f64,
        None => {
            let back = track.recent.len().saturating_sub(CLOSE_READINGS);
            track.recent.get(back).map_or(begin, |point| point.time)
        }
    };
    let slots_from = |from: f64| track.slots.iter().copied().filter(|s| s.time >= from).collect();
    let mut panels = Vec::new();
    let all_is_close = close_from <= begin + 0.2 * (end - begin);
    panels.push(Panel {
        title: name.to_owned(),
        unit,
        readings: track.all.clone(),
        slots: if all_is_close { slots_from(begin) } else { Vec::new() },
        forecast: if all_is_close { forecast.clone() } else { Vec::new() },
        marks: &track.marks,
        time: begin..if all_is_close { beyond.max(end) } else { end },
    });
    if !all_is_close {
        let mut readings = Envelope::default();
        let recent = track.recent.iter().filter(|point| point.time >= close_from);
        recent.for_each(|&point| readings.push(point));
        panels.push(Panel {
            title: format!("{name}, the end"),
            unit,
            readings,
            slots: slots_from(close_from),
            forecast,
            marks: &track.marks,
            time: close_from..beyond.max(end),
        });
    }
    panels
}

/// (middle of the slot, mean, lower, upper) of the forecast at the end.
fn fan(track: &Track) -> Vec<(f64, f64, f64, f64)> {
    let Some(f) = &track.forecast else { return Vec::new() };
    let bounds = f.lower.iter().zip(&f.upper);
    let slots = f.mean.iter().zip(bounds).enumerate();
    slots
        .map(|(h, (&mean, (&lower, &upper)))| {
            let middle = seconds(f.origin.nanos()) + (h as f64 + 0.5) * seconds(f.step);
            (middle, mean, lower, upper)
        })
        .collect()
}

impl Panel<'_> {
    fn draw(&self, area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
        let values = self.values();
        let axis = TimeAxis::new(self.time.clone());
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 17).into_font().color(&TEXT))
            .margin(10)
            .margin_right(24)
            .x_label_area_size(28)
            .y_label_area_size(64)
            .build_cartesian_2d(axis, values.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(READING)
            .label_style(("sans-serif", 12).into_font().color(&TEXT))
            .y_desc(self.unit)
            .y_labels(6)
            .x_labels(12)
            .y_label_formatter(&|value| value_label(*value, values.end - values.start))
            .draw()?;

        // From back to front: alarms, forecast bands, readings, estimate, outliers.
        for mark in self.marks.iter().filter(|m| m.to.unwrap_or(self.time.end) >= self.time.start) {
            let from = mark.from.max(self.time.start);
            let to = mark.to.unwrap_or(self.time.end).clamp(from, self.time.end);
            let corners = [(from, values.start), (to, values.end)];
            chart.draw_series([
                Rectangle::new(corners, OUTLIER.mix(0.10).filled()),
                Rectangle::new(corners, OUTLIER.mix(0.35).stroke_width(1)),
            ])?;
            let style = ("sans-serif", 11).into_font().color(&OUTLIER);
            chart.draw_series([Text::new(mark.alarm.clone(), (from, values.end), style)])?;
        }
        for run in self.slots.chunk_by(|a, b| a.expected.is_some() == b.expected.is_some()) {
            let known = run.iter().filter_map(|slot| Some((slot.time, slot.expected?)));
            let band: Vec<_> =
                known.map(|(time, (_, lower, upper))| (time, lower, upper)).collect();
            chart.draw_series([ribbon(&band, FORECAST.mix(0.12))])?;
        }
        if !self.forecast.is_empty() {
            let band: Vec<_> = self.forecast.iter().map(|&(t, _, l, u)| (t, l, u)).collect();
            chart.draw_series([ribbon(&band, FORECAST.mix(0.22))])?;
            let mean = self.forecast.iter().map(|&(time, mean, ..)| (time, mean));
            chart.draw_series(LineSeries::new(mean, FORECAST.stroke_width(2)))?;
        }
        let columns = || self.readings.columns();
        let spans = columns().filter(|c| c.count > 1);
        chart.draw_series(spans.map(|c| {
            PathElement::new([(c.time, c.low), (c.time, c.high)], READING.stroke_width(1))
        }))?;
        let single = columns().filter(|c| c.count == 1);
        chart.draw_series(single.map(|c| Circle::new((c.time, c.low), 1, READING.filled())))?;
        for run in self.readings.runs() {
            let known = run.iter().filter_map(|(_, c)| Some((c.time, c.level?)));
            let levels: Vec<(f64, (f64, f64))> = known.collect();
            let band: Vec<_> =
                levels.iter().map(|&(t, (l, sd))| (t, l - BAND * sd, l + BAND * sd)).collect();
            chart.draw_series([ribbon(&band, ESTIMATE.mix(0.18))])?;
            let line = levels.iter().map(|&(time, (level, _))| (time, level));
            chart.draw_series(LineSeries::new(line, ESTIMATE.stroke_width(1)))?;
        }
        let outliers: Vec<(f64, f64)> =
            columns().filter_map(|c| Some((c.time, c.outlier?))).collect();
        if !outliers.is_empty() {
            let marks = outliers.into_iter().map(|at| Cross::new(at, 3, OUTLIER.stroke_width(1)));
            chart.draw_series(marks)?;
        }
        Ok(())
    }

    /// The range of everything shown, with a little room.
    fn values(&self) -> Range<f64> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let mut see = |value: f64| {
            if value.is_finite() {
                (low, high) = (low.min(value), high.max(value));
            }
        };
        for column in self.readings.columns() {
            see(column.low);
            see(column.high);
        }
        for &(_, mean, lower, upper) in &self.forecast {
            [mean, lower, upper].into_iter().for_each(&mut see);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // Halves: the difference of two values near the end of the range must not overflow.
        let room = ((high / 2.0 - low / 2.0) * 0.12).max(low.abs().max(high.abs()) * 1e-9);
        let room = if room > 0.0 { room } else { 0.5 };
        (low - room).max(-1e300)..(high + room).min(1e300)
    }
}

fn ribbon(band: &[(f64, f64, f64)], color: RGBAColor) -> Polygon<(f64, f64)> {
    let lower = band.iter().map(|&(time, lower, _)| (time, lower));
    let upper = band.iter().rev().map(|&(time, _, upper)| (time, upper));
    Polygon::new(lower.chain(upper).collect::<Vec<_>>(), color.filled())
}

/// What the colours mean, in one line.
fn legend(area: &Area<'_>) -> Result<(), Box<dyn std::error::Error>> {
    let entries = [
        ("readings", READING.filled(), 90),
        ("estimate, 95 % band", ESTIMATE.filled(), 160),
        ("outlier", OUTLIER.filled(), 80),
        ("alarm", OUTLIER.mix(0.25).filled(), 75),
        ("forecast, interval", FORECAST.filled(), 150),
        ("interval one slot before", FORECAST.mix(0.25).filled(), 0),
    ];
    let mut x = 74;
    for (text, color, width) in entries {
        area.draw(&Rectangle::new([(x, 14), (x + 14, 20)], color))?;
        let style = ("sans-serif", 12).into_font().color(&TEXT);
        area.draw(&Text::new(text, (x + 20, 11), style))?;
        x += width + 26;
    }
    Ok(())
}

/// Seconds since the epoch, with grid lines at round times.
struct TimeAxis {
    range: Range<f64>,
    ticks: Vec<f64>,
    /// Seconds between them.
    step: f64,
}

impl TimeAxis {
    fn new(range: Range<f64>) -> TimeAxis {
        let (ticks, step) = time_ticks(&range);
        TimeAxis { range, ticks, step }
    }
}

impl Ranged for TimeAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, time: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (time - self.range.start) / (self.range.end - self.range.start);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for TimeAxis {
    fn format_ext(&self, time: &f64) -> String {
        time_label(*time, self.step)
    }
}

/// Round times, at most twelve, and the seconds between them.
fn time_ticks(time: &Range<f64>) -> (Vec<f64>, f64) {
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 86_400.0;
    const STEPS: [f64; 24] = [
        1.0,
        5.0,
        15.0,
        60.0,
        300.0,
        900.0,
        1800.0,
        HOUR,
        2.0 * HOUR,
        3.0 * HOUR,
        6.0 * HOUR,
        12.0 * HOUR,
        DAY,
        2.0 * DAY,
        3.0 * DAY,
        7.0 * DAY,
        14.0 * DAY,
        28.0 * DAY,
        56.0 * DAY,
        91.0 * DAY,
        182.0 * DAY,
        365.0 * DAY,
        1826.0 * DAY,
        3652.0 * DAY,
    ];
    let span = time.end - time.start;
    let fits = |step: &&f64| span / **step <= 11.0;
    let step = STEPS.iter().find(fits).copied().unwrap_or(span / 8.0);
    let first = (time.start / step).ceil();
    let last = (time.end / step).floor();
    let count = (last - first).clamp(-1.0, 16.0) as i32 + 1;
    ((0..count).map(|i| (first + f64::from(i)) * step).collect(), step)
}

/// A date, or a time of day with it where days are divided; UTC.
fn time_label(time: f64, step: f64) -> String {
    let Ok(at) = Timestamp::from_second(time.round() as i64) else { return String::new() };
    let format = match step {
        ..60.0 => "%H:%M:%S",
        60.0..86_400.0 => "%m-%d %H:%M",
        _ => "%Y-%m-%d",
    };
    at.strftime(format).to_string()
}

/// As many decimals as the axis needs.
fn value_label(value: f64, span: f64) -> String {
    if !(1e-4..1e7).contains(&span) || value.abs() >= 1e9 {
        return format!("{value:.3e}");
    }
    let decimals = [30.0, 3.0, 0.3, 0.03, 0.003].iter().filter(|&&limit| span < limit).count();
    let text = format!("{value:.decimals$}");
    // Rounding may leave a minus before nothing.
    if text.trim_start_matches(['-', '0', '.']).is_empty() { text.replace('-', "") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::replay::plot::track::Point;

    #[test]
    fn ticks_are_round_and_few_on_every_scale() {
        for span in [1.5, 40.0, 3600.0, 90_000.0, 8e6, 3e7, 9e8] {
            let (ticks, step) = time_ticks(&(1.7e9..1.7e9 + span));
            assert!((1..=12).contains(&ticks.len()), "{span}: {ticks:?}");
            assert!(ticks.iter().all(|tick| tick % step == 0.0), "{ticks:?}");
        }
        assert_eq!(time_label(1_700_006_400.0, 86_400.0), "2023-11-15");
        assert_eq!(time_label(1_700_010_000.0, 3600.0), "11-15 01:00");
    }

    #[test]
    fn labels_have_the_decimals_that_the_axis_needs() {
        assert_eq!(value_label(12.3456, 100.0), "12");
        assert_eq!(value_label(12.3456, 1.0), "12.35");
        assert_eq!(value_label(-0.001, 10.0), "0.0");
        assert_eq!(value_label(5e20, 1e20), "5.000e20");
    }

    #[test]
    fn anything_can_be_drawn() {
        for (offset, scale) in [(0.0, 1.0), (1e12, 1e-3), (0.0, 1e300), (5.0, 0.0)] {
            let mut track = Track::default();
            for i in 0..3000 {
                let value = offset + scale * f64::from(i % 24);
                let level = (i > 2).then_some((value, scale));
                track.reading(Point { time: 60.0 * f64::from(i), value, level, outlier: i == 99 });
            }
            track.alarm("gap", true, 100.0);
            let tracks = BTreeMap::from([(("d<1>".to_owned(), "m&n".to_owned()), track)]);
            let svg = svg(&tracks).unwrap();
            assert!(svg.contains("d&lt;1&gt;/m&amp;n") && svg.trim_end().ends_with("</svg>"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{offset} {scale}");
        }
    }
}
