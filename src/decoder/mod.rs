//! Payload bytes to readings.
pub mod settings;
