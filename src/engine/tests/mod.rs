mod departed;
mod fits;
mod groups;
mod vectors;
mod world;
