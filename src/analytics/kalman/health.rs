//! Whether the noise settings fit: mean and whiteness of the standardised innovations.
//!
//! Pure. If the model holds, the normalised innovation squared (NIS) has mean 1 and innovations do
//! not depend on each other: Bar-Shalom, Li and Kirubarajan (2001), *Estimation with Applications to
//! Tracking and Navigation*, section 5.4.2: the time-average NIS of n readings times n is chi-square
//! with n degrees of freedom; the autocorrelation of lag 1 is about normal with variance 1/n. Here
//! the averages are exponentially weighted, so they say what holds now; they count as the
//! [`COUNT_MAX`] readings they weigh at least as much as.
//!
//! [`Watch`] is that of one metric, [`RowWatch`] that of a filter over several.

use serde::{Deserialize, Serialize};

use crate::analytics::settings::METRICS_MAX;

/// Up to so many readings all weigh the same; from then on the newest weighs one in so many.
const COUNT_MAX: u16 = 256;
/// Fewer readings say nothing.
const COUNT_MIN: u16 = 100;
/// Standardised innovations are clipped at this, so that no single reading decides.
const CLIP: f64 = 3.0;
/// The normal quantile of a two-sided 99.9 % band.
const BAND: f64 = 3.290_526_731_491_9;
/// A gate is widened by no more than this (in standard deviations: by 2).
const EXCESS_MAX: f64 = 4.0;
/// A mean NIS off by less than this factor (a standard deviation by 22 %) is no fault worth mending,
const OFF_MIN: f64 = 1.5;
/// nor is a weaker correlation.
const CORRELATION_MIN: f64 = 0.2;

/// What is remembered of the innovations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watch {
    /// Readings judged, up to [`COUNT_MAX`].
    #[serde(rename = "n")]
    count: u16,
    /// Mean of the NIS, in [0, CLIP²].
    #[serde(rename = "m")]
    mean_nis: f64,
    /// Mean of the product of neighbours, in ±CLIP².
    #[serde(rename = "c")]
    product: f64,
    /// The last standardised innovation, in ±CLIP.
    #[serde(rename = "z")]
    last: f64,
}

impl Watch {
    /// `innovation`: only its sign counts; `nis` ≥ 0.
    pub fn take(&mut self, innovation: f64, nis: f64) {
        let z = nis.sqrt().min(CLIP).copysign(innovation);
        self.average(z * z, Some(z * self.last));
        self.last = z;
    }

    /// `product`: of neighbours, where there are two.
    fn average(&mut self, nis: f64, product: Option<f64>) {
        self.count = (self.count + 1).min(COUNT_MAX);
        let weight = match self.count {
            // Nearly always, and without a division.
            COUNT_MAX => 1.0 / COUNT_MAX as f64,
            count => 1.0 / f64::from(count),
        };
        self.mean_nis += weight * (nis - self.mean_nis);
        if let Some(product) = product {
            self.product += weight * (product - self.product);
        }
    }

    pub fn is_new(&self) -> bool {
        self.count == 0
    }

    /// By how much the gate is to be widened, ≥ 1, after `run` rejections in a row, for noise that was
    /// found and not given: by the mean NIS where it is above 1; and, the filter having stood still
    /// over the run, by what correlated innovations add up to beyond independent ones. The variance
    /// of a sum of n numbers with autocorrelations ρ, ρ², … is n·(1 + 2·Σ (1 − j/n)·ρʲ) times that of
    /// one (Box, Jenkins and Reinsel 1994, *Time Series Analysis*, section 2.1.5). So a level that
    /// drifts for some readings, as weather does, is not taken for one that has jumped.
    pub fn widening(&self, run: usize) -> f64 {
        if self.count < COUNT_MIN {
            return 1.0;
        }
        let excess = self.mean_nis.clamp(1.0, EXCESS_MAX);
        let correlation = if run == 0 { 0.0 } else { self.autocorrelation() };
        if correlation * f64::from(self.count).sqrt() <= BAND {
            return excess;
        }
        let n = (run + 1) as f64;
        let (mut sum, mut power) = (0.0, 1.0);
        for j in 1..=run {
            power *= correlation;
            sum += (1.0 - j as f64 / n) * power;
        }
        excess * (1.0 + 2.0 * sum)
    }

    /// Of lag 1, in ±1.
    fn autocorrelation(&self) -> f64 {
        if self.mean_nis > 0.0 { (self.product / self.mean_nis).clamp(-1.0, 1.0) } else { 0.0 }
    }

    pub fn is_sound(&self) -> bool {
        let within = |x: f64, bound: f64| x.abs() <= bound;
        self.count <= COUNT_MAX
            && within(self.mean_nis, CLIP * CLIP)
            && self.mean_nis >= 0.0
            && within(self.product, CLIP * CLIP)
            && within(self.last, CLIP)
    }

    /// `known`: there is a filter, and its noise is given or found.
    pub fn health(&self, known: bool, set_by: SetBy) -> Health {
        let readings = f64::from(self.count.max(1));
        // Wilson and Hilferty (1931): a chi-square variable over its degrees of freedom.
        let chi_square = |quantile: f64| {
            let variance = 2.0 / (9.0 * readings);
            let root = (1.0 - variance + quantile * variance.sqrt()).max(0.0);
            root * root * root
        };
        let nis_band = (chi_square(-BAND), chi_square(BAND));
        let autocorrelation_band = BAND / readings.sqrt();
        let autocorrelation = self.autocorrelation();
        let verdict = if self.count < COUNT_MIN || !known {
            Fitness::Unknown
        } else if self.mean_nis > nis_band.1.max(OFF_MIN) {
            Fitness::TooSmall
        } else if self.mean_nis < nis_band.0.min(1.0 / OFF_MIN) {
            Fitness::TooLarge
        } else if autocorrelation.abs() > autocorrelation_band.max(CORRELATION_MIN) {
            Fitness::Coloured
        } else {
            Fitness::Fits
        };
        Health {
            mean_nis: self.mean_nis,
            nis_band,
            autocorrelation,
            autocorrelation_band,
            readings: u32::from(self.count),
            verdict,
            set_by,
        }
    }
}

/// [`Watch`] for rows of several metrics. The NIS of a row counts by its degrees of freedom; the
/// product of neighbours is the mean over the components that both rows have, each standardised for
/// itself. Both vary no more than those of one metric do, so the same bands hold, somewhat wide.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RowWatch {
    /// Its [`last`](Watch::last) is not used.
    #[serde(rename = "w")]
    watch: Watch,
    /// By component, the last standardised innovation, in ±CLIP; `None`: the last row lacked it.
    #[serde(rename = "z")]
    last: Vec<Option<f64>>,
}

impl RowWatch {
    /// `nis` ≥ 0 of a row with `dof` > 0 components; `innovations`: (innovation, its variance) by component.
    pub fn take(
        &mut self,
        (nis, dof): (f64, usize),
        innovations: impl Iterator<Item = Option<(f64, f64)>>,
    ) {
        let standardised = |(innovation, variance): (f64, f64)| {
            let z = innovation / variance.sqrt();
            (!z.is_nan()).then(|| z.clamp(-CLIP, CLIP))
        };
        let now: Vec<Option<f64>> = innovations.map(|of| of.and_then(standardised)).collect();
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (now, last) in now.iter().zip(&self.last) {
            if let (Some(now), Some(last)) = (now, last) {
                sum += now * last;
                pairs += 1.0;
            }
        }
        let nis = (nis / dof.max(1) as f64).min(CLIP * CLIP);
        self.watch.average(nis, (pairs > 0.0).then(|| sum / pairs));
        self.last = now;
    }

    pub fn is_new(&self) -> bool {
        self.watch.is_new()
    }

    pub fn is_sound(&self) -> bool {
        let within = |z: &Option<f64>| z.is_none_or(|z| z.abs() <= CLIP);
        self.watch.is_sound() && self.last.len() <= METRICS_MAX && self.last.iter().all(within)
    }

    pub fn health(&self) -> Health {
        self.watch.health(true, SetBy::Matrices)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.last.capacity() * size_of::<Option<f64>>()
    }
}

/// Where a filter's noise comes from: what there is to mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetBy {
    /// Standard deviations in the settings.
    Settings,
    /// Some of it is found from the readings.
    Readings,
    /// Q and R of `custom`.
    Matrices,
}

/// Whether the noise fits, see [`Health`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// It does.
    Fits,
    /// Innovations are larger than the noise allows: good readings are gated, variances are too
    /// small.
    TooSmall,
    /// Innovations are smaller than the noise allows: outliers pass, variances are too large.
    TooLarge,
    /// Innovations depend on each other: the filter follows too slowly or too fast.
    Coloured,
    /// Too few readings were judged, or there is no filter.
    Unknown,
}

/// What the latest innovations say of the noise settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Health {
    /// Mean of the normalised innovation squared, each clipped at 9; 1 if the noise fits.
    pub mean_nis: f64,
    /// Where that lies with a probability of 99.9 % if it fits.
    pub nis_band: (f64, f64),
    /// Autocorrelation of lag 1 of the standardised innovations, in ±1; 0 if the noise fits.
    pub autocorrelation: f64,
    /// It lies in ± this with a probability of 99.9 % if the noise fits.
    pub autocorrelation_band: f64,
    /// How many readings were judged, up to 256.
    pub readings: u32,
    /// Beyond a band, and by enough to matter (mean NIS by a factor of 1.5, correlation of 0.2).
    pub verdict: Fitness,
    #[serde(skip)]
    set_by: SetBy,
}

impl Health {
    /// The noise does not fit.
    pub fn is_misfit(&self) -> bool {
        matches!(self.verdict, Fitness::TooSmall | Fitness::TooLarge | Fitness::Coloured)
    }

    /// What was found, and what to do about it.
    pub fn advice(&self) -> String {
        let Health { mean_nis, autocorrelation, nis_band: (low, high), .. } = *self;
        match self.verdict {
            Fitness::Unknown => {
                "too few readings were judged to tell whether the noise fits".to_owned()
            }
            Fitness::Fits => format!(
                "the noise fits: mean NIS {mean_nis:.2} (1 expected), autocorrelation \
                 {autocorrelation:.2} (0 expected)"
            ),
            Fitness::TooSmall => format!(
                "the noise is too small: mean NIS {mean_nis:.2}, at most {high:.2} expected; {}",
                match self.set_by {
                    SetBy::Settings =>
                        "raise observation_sd or level_sd, or leave them out to have them estimated",
                    SetBy::Readings =>
                        "the readings vary more than the last fit has seen; it follows with the \
                         next fits, or set observation_sd and level_sd",
                    SetBy::Matrices => "raise R or Q",
                }
            ),
            Fitness::TooLarge => format!(
                "the noise is too large: mean NIS {mean_nis:.2}, at least {low:.2} expected; {}",
                match self.set_by {
                    SetBy::Settings =>
                        "lower observation_sd or level_sd, or leave them out to have them estimated",
                    SetBy::Readings =>
                        "the readings vary less than the last fit has seen, or less than one step \
                         of the sensor; it follows with the next fits, or set observation_sd and \
                         level_sd",
                    SetBy::Matrices => "lower R or Q",
                }
            ),
            Fitness::Coloured if autocorrelation > 0.0 => format!(
                "the filter follows too slowly: autocorrelation of innovations \
                 {autocorrelation:.2}, at most {:.2} expected; {}",
                self.autocorrelation_band,
                match self.set_by {
                    SetBy::Matrices => "raise Q against R, or look at F for what it leaves out",
                    SetBy::Readings =>
                        "the series has a swing or a memory that the model does not: estimates \
                         are usable, their variances too small; or choose model = \"trend\"",
                    SetBy::Settings =>
                        "raise level_sd against observation_sd, or choose model = \"trend\"",
                }
            ),
            Fitness::Coloured => format!(
                "the filter follows too fast: autocorrelation of innovations \
                 {autocorrelation:.2}, at least -{:.2} expected; {}",
                self.autocorrelation_band,
                match self.set_by {
                    SetBy::Matrices => "lower Q against R",
                    SetBy::Readings => "it follows with the next fits, or set level_sd lower",
                    SetBy::Settings => "lower level_sd against observation_sd",
                }
            ),
        }
    }
}
