//! `weir check`: what a configuration costs at worst, and whether this machine can bear it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::access;
use super::units::{about_size, format_duration};
use super::{Config, Listen, Mqtt};
use crate::analytics::derive::Expression;
use crate::analytics::holt_winters::ForecastPlan;
use crate::analytics::join::ROWS_MAX;
use crate::analytics::kalman::KalmanPlan;
use crate::analytics::settings::{
    CustomSettings, KalmanModel, KindSetting, Layer, Settings, VectorSettings, WindowSettings,
};
use crate::batch::window::Zone;

/// What things cost. All estimates of size are here and nowhere else; measured values go here.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryModel {
    /// Process without series: code, runtime, page cache of sled (8 MiB), connections; bytes.
    pub base: u64,
    /// Received messages that wait for their commit, at most; bytes.
    pub unacknowledged: u64,
    /// A reading in the open batch and in its frame; bytes.
    pub reading: u64,
    /// A series without filter, panes, forecast: names, watermark, counters; bytes.
    pub series: u64,
    /// A filter's state; bytes.
    pub kalman: u64,
    /// What finding the noise takes: recent readings, eight bytes each; bytes.
    pub kalman_auto: u64,
    /// An open pane's moments; bytes.
    pub pane: u64,
    /// A pane's increase, where the series may be a counter; bytes.
    pub increase: u64,
    /// A pane's durations, where the series is set to be a state; bytes.
    pub states: u64,
    /// … and where it may be found to be one, which has eight states at most; bytes.
    pub states_found: u64,
    /// An open pane's quantile sketch; bytes.
    pub sketch: u64,
    /// A forecaster's open slot; bytes. Models, seasons and the ring for fits are
    /// [`ForecastPlan::state_bytes`].
    pub forecast: u64,
    /// What its intervals' calibration remembers at horizon 48 or more; bytes.
    pub calibration: u64,
    /// A slot ahead in its forecast; bytes.
    pub slot: u64,
    /// The statistical detectors; bytes.
    pub detectors: u64,
    /// A configured alarm that is active, with its event; bytes.
    pub alarm: u64,
    /// A member of a group or input of a derived metric: its readings remembered there too; bytes.
    pub member: u64,
    /// A row of a derived metric or a filter over several metrics that waits, and each input in it;
    /// bytes.
    pub row: (u64, u64),
    /// An outbox and its client; bytes, besides two messages.
    pub forward: u64,
    /// A connection of a `[[tcp]]` input, besides two of its longest lines: chunk, buffers, TLS;
    /// bytes.
    pub connection: u64,
    /// Chunks of lines that wait for the pipeline, at most.
    pub chunks: u64,
    /// A reading in the journal; bytes.
    pub journal_reading: u64,
    /// What a commit writes to the block device besides its readings (frame header, file system
    /// journal; measured on ext4); bytes.
    pub commit: u64,
    /// Checkpoint and outbox bytes written for each byte of journal. A checkpoint is due when the
    /// journal has grown by four times its bytes, and sled writes about three bytes for one: 0.75;
    /// the rest is for outboxes.
    pub amplification: f64,
}

impl Default for MemoryModel {
    fn default() -> Self {
        MemoryModel {
            // With the result topics' queue of 16 MiB.
            base: 40 << 20,
            unacknowledged: 16 << 20,
            reading: 96,
            // 512 readings remembered to recognise repeats, 16 bytes each, are most of it.
            series: 1024 + 512 * 16,
            kalman: 272,
            kalman_auto: 176 + 256 * 8,
            pane: 320,
            increase: 64,
            states: 384,
            states_found: 224,
            sketch: crate::batch::sketch::Sketch::MAX_BYTES as u64,
            forecast: 128,
            // 103 forecasts issued, 20 bytes each; 7 profiles of 24 bins, 4 bytes each; the rest.
            calibration: 103 * 20 + 7 * 24 * 4 + 512,
            slot: 24,
            // Six active alarms, with their events, among them.
            detectors: 1536 + 6 * 512,
            alarm: 512,
            member: 96 + 512 * 16,
            row: (48, 16),
            forward: 2 << 20,
            connection: 160 << 10,
            chunks: 32,
            journal_reading: 16,
            commit: 11_000,
            amplification: 1.0,
        }
    }
}

impl MemoryModel {
    /// Bytes of one series at worst: `series + kalman + kalman_auto + Σ windows (max_panes + those of
    /// its view)·(pane + sketch + what its kind adds) + forecast + its state + calibration + horizon·slot +
    /// detectors + alarms`. A state that is found has no filter and no forecast.
    pub fn series_bytes(&self, settings: &Settings, max_panes: u32) -> u64 {
        let plan = KalmanPlan::new(&settings.kalman);
        // The larger states are boxed: mean, two factors, and as much again while diffuse.
        let boxed = match settings.kalman.model {
            KalmanModel::Acceleration | KalmanModel::Custom => {
                let n = settings.kalman.states() as u64;
                8 * (2 * n * n + 3 * n) + 32
            }
            _ => 0,
        };
        let kalman = if plan.is_on() { self.kalman + boxed } else { 0 }
            + if plan.is_auto() { self.kalman_auto } else { 0 };
        let open = |w: &WindowSettings| u64::from(max_panes) + w.view_panes().unsigned_abs();
        let pane = |w: &WindowSettings| {
            open(w) * (self.pane + if w.quantiles.is_empty() { 0 } else { self.sketch })
        };
        let panes: u64 = settings.windows.iter().map(pane).sum();
        let count: u64 = settings.windows.iter().map(open).sum();
        let forecast = settings.forecast.as_ref().map_or(0, |f| {
            let state = ForecastPlan::new(f, &Zone::utc()).state_bytes() as u64;
            let ahead = self.slot * (f.horizon / f.step).unsigned_abs();
            self.forecast + state + self.calibration + ahead
        });
        let alarms = self.alarm * settings.thresholds.len() as u64;
        let models = kalman + forecast;
        let of_kind = match settings.kind {
            KindSetting::Gauge => models,
            KindSetting::Counter => models + count * self.increase,
            KindSetting::State => models + count * self.states,
            KindSetting::Auto => (models + count * self.increase).max(count * self.states_found),
        };
        self.series + panes + of_kind + self.detectors + alarms
    }

    /// Bytes of the process at worst: `base + unacknowledged + 2·max_readings·reading (a batch in
    /// the making, one in its commit) + max_series·(the dearest series) + forwards`.
    pub fn total_bytes(&self, config: &Config) -> u64 {
        let forwards: u64 =
            config.forwards.iter().map(|f| self.forward + 2 * f.max_message as u64).sum();
        let lines = config.tcp.iter().map(|input| {
            let line = input.lines.max_payload as u64;
            input.max_connections as u64 * (self.connection + 2 * line) + self.chunks * line
        });
        self.base
            + self.unacknowledged
            + lines.sum::<u64>()
            + 2 * config.batch.max_readings as u64 * self.reading
            + u64::from(config.series.max_series) * self.dearest_unit(config)
            + forwards
    }

    /// Bytes of the dearest series with its part in every group, or of the dearest derived metric.
    fn dearest_unit(&self, config: &Config) -> u64 {
        let groups = config.groups.len() as u64 * self.member;
        let derived = config.derives.iter().map(|derive| {
            let inputs =
                Expression::parse(&derive.expression).map_or(0, |e| e.inputs().len()) as u64;
            ROWS_MAX as u64 * (self.row.0 + inputs * self.row.1) + inputs * self.member
        });
        let series = self.dearest_series(config) + derived.fold(groups, u64::max);
        let vectors = config.layers.iter().filter_map(|layer| layer.patch.vector.as_ref());
        vectors.map(|vector| self.vector_bytes(&vector.custom)).fold(series, u64::max)
    }

    /// Bytes of a filter over several metrics of one device: rows that wait, its members' readings
    /// remembered, mean and two factors (as much again while diffuse), four rejected rows.
    fn vector_bytes(&self, custom: &CustomSettings) -> u64 {
        let (n, width) = (custom.states() as u64, custom.metrics.len() as u64);
        let row = self.row.0 + width * self.row.1;
        let state = 8 * (2 * n * n + 3 * n) + 32;
        self.series + self.detectors + (ROWS_MAX as u64 + 5) * row + width * self.member + state
    }

    /// Bytes of the dearest series that a layer, or two that meet, can make with those that apply
    /// wherever they do. (Three that meet only in part could make a dearer one.)
    fn dearest_series(&self, config: &Config) -> u64 {
        let layers = &config.layers;
        let cost = |these: &[&Layer]| {
            let covering = layers.iter().filter(|l| these.iter().any(|this| l.covers(this)));
            let mut settings = Settings::merged(covering.map(|layer| &layer.patch));
            settings.settle();
            self.series_bytes(&settings, config.series.max_panes)
        };
        let is_dear = |l: &&Layer| {
            let p = &l.patch;
            let windows = p.windows.is_some() || p.kind.is_some() || p.forecast.enabled.is_some();
            windows || p.threshold.is_some() || p.kalman.model.is_some()
        };
        // Thousands of devices differ in little; pairs of the first hundred say enough.
        let dear: Vec<&Layer> = layers.iter().filter(is_dear).take(1000).collect();
        let alone = dear.iter().map(|layer| cost(&[layer]));
        let first = &dear[..dear.len().min(100)];
        let pairs =
            first.iter().enumerate().flat_map(|(i, a)| first[..i].iter().map(move |b| (a, b)));
        let pairs = pairs.filter(|(a, b)| a.meets(b)).map(|(a, b)| cost(&[a, b]));
        alone.chain(pairs).fold(cost(&[]), u64::max)
    }

    /// Bytes written to flash in a day at a steady rate of readings per second.
    pub fn flash_bytes_per_day(&self, config: &Config, readings_per_second: f64) -> f64 {
        let commits_per_second = readings_per_second.min(1.0 / config.batch.interval.as_secs_f64());
        let readings = readings_per_second * self.journal_reading as f64;
        let bytes = commits_per_second * self.commit as f64 + readings * (1.0 + self.amplification);
        bytes * 86_400.0
    }
}

/// What the machine has; `None`: could not be found out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// RAM in bytes.
    pub memory: Option<u64>,
    /// Bytes free for the outbox on the disk of `state.path`, with what the outbox holds already.
    pub disk: Option<u64>,
}

impl Host {
    /// Asks /proc/meminfo and the file system of `state.path` (or its nearest existing parent).
    pub fn probe(config: &Config) -> Host {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let existing = config.state.path.ancestors().find(|path| path.exists());
        let disk = existing.and_then(|path| rustix::fs::statvfs(path).ok()).map(|fs| {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            free.saturating_add(folder_bytes(&config.state.path.join("outbox"), 2))
        });
        Host { memory: memory_total(&meminfo), disk }
    }
}

/// Bytes of `MemTotal` in the text of /proc/meminfo.
fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

fn folder_bytes(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() && depth > 0 => folder_bytes(&entry.path(), depth - 1),
        Ok(data) if data.is_file() => data.len(),
        _ => 0,
    };
    entries.flatten().map(bytes).sum()
}

/// What `weir check` found; its `Display` is what the command prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The file checked.
    pub path: PathBuf,
    /// Lines on what is configured and what it costs.
    pub summary: Vec<String>,
    /// What works but costs something, or can only be verified elsewhere.
    pub warnings: Vec<String>,
    /// Why this machine cannot bear it; empty: ok.
    pub refusals: Vec<String>,
}

impl Report {
    /// Whether the configuration fits the machine.
    pub fn ok(&self) -> bool {
        self.refusals.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.ok() { "ok" } else { "refused" };
        writeln!(f, "{}: {verdict}", self.path.display())?;
        for line in &self.summary {
            writeln!(f, "  {line}")?;
        }
        for line in &self.warnings {
            writeln!(f, "warning: {line}")?;
        }
        for line in &self.refusals {
            writeln!(f, "refused: {line}")?;
        }
        Ok(())
    }
}

/// Checks a configuration that was read from `path` against this machine.
pub fn check(config: &Config, path: &Path) -> Report {
    let mut report = check_on(config, path, &Host::probe(config), &MemoryModel::default());
    let found = access::inspect(config, crate::tls::now());
    report.refusals.extend(found.refusals);
    report.warnings.extend(found.warnings);
    report
}

/// Checks a configuration against a given machine. Pure.
pub fn check_on(config: &Config, path: &Path, host: &Host, model: &MemoryModel) -> Report {
    let mut report = Report {
        path: path.to_owned(),
        summary: summary(config, model),
        warnings: config.warnings.clone(),
        refusals: Vec::new(),
    };
    if !config.mqtt.subscribe.is_empty() {
        report.warnings.push(broker_warning(&config.mqtt));
    }
    let memory = model.total_bytes(config);
    match host.memory {
        Some(has) if memory > has => report.refusals.push(format!(
            "at worst it takes {} of memory, this machine has {}; lower [series] max_series or \
             max_panes, [batch] max_readings, or windows with quantiles",
            about_size(memory),
            about_size(has)
        )),
        Some(has) if memory > has / 2 => report.warnings.push(format!(
            "at worst it takes {} of the {} this machine has",
            about_size(memory),
            about_size(has)
        )),
        Some(_) => {}
        None => report.warnings.push("how much memory this machine has is not known".to_owned()),
    }
    let outboxes = config.outbox.max_bytes.saturating_mul(config.forwards.len() as u64);
    match host.disk {
        Some(has) if outboxes > has => report.refusals.push(format!(
            "the outbox may take {} ({} for each [[forward]]), the disk of {} has {} for it; lower \
             [outbox] max_bytes or move [state] path",
            about_size(outboxes),
            about_size(config.outbox.max_bytes),
            config.state.path.display(),
            about_size(has)
        )),
        None if outboxes > 0 => report.warnings.push(format!(
            "how much room the disk of {} has is not known",
            config.state.path.display()
        )),
        _ => {}
    }
    report
}

fn summary(config: &Config, model: &MemoryModel) -> Vec<String> {
    let topics: usize = config.mqtt.subscribe.iter().map(|s| s.topics.len()).sum();
    let mut lines =
        vec![format!("gateway   {} ({})", config.gateway.id, config.gateway.time_zone.name())];
    if topics > 0 || config.tcp.is_empty() {
        lines.push(format!("reads     {topics} topic(s) at {}", config.mqtt.login.url));
    }
    lines.extend(config.tcp.iter().map(|input| {
        let listen = input.listen.as_ref().map_or("systemd's socket".to_owned(), Listen::to_string);
        format!("reads     lines at {listen} ({})", input.name)
    }));
    if config.results.enabled {
        let kinds: Vec<&str> = config.results.kinds.iter().map(|kind| kind.name()).collect();
        lines.push(format!("publishes {} below {}", kinds.join(", "), config.results.prefix));
    }
    for forward in &config.forwards {
        let (name, url, topic) = (&forward.name, &forward.login.url, &forward.topic);
        lines.push(format!("forwards  {name}: {topic} at {url}"));
    }
    lines.push(format!(
        "settings  {} layer(s) of profiles, devices and alarms",
        config.layers.len()
    ));
    let vectors = config.layers.iter().filter_map(|layer| layer.patch.vector.as_ref());
    lines.extend(vectors.map(vector_line));
    lines.push(format!(
        "memory    at worst {}: {} series of {} each, {} for the rest",
        about_size(model.total_bytes(config)),
        config.series.max_series,
        about_size(model.dearest_unit(config)),
        about_size(
            model.total_bytes(config)
                - u64::from(config.series.max_series) * model.dearest_unit(config)
        ),
    ));
    let rates: Vec<String> = [1.0, 100.0, 1000.0]
        .iter()
        .map(|&rate| {
            let bytes = model.flash_bytes_per_day(config, rate);
            format!("{} at {rate} reading(s)/s", about_size(bytes as u64))
        })
        .collect();
    lines.push(format!("flash     written in a day, about: {}", rates.join(", ")));
    if !config.forwards.is_empty() {
        let outboxes = config.outbox.max_bytes.saturating_mul(config.forwards.len() as u64);
        let folder = config.state.path.display();
        lines.push(format!("disk      outbox at most {} below {folder}", about_size(outboxes)));
    }
    lines
}

fn vector_line(vector: &VectorSettings) -> String {
    let custom = &vector.custom;
    let steps = match (custom.per_second, custom.step) {
        (true, _) => "in continuous time".to_owned(),
        (_, Some(step)) => format!("in steps of {}", format_duration(step)),
        _ => "a step for each row".to_owned(),
    };
    let (name, states) = (&vector.name, custom.states());
    format!("vector    {name}: {} ({states} state(s), {steps})", vector.metrics().join(", "))
}

fn broker_warning(mqtt: &Mqtt) -> String {
    format!(
        "weir cannot see what the broker at {} drops: verify that it queues without a limit and \
         persists its queue (mosquitto: max_queued_messages 0, persistence true, autosave_interval 1, \
         autosave_on_changes true; see configs/mosquitto.conf)",
        mqtt.login.url
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, host: &Host) -> Report {
        let config = Config::from_text(text).unwrap();
        check_on(&config, Path::new("weir.toml"), host, &MemoryModel::default())
    }

    #[test]
    fn refuses_what_memory_cannot_hold() {
        let small = Host { memory: Some(96 << 20), disk: Some(u64::MAX) };
        let text = "series.max_series = 1_000_000";
        let refused = report(text, &small);
        assert!(!refused.ok());
        assert!(refused.to_string().contains("refused: at worst it takes"), "{refused}");
        assert!(report("series.max_series = 100", &small).ok());
    }

    #[test]
    fn refuses_an_outbox_larger_than_the_disk() {
        let host = Host { memory: Some(u64::MAX), disk: Some(400 << 20) };
        let forward = |name| {
            format!("[[forward]]\nname='{name}'\ntype='mqtt'\nurl='mqtt://up'\ntopic='t/{name}'\n")
        };
        let one = format!("outbox.max_bytes = '256MiB'\n{}", forward("a"));
        assert!(report(&one, &host).ok());
        let two = one + &forward("b");
        assert!(!report(&two, &host).ok(), "each forward has an outbox of its own");
    }

    #[test]
    fn says_ok_what_it_costs_and_what_to_verify() {
        let host = Host { memory: Some(8 << 30), disk: Some(8 << 30) };
        let text = "[[mqtt.subscribe]]\ntopics = ['s/{device}/{metric}']\nvalue = '/v'\nqos = 0";
        let text = report(text, &host).to_string();
        assert!(text.starts_with("weir.toml: ok\n"), "{text}");
        for part in ["4000 series", "at 1000 reading(s)/s", "max_queued_messages 0", "qos = 0"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_dearer_profile_raises_the_worst_case() {
        let model = MemoryModel::default();
        let bytes = |text: &str| model.total_bytes(&Config::from_text(text).unwrap());
        let with = "[[profile]]\nmatch = {}\nwindows = [{ size = '1m', quantiles = [0.5] }]";
        assert_eq!(bytes(with) - bytes(""), 4_000 * 16 * model.sketch);
    }

    #[test]
    fn groups_and_derived_metrics_cost_what_they_remember() {
        let model = MemoryModel::default();
        let bytes = |text: &str| model.total_bytes(&Config::from_text(text).unwrap());
        let group = "[[group]]\nname = 'all'\nmatch = {}\n";
        assert_eq!(bytes(group) - bytes(""), 4_000 * model.member);
        let derive = "[[derive]]\nname = 'p'\nexpression = 'u * i'\n";
        let rows = ROWS_MAX as u64 * (model.row.0 + 2 * model.row.1);
        assert_eq!(bytes(derive) - bytes(""), 4_000 * (2 * model.member + rows));
    }

    #[test]
    fn profiles_that_meet_in_part_add_up() {
        let model = MemoryModel::default();
        let text = "[[profile]]\nmatch = { device = 'a*' }\nwindows = [{ size = '1m' }, { size = '1h' }]\n\
                    [[profile]]\nmatch = { metric = 't*' }\nforecast = { step = '5m', season = ['7d'] }";
        let apart = text.replace("metric = 't*'", "device = 'b*'");
        let bytes = |text: &str| model.dearest_series(&Config::from_text(text).unwrap());
        assert_eq!(bytes(text) - bytes(&apart), 16 * (model.pane + model.increase));
    }

    #[test]
    fn views_and_states_cost_what_they_keep() {
        let model = MemoryModel::default();
        let bytes = |text: &str| {
            let config = Config::from_text(&format!("[[profile]]\nmatch = {{}}\n{text}")).unwrap();
            model.series_bytes(&config.settings("d", "m"), 16)
        };
        let gauge = |windows| bytes(&format!("kind = 'gauge'\nwindows = [{windows}]"));
        let sliding = gauge("{ size = '1h', slide = '5m' }") - gauge("{ size = '5m' }");
        assert_eq!(sliding, 12 * model.pane);
        let state = bytes("kind = 'state'") - bytes("kind = 'gauge'");
        assert_eq!(state, 16 * model.states);
        assert!(model.pane >= size_of::<crate::batch::pane::Pane>() as u64);
        let heap =
            size_of::<crate::batch::states::States>() + crate::batch::states::States::HEAP_MAX;
        assert!(model.states >= heap as u64);
    }

    #[test]
    fn reads_meminfo() {
        assert_eq!(memory_total("MemTotal:      1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(memory_total("garbage"), None);
    }
}
