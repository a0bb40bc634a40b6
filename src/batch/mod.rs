//! Micro-batches and the event-time pieces.
pub mod delivery;
pub mod moments;
pub mod order;
pub mod sketch;
pub mod window;
