//! The program that the tests of the whole are about.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::process::Command;

/// Its words: the binary that cargo built with the tests or, where `WEIR_COMMAND` is set, that
/// command (words between spaces). So the same tests, compiled for this machine, drive a binary for
/// another one under qemu-user: `cross/test.sh`.
pub fn words() -> Vec<String> {
    match std::env::var("WEIR_COMMAND") {
        Ok(command) => command.split_whitespace().map(str::to_owned).collect(),
        Err(_) => vec![env!("CARGO_BIN_EXE_weir").to_owned()],
    }
}

/// A command of it, without arguments yet.
pub fn weir() -> Command {
    let words = words();
    let mut command = Command::new(words.first().expect("WEIR_COMMAND is not empty"));
    command.args(&words[1..]);
    command
}
