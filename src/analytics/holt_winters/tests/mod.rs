mod golden;
mod ladder;
