mod clean;
mod found;
mod rig;
