//! The simulated world.
pub mod broker;
pub mod disk;
pub mod rng;
pub mod world;
