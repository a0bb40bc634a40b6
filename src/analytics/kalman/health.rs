//! Whether the noise settings fit: mean and whiteness of the standardised innovations.
//!
//! Pure. If the model holds, the normalised innovation squared (NIS) has mean 1 and innovations do
//! not depend on each other: Bar-Shalom, Li and Kirubarajan (2001), *Estimation with Applications to
//! Tracking and Navigation*, section 5.4.2: the time-average NIS of n readings times n is chi-square
//! with n degrees of freedom; the autocorrelation of lag 1 is about normal with variance 1/n. Here
//! the averages are exponentially weighted, so they say what holds now; they count as the
//! [`COUNT_MAX`] readings they weigh at least as much as.

use serde::{Deserialize, Serialize};

use super::plan::Noise;

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
        self.count = (self.count + 1).min(COUNT_MAX);
        let weight = 1.0 / f64::from(self.count);
        self.mean_nis += weight * (z * z - self.mean_nis);
        self.product += weight * (z * self.last - self.product);
        self.last = z;
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

    /// `auto`: some of the noise is found from the readings. `noise`: the present one.
    pub fn health(&self, auto: bool, noise: Option<&Noise>) -> Health {
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
        let verdict = if self.count < COUNT_MIN || noise.is_none() {
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
            auto,
        }
    }
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
    /// Some of the noise is found from the readings.
    #[serde(skip)]
    auto: bool,
}

impl Health {
    /// The noise does not fit.
    pub fn is_misfit(&self) -> bool {
        matches!(self.verdict, Fitness::TooSmall | Fitness::TooLarge | Fitness::Coloured)
    }

    /// What was found, and what to do about it.
    pub fn advice(&self) -> String {
        let Health { mean_nis, autocorrelation, nis_band: (low, high), .. } = *self;
        let mend = |given: &'static str, auto: &'static str| if self.auto { auto } else { given };
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
                mend(
                    "raise observation_sd or level_sd, or leave them out to have them estimated",
                    "the readings vary more than the last fit has seen; it follows with the next \
                     fits, or set observation_sd and level_sd"
                )
            ),
            Fitness::TooLarge => format!(
                "the noise is too large: mean NIS {mean_nis:.2}, at least {low:.2} expected; {}",
                mend(
                    "lower observation_sd or level_sd, or leave them out to have them estimated",
                    "the readings vary less than the last fit has seen, or less than one step of \
                     the sensor; it follows with the next fits, or set observation_sd and level_sd"
                )
            ),
            Fitness::Coloured if autocorrelation > 0.0 => format!(
                "the filter follows too slowly: autocorrelation of innovations \
                 {autocorrelation:.2}, at most {:.2} expected; raise level_sd against \
                 observation_sd, or choose model = \"trend\"",
                self.autocorrelation_band
            ),
            Fitness::Coloured => format!(
                "the filter follows too fast: autocorrelation of innovations \
                 {autocorrelation:.2}, at least -{:.2} expected; lower level_sd against \
                 observation_sd",
                self.autocorrelation_band
            ),
        }
    }
}
