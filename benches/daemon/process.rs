//! What the kernel says about a process and the machine.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// USER_HZ: 100 on every Linux port that weir runs on.
const TICKS_A_SECOND: u64 = 100;

#[derive(Clone, Copy)]
pub struct Process(pub u32);

/// MiB.
pub struct Memory {
    pub rss: f64,
    pub pss: f64,
    pub anonymous: f64,
    pub peak: f64,
}

impl Process {
    /// Stops it (SIGSTOP) and waits until it has stopped.
    pub fn stop(self) {
        self.signal(Signal::STOP);
        while !matches!(self.stat().first().map(String::as_str), Some("T")) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn resume(self) {
        self.signal(Signal::CONT);
    }

    pub fn terminate(self) {
        self.signal(Signal::TERM);
    }

    fn signal(self, signal: Signal) {
        let pid = Pid::from_raw(self.0 as i32).expect("a process id");
        kill_process(pid, signal).expect("the process is our child");
    }

    /// User and system time of all its threads.
    pub fn cpu(self) -> Duration {
        // utime and stime are fields 14 and 15; ours start at field 3.
        let stat = self.stat();
        let ticks: u64 = stat[11..13].iter().map(|field| number(field)).sum();
        Duration::from_millis(ticks * 1000 / TICKS_A_SECOND)
    }

    pub fn memory(self) -> Memory {
        let rollup = self.read("smaps_rollup");
        let status = self.read("status");
        Memory {
            rss: kib(&rollup, "Rss:"),
            pss: kib(&rollup, "Pss:"),
            anonymous: kib(&rollup, "Anonymous:"),
            peak: kib(&status, "VmHWM:"),
        }
    }

    /// Bytes that it caused to be written to storage.
    pub fn write_bytes(self) -> u64 {
        let io = self.read("io");
        let value = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
        number(value.expect("/proc/PID/io has write_bytes"))
    }

    /// The fields of /proc/PID/stat from the third on (the second may hold blanks).
    fn stat(self) -> Vec<String> {
        let text = self.read("stat");
        let (_, rest) = text.rsplit_once(')').expect("a name in parentheses");
        rest.split_whitespace().map(str::to_owned).collect()
    }

    fn read(self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.0);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

fn kib(text: &str, key: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("0 kB");
    number(line.trim().trim_end_matches("kB")) as f64 / 1024.0
}

/// The machine in a line.
pub fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown CPU", |text| text.trim_start_matches([' ', '\t', ':']));
    format!("{cpus} CPUs ({model}), load {}", load())
}

pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
