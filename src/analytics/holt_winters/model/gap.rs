//! Missing slots, long gaps, and beginning afresh.

use std::collections::VecDeque;

use super::super::calendar::Slot;
use super::super::plan::ForecastPlan;
use super::super::recursion::Parameters;
use super::super::rest::Rest;
use super::{Model, Stage, push};

impl Model {
    /// A missing slot: predicted through.
    pub(super) fn miss(&mut self, plan: &ForecastPlan, slot: Slot<'_>) {
        self.missed = self.missed.saturating_add(1).min(plan.gap_limit);
        self.errors.previous = 0.0;
        if let Some(calibration) = &mut self.calibration {
            calibration.observe(slot, None, plan.nominal);
        }
        match &mut self.stage {
            Stage::Start { history, .. } => push(history, plan, None),
            Stage::Running(running) => {
                running.step(plan.robust, slot, None);
            }
        }
    }

    /// A gap too long to predict through.
    pub fn interrupt(&mut self, plan: &ForecastPlan) {
        self.missed = plan.gap_limit;
        self.errors.previous = 0.0;
        self.ring.clear();
        if let Some(calibration) = &mut self.calibration {
            calibration.interrupt();
        }
        (self.began, self.asked) = (self.slots, self.slots);
        (self.pending, self.unanswered) = (None, false);
        (self.confirmed, self.shifted) = (None, None);
        match &mut self.stage {
            Stage::Start { history, .. } => history.clear(),
            Stage::Running(running) => {
                for member in &mut running.members {
                    member.components.trend = 0.0;
                    member.components.residual = 0.0;
                }
            }
        }
    }

    /// The first slot after such a gap: its level is taken as it is and not held against the model.
    pub(super) fn resume(&mut self, slot: Slot<'_>, y: f64) {
        self.missed = 0;
        match &mut self.stage {
            Stage::Start { level, history } => {
                *level = Some(y);
                history.push_back(Some(y));
            }
            Stage::Running(running) => {
                for member in &mut running.members {
                    if let Some(y) = member.spec.inward(y) {
                        member.components.level = member.components.season.level_of(y, slot);
                    }
                    member.components.trend = 0.0;
                    member.components.residual = 0.0;
                }
                let m = running.last.len();
                running.last[slot.phase(m)] = Some(y);
            }
        }
    }

    /// The first slot of a series that goes on from recorded states, those before slot `from`. What lies
    /// between is predicted through. The level may have wandered there, by α errors a slot: it moves
    /// by the share of the surprise k α²/(1 + k α²) after k slots that its variance then has, at least by α.
    pub(super) fn arrive(&mut self, plan: &ForecastPlan, from: Slot<'_>, slot: Slot<'_>, y: f64) {
        let away = slot.number().saturating_sub(from.number());
        if !(0..i64::from(plan.gap_limit)).contains(&away) {
            return self.resume(slot, y);
        }
        self.missed = 0;
        let Stage::Running(running) = &mut self.stage else { return };
        for member in &mut running.members {
            let p = member.spec.parameters;
            for k in 0..away {
                member.components.step(&p, from.after(k), None);
            }
            let wandered = (away + 1) as f64 * p.alpha * p.alpha;
            let alpha = (wandered / (1.0 + wandered)).max(p.alpha);
            let gain = Parameters { alpha, gamma: p.gamma.min(1.0 - alpha), ..p };
            if let Some(y) = member.spec.inward(y) {
                member.components.step(&gain, slot, Some(y));
            }
        }
        let m = running.last.len();
        running.last[slot.phase(m)] = Some(y);
    }

    /// Afresh from a slot of mean `y`, without `initial`, which led here.
    pub(super) fn restart(&mut self, y: f64) {
        let calibration = self.calibration.as_ref().map(|c| Box::new(c.afresh()));
        *self = Model {
            calibration,
            step: self.step,
            seasons: self.seasons,
            zone: self.zone.take(),
            stage: Stage::Start { level: Some(y), history: VecDeque::from([Some(y)]) },
            rest: Rest::new(self.seasons[0]),
            signed: self.signed,
            slots: self.slots,
            began: self.slots,
            asked: self.slots,
            ..Model::default()
        };
    }

    /// By how much the variance of the next slot's forecast exceeds sigma2, for the slots missed
    /// before it. Errors after a gap are divided by it, lest one gap widen the intervals for
    /// weeks. Runs from `initial` keep plain errors: sigma2 = SSE/n.
    pub(super) fn spread(&self, plan: &ForecastPlan) -> f64 {
        match &self.stage {
            _ if self.missed == 0 || plan.is_textbook() => 1.0,
            Stage::Start { .. } => f64::from(self.missed) + 1.0,
            Stage::Running(running) => {
                self.variance_factors(plan, running).nth(self.missed as usize).unwrap_or(1.0)
            }
        }
    }
}
