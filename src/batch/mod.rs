//! Micro-batches and the event-time pieces.
pub mod moments;
pub mod sketch;
pub mod window;
