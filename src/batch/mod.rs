//! Micro-batches and the event-time pieces.
pub mod builder;
pub mod close;
pub mod delivery;
pub mod moments;
pub mod order;
pub mod pane;
pub mod sketch;
pub mod window;
