//! What happens to one series' readings: gate and Kalman filter, Holt-Winters forecast.
pub mod alarm;
pub mod classify;
pub mod derive;
pub mod fit;
pub mod holt_winters;
pub mod join;
pub mod kalman;
pub mod members;
pub mod quantile;
pub mod settings;
pub mod step;
pub mod vector;
