//! The whole daemon under load: throughput and CPU against a bare subscriber, resident memory,
//! bytes written to disk.
//!
//! `cargo bench --bench daemon -- [throughput] [memory] [disk] [--trials N] [--seconds N]`
//! (no name: all three). Needs mosquitto. Everything runs on loopback: one broker for the
//! readings, one for upstream, `weir run` with its default configuration (results on, default
//! windows and forecast) and one `[[forward]]`, its state on the disk of the target folder.
//!
//! **Throughput.** A subscriber is connected, warmed up and stopped (SIGSTOP); the messages are
//! published, so that they wait in the broker; the subscriber goes on (SIGCONT) and takes them as
//! fast as it can. So the publisher is never the bottleneck, and nothing is lost at QoS 0 either
//! (the broker queues without limit); what is received is counted all the same. weir and the bare
//! subscriber take turns on the same broker, and each pair gives one ratio: what else the machine
//! does hits both.
//!
//! `WEIR_BENCH_EXTRA=FILE` adds a file of configuration, `WEIR_BENCH_LOG=1` shows weir's log and
//! the batches of each drain.
//!
//! Figures go to standard output, nothing is written elsewhere.

mod bare;
mod broker;
mod daemon;
mod process;
mod publish;
mod table;

use std::time::{Duration, Instant};

use broker::Broker;
use daemon::Daemon;
use publish::{Messages, Publisher};
use table::{Spread, row};

/// Devices, one series each.
const DEVICES: usize = 1000;
/// Readings per device before measuring: series are classified and have their filters.
const WARM_UP: usize = 60;
/// Readings per device in a measured drain.
const ROUNDS: usize = 400;
/// Event time of the first reading: this long ago, so that no reading lies in the future.
const BEGIN_AGO_S: u64 = 3 * 86_400;

struct Arguments {
    throughput: bool,
    memory: bool,
    disk: bool,
    trials: usize,
    seconds: u64,
}

fn arguments() -> Arguments {
    let mut arguments =
        Arguments { throughput: false, memory: false, disk: false, trials: 5, seconds: 240 };
    let mut given = std::env::args().skip(1);
    let number = |given: Option<String>, name: &str| -> u64 {
        let given = given.unwrap_or_default();
        given.parse().unwrap_or_else(|_| panic!("{name} {given}: must be a whole number, e.g. 5"))
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "throughput" => arguments.throughput = true,
            "memory" => arguments.memory = true,
            "disk" => arguments.disk = true,
            "--trials" => arguments.trials = number(given.next(), "--trials").max(1) as usize,
            "--seconds" => arguments.seconds = number(given.next(), "--seconds").max(10),
            // Cargo adds this one.
            "--bench" => {}
            other => panic!("{other}: must be throughput, memory, disk, --trials N or --seconds N"),
        }
    }
    if !(arguments.throughput || arguments.memory || arguments.disk) {
        (arguments.throughput, arguments.memory, arguments.disk) = (true, true, true);
    }
    arguments
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some(bare::COMMAND) {
        bare::run(std::env::args().skip(2));
        return;
    }
    let arguments = arguments();
    println!("weir {}, {}", env!("CARGO_PKG_VERSION"), Broker::version());
    println!("{}", process::machine());
    if let Some(extra) = std::env::var_os(daemon::EXTRA) {
        let text = std::fs::read_to_string(&extra).expect("the extra file can be read");
        println!("with {}", text.trim().replace('\n', "; "));
    }
    if arguments.throughput {
        for qos in [0, 1] {
            throughput(qos, arguments.trials);
        }
    }
    if arguments.memory {
        memory();
    }
    if arguments.disk {
        disk(arguments.seconds);
    }
    println!("load at the end: {}", process::load());
}

/// One drain: how fast, and at what cost.
#[derive(Clone, Copy)]
struct Drain {
    /// Messages a second.
    rate: f64,
    /// CPU microseconds a message.
    cpu: f64,
    /// Messages that did not arrive.
    lost: u64,
    /// Readings in a batch, mean (weir only).
    batch: f64,
}

fn throughput(qos: u8, trials: usize) {
    let broker = Broker::start();
    println!(
        "\nQoS {qos}, {DEVICES} devices, {} messages a drain, {trials} pairs, load {}",
        DEVICES * ROUNDS,
        process::load()
    );
    let mut pairs = Vec::new();
    for trial in 0..trials {
        // Who comes first changes, so that neither always meets the fresher machine.
        let pair = if trial % 2 == 0 {
            let weir = drain_weir(&broker, qos);
            (weir, drain_bare(&broker, qos, trial))
        } else {
            let bare = drain_bare(&broker, qos, trial);
            (drain_weir(&broker, qos), bare)
        };
        pairs.push(pair);
    }
    let of = |pick: &dyn Fn(&(Drain, Drain)) -> f64| Spread::of(pairs.iter().map(pick).collect());
    row("weir, messages/s", &of(&|p| p.0.rate), 0);
    row("weir, readings/batch", &of(&|p| p.0.batch), 0);
    row("bare, messages/s", &of(&|p| p.1.rate), 0);
    row("rate ratio (aim >= 0.8)", &of(&|p| p.0.rate / p.1.rate), 3);
    row("weir, CPU us/message", &of(&|p| p.0.cpu), 2);
    row("bare, CPU us/message", &of(&|p| p.1.cpu), 2);
    row("CPU ratio (aim <= 1.5)", &of(&|p| p.0.cpu / p.1.cpu), 2);
    let lost: u64 = pairs.iter().map(|p| p.0.lost + p.1.lost).sum();
    println!("  messages lost: {lost}; load {}", process::load());
}

fn drain_weir(broker: &Broker, qos: u8) -> Drain {
    let upstream = Broker::start();
    let daemon = Daemon::start(broker, &upstream, qos);
    let mut messages = Messages::new(DEVICES, qos, BEGIN_AGO_S, 1.0);
    let warm_up = (DEVICES * WARM_UP) as u64;
    Publisher::connect(broker).publish(&messages.rounds(WARM_UP));
    daemon.wait_for_readings(warm_up, Duration::from_secs(60));
    let first_batch = daemon.last_batch();
    daemon.process().stop();
    Publisher::connect(broker).publish(&messages.rounds(ROUNDS));
    let sent = (DEVICES * ROUNDS) as u64;
    let cpu = daemon.process().cpu();
    let start = std::time::SystemTime::now();
    daemon.process().resume();
    let arrived = daemon.wait_for_readings(warm_up + sent, Duration::from_secs(60)) - warm_up;
    let cpu = daemon.process().cpu() - cpu;
    // The last batch may have waited for its interval: the rate is that of the batches that
    // closed because they were full.
    let batches = daemon.batches_after(first_batch);
    if std::env::var_os(daemon::LOG).is_some() {
        for batch in &batches {
            let closed = batch.closed.duration_since(start).unwrap_or_default();
            eprintln!("batch of {} closed after {closed:?}", batch.readings);
        }
    }
    let (last, full) = match batches.as_slice() {
        [.., full, last] => (last.readings, full),
        [only] => (0, only),
        [] => panic!("no batch was committed"),
    };
    let readings = arrived - last;
    let took = full.closed.duration_since(start);
    Drain {
        rate: readings as f64 / took.expect("batches close after the start").as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / arrived as f64,
        lost: sent - arrived,
        batch: arrived as f64 / (daemon.last_batch() - first_batch) as f64,
    }
}

fn drain_bare(broker: &Broker, qos: u8, trial: usize) -> Drain {
    let warm_up = (DEVICES * WARM_UP) as u64;
    let sent = (DEVICES * ROUNDS) as u64;
    let mut bare = bare::Bare::start(broker, qos, trial, &[warm_up, warm_up + sent]);
    let mut messages = Messages::new(DEVICES, qos, BEGIN_AGO_S, 1.0);
    Publisher::connect(broker).publish(&messages.rounds(WARM_UP));
    bare.wait_for_count();
    bare.process().stop();
    Publisher::connect(broker).publish(&messages.rounds(ROUNDS));
    let cpu = bare.process().cpu();
    let start = std::time::SystemTime::now();
    bare.process().resume();
    let reached = bare.wait_for_count();
    let cpu = bare.process().cpu() - cpu;
    let took = reached.duration_since(start).expect("messages come after the start");
    Drain {
        rate: sent as f64 / took.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / sent as f64,
        // The bare subscriber's wait ends with the last message or not at all.
        lost: 0,
        batch: 0.0,
    }
}

/// Event time between a device's readings while memory fills: two days pass in 600 rounds.
const MEMORY_STEP_S: f64 = 288.0;
const MEMORY_ROUNDS: usize = 600;

fn memory() {
    let (broker, upstream) = (Broker::start(), Broker::start());
    let daemon = Daemon::start(&broker, &upstream, 1);
    let mut messages = Messages::new(DEVICES, 1, BEGIN_AGO_S, MEMORY_STEP_S);
    println!("\nmemory, {DEVICES} series, QoS 1, load {}", process::load());
    let show = |when: &str| {
        let m = daemon.process().memory();
        println!(
            "  {when:<44} RSS {:6.2}  PSS {:6.2}  anonymous {:6.2}  peak {:6.2} MiB",
            m.rss, m.pss, m.anonymous, m.peak
        );
    };
    show("started, no series");
    let mut publisher = Publisher::connect(&broker);
    publisher.paced(&messages.rounds(2), 1000);
    daemon.wait_for_readings(2 * DEVICES as u64, Duration::from_secs(30));
    show("1,000 series, two readings each");
    publisher.paced(&messages.rounds(MEMORY_ROUNDS), 8000);
    let filled = ((MEMORY_ROUNDS + 2) * DEVICES) as u64;
    daemon.wait_for_readings(filled, Duration::from_secs(60));
    show("two days of event time at 8,000 readings/s");
    publisher.paced(&messages.rounds(30), 1000);
    daemon.wait_for_readings(filled + 30 * DEVICES as u64, Duration::from_secs(30));
    show("then 30 s at 1,000 readings/s (aim 24)");
}

fn disk(seconds: u64) {
    println!("\ndisk, {DEVICES} series, QoS 1, load {}", process::load());
    // Checkpoints follow the journal's growth, so ten times the speed with a tenth of the interval
    // writes the same frames and reaches as many checkpoints in a tenth of the time.
    for (speed, interval) in [(1, "2s"), (10, "200ms")] {
        disk_at(speed, interval, seconds);
    }
}

fn disk_at(speed: u64, interval: &str, seconds: u64) {
    let (broker, upstream) = (Broker::start(), Broker::start());
    let daemon = Daemon::start_with_interval(&broker, &upstream, 1, interval);
    let mut messages = Messages::new(DEVICES, 1, BEGIN_AGO_S, 1.0);
    let mut publisher = Publisher::connect(&broker);
    let rate = DEVICES as u64 * speed;
    let warm_up = 70;
    publisher.paced(&messages.rounds(warm_up), rate);
    daemon.wait_for_readings((warm_up * DEVICES) as u64, Duration::from_secs(60));
    let before = daemon.written();
    let cpu = daemon.process().cpu();
    let start = Instant::now();
    let rounds = (seconds * speed) as usize;
    publisher.paced(&messages.rounds(rounds), rate);
    let all = ((warm_up + rounds) * DEVICES) as u64;
    daemon.wait_for_readings(all, Duration::from_secs(60));
    let took = start.elapsed();
    let cpu = daemon.process().cpu() - cpu;
    let after = daemon.written();
    let readings = (rounds * DEVICES) as f64;
    println!(
        "  {rate} readings/s for {:.0} s, interval {interval}: {} batches, {} checkpoints",
        took.as_secs_f64(),
        after.batches - before.batches,
        after.checkpoints - before.checkpoints
    );
    let process = after.process - before.process;
    let journal = after.journal - before.journal;
    let checkpoint = after.checkpoint - before.checkpoint;
    for (name, bytes) in [
        ("written by the process (aim 32)", process),
        ("  journal frames", journal),
        ("  content of checkpoints", checkpoint),
        ("  outbox, sled's own, rewritten pages", process.saturating_sub(journal + checkpoint)),
    ] {
        println!("    {name:<40} {:8.2} B/reading", bytes as f64 / readings);
    }
    println!(
        "    {:<40} {:8.2} us/reading, {:.1} % of one core",
        "CPU",
        cpu.as_secs_f64() * 1e6 / readings,
        100.0 * cpu.as_secs_f64() / took.as_secs_f64()
    );
}
