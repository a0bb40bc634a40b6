//! The whole daemon under load: throughput and CPU against a bare subscriber, resident memory,
//! bytes written to disk.
//!
//! `cargo bench --bench daemon -- [throughput] [live] [memory] [disk] [--trials N] [--seconds N]`
//! (no name: all four; trials: 5 of throughput, 3 of live). Needs mosquitto. Everything runs on
//! loopback: one broker for the readings, one for upstream, `weir run` with its default
//! configuration (results on, default windows and forecast) and one `[[forward]]`, its state on
//! the disk of the target folder.
//!
//! **Throughput.** A subscriber is connected, warmed up and stopped (SIGSTOP); the messages are
//! published, so that they wait in the broker; the subscriber goes on (SIGCONT) and takes them as
//! fast as it can. So the publisher is never the bottleneck, and nothing is lost at QoS 0 either
//! (the broker queues without limit); what is received is counted all the same. weir and the bare
//! subscriber take turns on the same broker, and each pair gives one ratio: what else the machine
//! does hits both.
//!
//! **Live.** The messages are published while the subscriber takes them: at a steady rate, as
//! devices do, where the question is what a message costs (CPU, up to the commit of the last
//! batch); and flat out at QoS 1, where the publisher waits for acknowledgements, so that the
//! broker sets the pace. Each run has a broker of its own: no session of a former subscriber makes
//! it queue. At the lowest rate the kernel's tick of 10 ms is 1.25 us a message.
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

use std::time::{Duration, Instant, SystemTime};

use broker::Broker;
use daemon::Daemon;
use process::Process;
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
    live: bool,
    memory: bool,
    disk: bool,
    trials: Option<usize>,
    seconds: u64,
}

fn arguments() -> Arguments {
    let mut arguments = Arguments {
        throughput: false,
        live: false,
        memory: false,
        disk: false,
        trials: None,
        seconds: 240,
    };
    let mut given = std::env::args().skip(1);
    let number = |given: Option<String>, name: &str| -> u64 {
        let given = given.unwrap_or_default();
        given.parse().unwrap_or_else(|_| panic!("{name} {given}: must be a whole number, e.g. 5"))
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "throughput" => arguments.throughput = true,
            "live" => arguments.live = true,
            "memory" => arguments.memory = true,
            "disk" => arguments.disk = true,
            "--trials" => {
                arguments.trials = Some(number(given.next(), "--trials").max(1) as usize);
            }
            "--seconds" => arguments.seconds = number(given.next(), "--seconds").max(10),
            // Cargo adds this one.
            "--bench" => {}
            other => {
                panic!("{other}: must be throughput, live, memory, disk, --trials N or --seconds N")
            }
        }
    }
    if !(arguments.throughput || arguments.live || arguments.memory || arguments.disk) {
        (arguments.throughput, arguments.live) = (true, true);
        (arguments.memory, arguments.disk) = (true, true);
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
            throughput(qos, arguments.trials.unwrap_or(5));
        }
    }
    if arguments.live {
        let trials = arguments.trials.unwrap_or(3);
        for qos in [0, 1] {
            for rate in LIVE_RATES {
                live_paced(qos, rate, trials);
            }
        }
        live_flat_out(trials);
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

/// Runs of weir and of the bare subscriber in turns. Who comes first changes, so that neither
/// always meets the fresher machine.
fn pairs<T>(trials: usize, weir: impl Fn(usize) -> T, bare: impl Fn(usize) -> T) -> Vec<(T, T)> {
    let pair = |trial| {
        if trial % 2 == 0 {
            let weir = weir(trial);
            (weir, bare(trial))
        } else {
            let bare = bare(trial);
            (weir(trial), bare)
        }
    };
    (0..trials).map(pair).collect()
}

fn throughput(qos: u8, trials: usize) {
    let broker = Broker::start();
    println!(
        "\nQoS {qos}, {DEVICES} devices, {} messages a drain, {trials} pairs, load {}",
        DEVICES * ROUNDS,
        process::load()
    );
    let weir = |_| drain_weir(&broker, qos);
    let pairs = pairs(trials, weir, |trial| drain_bare(&broker, qos, trial));
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
    let start = SystemTime::now();
    daemon.process().resume();
    let arrived = daemon.wait_for_readings(warm_up + sent, Duration::from_secs(60)) - warm_up;
    let cpu = daemon.process().cpu() - cpu;
    Drain {
        rate: rate_of_full_batches(&daemon, first_batch, start, arrived),
        cpu: cpu.as_secs_f64() * 1e6 / arrived as f64,
        lost: sent - arrived,
        batch: arrived as f64 / (daemon.last_batch() - first_batch) as f64,
    }
}

/// Readings a second. The last batch may have waited for its interval: the rate is that of the
/// batches that closed because they were full.
fn rate_of_full_batches(daemon: &Daemon, first_batch: u64, start: SystemTime, arrived: u64) -> f64 {
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
    readings as f64 / took.expect("batches close after the start").as_secs_f64()
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
    let start = SystemTime::now();
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

/// Messages a second in paced runs.
const LIVE_RATES: [u64; 3] = [1000, 5000, 20_000];
const LIVE_SECONDS: u64 = 8;
/// After the last message, before CPU is read: longer than weir's batch interval.
const LIVE_SETTLE: Duration = Duration::from_millis(2200);
/// Unacknowledged messages of the publisher that goes flat out: one for each device.
const LIVE_WINDOW: usize = DEVICES;

/// CPU microseconds a message, and messages received.
struct Paced {
    cpu: f64,
    received: u64,
}

fn live_paced(qos: u8, rate: u64, trials: usize) {
    let sent = rate * LIVE_SECONDS;
    println!(
        "\nlive, QoS {qos}, {DEVICES} devices, {rate} messages/s for {LIVE_SECONDS} s, \
         {trials} pairs, load {}",
        process::load()
    );
    let pairs = pairs(trials, |_| paced_weir(qos, rate), |_| paced_bare(qos, rate));
    let of = |pick: &dyn Fn(&(Paced, Paced)) -> f64| Spread::of(pairs.iter().map(pick).collect());
    row("weir, CPU us/message", &of(&|p| p.0.cpu), 2);
    row("bare, CPU us/message", &of(&|p| p.1.cpu), 2);
    row("CPU ratio", &of(&|p| p.0.cpu / p.1.cpu), 2);
    row(&format!("weir, received of {sent}"), &of(&|p| p.0.received as f64), 0);
    row(&format!("bare, received of {sent}"), &of(&|p| p.1.received as f64), 0);
    println!("  load {}", process::load());
}

fn paced_weir(qos: u8, rate: u64) -> Paced {
    let (broker, upstream) = (Broker::start(), Broker::start());
    let daemon = Daemon::start(&broker, &upstream, qos);
    let mut messages = Messages::new(DEVICES, qos, BEGIN_AGO_S, 1.0);
    let warm_up = (DEVICES * WARM_UP) as u64;
    Publisher::connect(&broker).publish(&messages.rounds(WARM_UP));
    daemon.wait_for_readings(warm_up, Duration::from_secs(60));
    let cpu = publish_paced(&broker, &mut messages, rate, daemon.process());
    let sent = rate * LIVE_SECONDS;
    let received = daemon.wait_for_readings(warm_up + sent, Duration::from_secs(10)) - warm_up;
    Paced { cpu: cpu.as_secs_f64() * 1e6 / received as f64, received }
}

fn paced_bare(qos: u8, rate: u64) -> Paced {
    let broker = Broker::start();
    let warm_up = (DEVICES * WARM_UP) as u64;
    let mut bare = bare::Bare::start(&broker, qos, 0, &[warm_up, u64::MAX]);
    let mut messages = Messages::new(DEVICES, qos, BEGIN_AGO_S, 1.0);
    Publisher::connect(&broker).publish(&messages.rounds(WARM_UP));
    bare.wait_for_count();
    let cpu = publish_paced(&broker, &mut messages, rate, bare.process());
    let received = bare.received() - warm_up;
    Paced { cpu: cpu.as_secs_f64() * 1e6 / received as f64, received }
}

/// CPU time of `subscriber` meanwhile.
fn publish_paced(
    broker: &Broker,
    messages: &mut Messages,
    rate: u64,
    subscriber: Process,
) -> Duration {
    let packets = messages.rounds((rate * LIVE_SECONDS) as usize / DEVICES);
    let mut publisher = Publisher::connect(broker);
    let cpu = subscriber.cpu();
    publisher.paced(&packets, rate);
    std::thread::sleep(LIVE_SETTLE);
    subscriber.cpu() - cpu
}

/// Messages a second.
struct FlatOut {
    published: f64,
    received: f64,
    lost: u64,
}

fn live_flat_out(trials: usize) {
    println!(
        "\nlive, QoS 1, {DEVICES} devices, {} messages flat out, at most {LIVE_WINDOW} \
         unacknowledged, {trials} pairs, load {}",
        DEVICES * ROUNDS,
        process::load()
    );
    let pairs = pairs(trials, |_| flat_out_weir(), |_| flat_out_bare());
    let of =
        |pick: &dyn Fn(&(FlatOut, FlatOut)) -> f64| Spread::of(pairs.iter().map(pick).collect());
    row("to weir, published/s", &of(&|p| p.0.published), 0);
    row("to bare, published/s", &of(&|p| p.1.published), 0);
    row("weir, received/s", &of(&|p| p.0.received), 0);
    row("bare, received/s", &of(&|p| p.1.received), 0);
    row("rate ratio", &of(&|p| p.0.received / p.1.received), 3);
    let lost: u64 = pairs.iter().map(|p| p.0.lost + p.1.lost).sum();
    println!("  messages lost: {lost}; load {}", process::load());
}

fn flat_out_weir() -> FlatOut {
    let (broker, upstream) = (Broker::start(), Broker::start());
    let daemon = Daemon::start(&broker, &upstream, 1);
    let mut messages = Messages::new(DEVICES, 1, BEGIN_AGO_S, 1.0);
    let warm_up = (DEVICES * WARM_UP) as u64;
    Publisher::connect(&broker).publish(&messages.rounds(WARM_UP));
    daemon.wait_for_readings(warm_up, Duration::from_secs(60));
    let first_batch = daemon.last_batch();
    let (start, published) = publish_flat_out(&broker, &mut messages);
    let sent = (DEVICES * ROUNDS) as u64;
    let arrived = daemon.wait_for_readings(warm_up + sent, Duration::from_secs(60)) - warm_up;
    let received = rate_of_full_batches(&daemon, first_batch, start, arrived);
    FlatOut { published, received, lost: sent - arrived }
}

fn flat_out_bare() -> FlatOut {
    let broker = Broker::start();
    let (warm_up, sent) = ((DEVICES * WARM_UP) as u64, (DEVICES * ROUNDS) as u64);
    let mut bare = bare::Bare::start(&broker, 1, 0, &[warm_up, warm_up + sent]);
    let mut messages = Messages::new(DEVICES, 1, BEGIN_AGO_S, 1.0);
    Publisher::connect(&broker).publish(&messages.rounds(WARM_UP));
    bare.wait_for_count();
    let (start, published) = publish_flat_out(&broker, &mut messages);
    let took = bare.wait_for_count().duration_since(start);
    let took = took.expect("messages come after the start");
    // The wait ends with the last message or not at all.
    FlatOut { published, received: sent as f64 / took.as_secs_f64(), lost: 0 }
}

/// When it began, and messages a second.
fn publish_flat_out(broker: &Broker, messages: &mut Messages) -> (SystemTime, f64) {
    let packets = messages.rounds(ROUNDS);
    let mut publisher = Publisher::connect(broker);
    let (start, clock) = (SystemTime::now(), Instant::now());
    publisher.windowed(&packets, LIVE_WINDOW);
    (start, (DEVICES * ROUNDS) as f64 / clock.elapsed().as_secs_f64())
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
