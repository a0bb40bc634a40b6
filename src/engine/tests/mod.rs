mod departed;
mod fits;
mod groups;
mod reload;
mod vectors;
mod world;
