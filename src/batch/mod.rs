//! Micro-batches and the event-time pieces.
pub mod builder;
pub mod close;
pub mod counter;
pub mod delivery;
mod double;
pub mod integral;
pub mod moments;
pub mod order;
pub mod pane;
pub mod sketch;
pub mod states;
pub mod view;
pub mod window;
