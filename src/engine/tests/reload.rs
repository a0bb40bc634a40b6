//! Other settings between readings.

use super::world::{World, layer};
use crate::analytics::settings::{KalmanPatch, KindSetting, Patch};
use crate::engine::CoreConfig;

/// A state, filtered or not.
fn state(kalman: KalmanPatch) -> CoreConfig {
    let patch = Patch { kind: Some(KindSetting::State), kalman, ..Patch::default() };
    CoreConfig { layers: vec![layer("*", patch)], ..CoreConfig::default() }
}

#[test]
fn a_filter_that_was_off_for_a_while_does_not_go_on_from_what_it_rejected_before() {
    let noise = (Some(0.1), Some(0.01));
    let filtered =
        KalmanPatch { observation_sd: noise.0, level_sd: noise.1, ..KalmanPatch::default() };
    let on = state(filtered);
    let counts = |off: bool| {
        let mut world = World::new(on.clone());
        (0..40).for_each(|s| world.push("one", s, 0.0));
        (40..44).for_each(|s| world.push("one", s, 1.0));
        world.cut(None);
        if off {
            world.cut(Some(&state(KalmanPatch::default())));
            (44..60).for_each(|s| world.push("one", s, 0.0));
        }
        world.cut(Some(&on));
        world.push("one", 60, 1.0);
        world.end();
        let (.., unit) = world.engine.units().next().unwrap();
        (unit.state().counts().outliers, unit.state().counts().shifts)
    };
    assert_eq!(counts(false), (4, 1));
    assert_eq!(counts(true), (4, 0));
}
