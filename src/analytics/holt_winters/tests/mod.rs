mod golden;
mod ladder;
mod real;
