mod clean;
mod found;
mod nab;
mod rig;
