//! [`System`] and its state by their number of states, 1 to 8: static sizes below, one type above.

use serde::{Deserialize, Serialize};

use super::custom::{Row, System, Taken, lists};
use super::linear::Gaussian;
use super::packed::Packed;
use crate::analytics::settings::{CustomSettings, KalmanInitial};
use crate::reading::Finite;

macro_rules! sized {
    ($($name:ident $states:literal)*) => {
        /// A compiled system of any size.
        #[derive(Clone, Debug, PartialEq)]
        pub(super) enum AnySystem {
            $($name(Box<System<$states>>),)*
        }

        /// The state of a system of any size.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(try_from = "Packed", into = "Packed")]
        pub(super) enum AnyState {
            $($name(Box<Gaussian<$states>>),)*
        }

        impl From<AnyState> for Packed {
            fn from(state: AnyState) -> Packed {
                match state {
                    $(AnyState::$name(state) => Packed::from(*state),)*
                }
            }
        }

        impl TryFrom<Packed> for AnyState {
            type Error = &'static str;

            fn try_from(packed: Packed) -> Result<AnyState, &'static str> {
                match packed.states() {
                    $($states => Ok(AnyState::$name(Box::new(packed.try_into()?))),)*
                    _ => Err("filter state: has no or too many states"),
                }
            }
        }

        impl AnySystem {
            /// `None` if the matrices do not fit.
            pub fn new(
                custom: &CustomSettings,
                initial: Option<&KalmanInitial>,
            ) -> Option<AnySystem> {
                if custom.fault().is_some() {
                    return None;
                }
                match custom.states() {
                    $($states => {
                        Some(AnySystem::$name(Box::new(System::new(custom, initial)?)))
                    })*
                    _ => None,
                }
            }

            /// What is believed before the first row.
            pub fn start(&self) -> AnyState {
                match self {
                    $(AnySystem::$name(system) => AnyState::$name(Box::new(system.start)),)*
                }
            }

            /// Nothing known.
            pub fn diffuse(&self) -> AnyState {
                match self {
                    $(AnySystem::$name(_) => AnyState::$name(Box::new(Gaussian::diffuse())),)*
                }
            }

            /// The state at each row given all rows: mean, covariance (`None` while a direction of
            /// it has not been seen), and mean and variance of what each component measures.
            pub fn smooth(&self, start: &AnyState, rows: &[Row]) -> Vec<SmoothedState> {
                match (self, start) {
                    $((AnySystem::$name(system), AnyState::$name(start)) => {
                        let levels = |state: &Gaussian<$states>| {
                            (0..system.metrics()).map(|i| system.level(state, i)).collect()
                        };
                        system.smooth(start, rows).iter().map(|state| SmoothedState {
                            state: (!state.is_diffuse()).then(|| lists(state)),
                            levels: levels(state),
                        }).collect()
                    })*
                    _ => Vec::new(),
                }
            }
        }

        /// `$body` with system and state of one size; `$other` if they differ.
        macro_rules! both {
            ($any_system:expr, $any_state:expr, |$system:ident, $state:ident| $body:expr, $other:expr) => {
                match ($any_system, $any_state) {
                    $((AnySystem::$name($system), AnyState::$name($state)) => $body,)*
                    _ => $other,
                }
            };
        }

        macro_rules! system {
            ($any:expr, |$system:ident| $body:expr) => {
                match $any { $(AnySystem::$name($system) => $body,)* }
            };
        }

        macro_rules! state {
            ($any:expr, |$state:ident| $body:expr) => {
                match $any { $(AnyState::$name($state) => $body,)* }
            };
        }
    };
}

sized!(One 1 Two 2 Three 3 Four 4 Five 5 Six 6 Seven 7 Eight 8);

/// What a smoother says of one time.
#[derive(Clone, Debug, PartialEq)]
pub struct SmoothedState {
    /// Mean and covariance; `None` while any of it is not known.
    pub state: Option<(Vec<f64>, Vec<Vec<f64>>)>,
    /// Mean and variance of what each metric measures (its reading without noise).
    pub levels: Vec<Option<(f64, f64)>>,
}

impl AnySystem {
    pub fn is_per_reading(&self) -> bool {
        system!(self, |system| system.is_per_reading())
    }

    pub fn metrics(&self) -> usize {
        system!(self, |system| system.metrics())
    }

    /// Whether the state has as many numbers as the system.
    pub fn fits(&self, state: &AnyState) -> bool {
        both!(self, state, |_system, _state| true, false)
    }

    /// `dt`: seconds, ≥ 0.
    pub fn predict(&self, state: &mut AnyState, dt: f64) {
        both!(self, state, |system, state| system.predict(state, dt), ());
    }

    /// Mean and variance of what component `i` measures; `None` while diffuse.
    pub fn level(&self, state: &AnyState, i: usize) -> Option<(f64, f64)> {
        both!(self, state, |system, state| system.level(state, i), None)
    }

    /// Mean and variance of a reading of component `i`.
    pub fn reading(&self, state: &AnyState, i: usize) -> Option<(f64, f64)> {
        both!(self, state, |system, state| system.reading(state, i), None)
    }

    /// Takes in a row.
    pub fn take(&self, state: &mut AnyState, row: &[Option<Finite>]) -> Taken {
        both!(self, state, |system, state| system.take(state, row), Taken::default())
    }
}

impl AnyState {
    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        state!(self, |state| size_of_val(&**state))
    }

    /// Finite, variances not negative.
    pub fn is_sound(&self) -> bool {
        state!(self, |state| state.is_sound())
    }

    /// Mean and covariance; `None` while any of it is diffuse.
    pub fn known(&self) -> Option<(Vec<f64>, Vec<Vec<f64>>)> {
        state!(self, |state| (!state.is_diffuse()).then(|| lists(state)))
    }
}
