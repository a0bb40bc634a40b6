//! Settings of a series with all that can be computed from them once, and what else a step needs.

use crate::analytics::alarm::DetectorPlan;
use crate::analytics::classify::Classifier;
use crate::analytics::derive::DerivePlan;
use crate::analytics::fit::FitMode;
use crate::analytics::holt_winters::ForecastPlan;
use crate::analytics::kalman::KalmanPlan;
use crate::analytics::settings::{DeriveSettings, DeviceVector, Kind, Settings};
use crate::analytics::vector::VectorUnitPlan;
use crate::batch::pane::PaneContext;
use crate::batch::window::Zone;

/// Settings of a series with all that can be computed from them once; shared by equal series.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The settings.
    pub settings: Settings,
    /// The filter's constants.
    pub kalman: KalmanPlan,
    /// The forecaster's constants.
    pub forecast: Option<ForecastPlan>,
    /// The detectors' constants.
    pub alarms: DetectorPlan,
    /// Of a metric that is computed from others.
    pub derive: Option<DerivePlan>,
    /// Of a filter over several metrics.
    pub vector: Option<VectorUnitPlan>,
}

impl Plan {
    /// Computes the constants, for a site in `zone`.
    pub fn new(settings: Settings, zone: &Zone) -> Plan {
        let kalman = KalmanPlan::new(&settings.kalman);
        let forecast = settings.forecast.as_ref().map(|forecast| ForecastPlan::new(forecast, zone));
        let alarms = DetectorPlan::new(&settings.alarms, forecast.as_ref().map(ForecastPlan::step));
        Plan { settings, kalman, forecast, alarms, derive: None, vector: None }
    }

    /// Whether it is the plan for these settings.
    pub fn is_of(
        &self,
        settings: &Settings,
        derive: Option<&DeriveSettings>,
        vector: Option<&DeviceVector>,
    ) -> bool {
        self.settings == *settings
            && self.derive.as_ref().map(|plan| &plan.settings) == derive
            && self.vector.as_ref().map(|plan| &plan.vector) == vector
    }

    /// Whether both are for the same settings.
    pub fn is_like(&self, other: &Plan) -> bool {
        let derive = other.derive.as_ref().map(|plan| &plan.settings);
        self.is_of(&other.settings, derive, other.vector.as_ref().map(|plan| &plan.vector))
    }
}

/// What one step needs beside the unit: of the batch and of the core's limits.
#[derive(Clone, Copy, Debug)]
pub struct StepContext<'a> {
    /// For the panes.
    pub pane: PaneContext<'a>,
    /// Most readings remembered or held for each series.
    pub max_recent: usize,
    /// What becomes of the jobs that arise.
    pub fits: FitMode,
    /// Any number that differs between units: their forecasts' searches are spread by it.
    pub stagger: u32,
}

/// What a series is taken for.
pub(super) fn kind(plan: &Plan, classifier: &Classifier) -> Kind {
    plan.settings.kind.fixed().unwrap_or_else(|| classifier.kind())
}

/// A state is filtered only where that was asked of a series set to be one …
pub(super) fn filters(kind: Kind, plan: &Plan) -> bool {
    kind != Kind::State || plan.settings.kind.fixed() == Some(kind) && plan.settings.kalman_asked
}

/// … and so with the forecast.
pub(super) fn forecasts(kind: Kind, plan: &Plan) -> bool {
    plan.forecast.is_some()
        && (kind != Kind::State
            || plan.settings.kind.fixed() == Some(kind) && plan.settings.forecast_asked)
}
