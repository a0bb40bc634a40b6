mod fitting;
mod golden;
mod ladder;
mod real;
