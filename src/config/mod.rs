//! Reads the configuration: TOML files into one checked [`Config`].
//!
//! Every fault is reported at once, with file, line, column and mend ([`Faults`]). The keys are
//! those of [`keys`]; `docs/configuration.md` is their reference. Reading files, the host's name
//! and the environment happens here and nowhere behind: stations get their own struct of
//! [`sections`], series their [`Settings`] from the layers.

use std::path::{Path, PathBuf};

use crate::analytics::settings::{DeriveSettings, GroupSettings, Layer, Settings};
use crate::engine::CoreConfig;

pub mod access;
mod alarm;
mod broker;
mod check;
mod context;
mod derive;
mod explain;
mod fault;
mod group;
pub mod keys;
mod listen;
mod patch;
mod profile;
mod reader;
pub mod sections;
mod stations;
mod subscribe;
mod tcp;
mod topics;
mod tree;
pub mod units;

#[cfg(test)]
mod tests;

pub use check::{Host, MemoryModel, Report, check, check_on};
pub use explain::explain;
pub use fault::{Fault, Faults};
pub use sections::*;

use context::Context;
use reader::TableReader;
use tree::{Sources, Table};

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who this is.
    pub gateway: Gateway,
    /// When micro-batches close.
    pub batch: Batch,
    /// Where things are kept.
    pub state: State,
    /// Ceilings of series.
    pub series: Series,
    /// What waits for upstream.
    pub outbox: Outbox,
    /// When the clock is believed.
    pub clock: Clock,
    /// The site's broker and what is read from it.
    pub mqtt: Mqtt,
    /// Inputs of lines, in file order.
    pub tcp: Vec<Tcp>,
    /// What is published for the site.
    pub results: Results,
    /// The ways upstream.
    pub forwards: Vec<Forward>,
    /// `[[profile]]` tables, then `[[device]]` tables, then `[[alarm]]` tables, each in file order.
    pub layers: Vec<Layer>,
    /// Groups of series.
    pub groups: Vec<GroupSettings>,
    /// Metrics computed from others.
    pub derives: Vec<DeriveSettings>,
    /// Page and metrics.
    pub http: Http,
    /// Log lines.
    pub log: Log,
    /// What works but is likely not meant, or costs something.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads `path`, then `conf.d/*.toml` beside it in the order of their names. Tables merge key
    /// by key, of a single value the later file's wins, lists of tables append.
    ///
    /// # Errors
    /// All faults of all files; when one of them is not TOML, the faults of syntax alone.
    pub fn load(path: &Path) -> Result<Config, Faults> {
        let mut faults = Vec::new();
        let mut texts = Vec::new();
        let mut files = vec![path.to_owned()];
        let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
        match fragments(&folder) {
            Ok(more) => files.extend(more),
            Err(error) => faults.push(Faults::of_file(
                &folder.display().to_string(),
                format!("cannot be listed: {error}"),
                "make it readable for weir, or remove it",
            )),
        }
        for file in files {
            let name = file.display().to_string();
            match read(&file) {
                Ok(text) => texts.push((name, text)),
                Err((what, mend)) => faults.push(Faults::of_file(&name, what, mend)),
            }
        }
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let texts: Vec<(&str, &str)> =
            texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Config::from_texts(&texts)
    }

    /// Reads one text; its faults name it `weir.toml`.
    ///
    /// # Errors
    /// All faults.
    pub fn from_text(text: &str) -> Result<Config, Faults> {
        Config::from_texts(&[("weir.toml", text)])
    }

    /// Reads several texts, each with the name that faults give it, as [`load`](Self::load) does.
    ///
    /// # Errors
    /// All faults.
    pub fn from_texts(texts: &[(&str, &str)]) -> Result<Config, Faults> {
        let (mut sources, mut tree, mut faults) =
            (Sources::default(), Table::default(), Vec::new());
        for (name, text) in texts {
            sources.add(name, text, &mut tree, &mut faults);
        }
        if !faults.is_empty() {
            return Err(Faults(faults));
        }
        let cx = Context::new(&sources);
        let mut config = compose(&cx, &tree);
        let (faults, warnings) = cx.finish();
        config.warnings = warnings;
        if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
    }

    /// The defaults alone, under fixed names: gateway `test`, state in `/nonexistent/weir`, no
    /// page, clock trusted. For tests.
    pub fn default_for_tests() -> Config {
        let text = "gateway.id = \"test\"\nstate.path = \"/nonexistent/weir\"\n\
                    http.listen = \"off\"\nclock.trust = \"always\"\n";
        match Config::from_text(text) {
            Ok(config) => config,
            Err(faults) => panic!("the defaults are faulty: {faults}"),
        }
    }

    /// The part that the core depends on, as it travels in journal frames.
    pub fn core_config(&self) -> CoreConfig {
        CoreConfig {
            layers: self.layers.clone(),
            groups: self.groups.clone(),
            derives: self.derives.clone(),
            time_zone: self.gateway.time_zone.name().to_owned(),
            max_series: self.series.max_series as usize,
            max_panes: self.series.max_panes as usize,
            max_ahead: self.series.max_ahead,
            evict_idle: self.series.evict_idle,
            retire_idle: self.series.retire_idle,
            ..CoreConfig::default()
        }
    }

    /// The settings of one series.
    pub fn settings(&self, device: &str, metric: &str) -> Settings {
        Settings::resolve(&self.layers, device, metric)
    }
}

fn compose(cx: &Context<'_>, tree: &Table) -> Config {
    let root = TableReader::root(cx, tree, cx.sources.beginning());
    let gateway = stations::gateway(&root);
    let (outbox, outbox_written) = stations::outbox(&root);
    let mqtt = broker::mqtt(&root, &gateway.id);
    let (results, prefix) = broker::results(&root, &gateway.id);
    let placed = broker::forwards(&root, &gateway.id);
    topics::check(&root, &mqtt, &results, prefix, &placed);
    if outbox_written && placed.is_empty() {
        cx.warn("[outbox] is not used: there is no [[forward]]".to_owned());
    }
    let tcp = tcp::inputs(&root);
    if mqtt.subscribe.is_empty() && tcp.is_empty() {
        cx.warn("there is no [[mqtt.subscribe]] and no [[tcp]]: nothing is read".to_owned());
    }
    if results.enabled && !tcp.is_empty() && !root.has("mqtt") {
        cx.warn(format!(
            "results go to the broker at {} (the default): write [mqtt] url, or [results] \
             enabled = false",
            mqtt.login.url
        ));
    }
    if !results.enabled && placed.is_empty() {
        cx.warn("results are off and there is no [[forward]]: nothing leaves weir".to_owned());
    }
    let derives = derive::derives(&root);
    let layers = profile::layers(&root, &derives);
    Config {
        batch: stations::batch(&root),
        state: stations::state(&root),
        series: stations::series(&root),
        outbox,
        clock: stations::clock(&root),
        mqtt,
        tcp,
        results,
        forwards: placed.into_iter().map(|(forward, _)| forward).collect(),
        groups: group::groups(&root, &layers, &derives),
        derives,
        layers,
        http: stations::http(&root),
        log: stations::log(&root),
        gateway,
        warnings: Vec::new(),
    }
}

/// `conf.d/*.toml` by name; none when there is no such folder. Hidden files are editors' leftovers.
fn fragments(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, (String, &'static str)> {
    const MEND: &str = "name a readable file with --config";
    let metadata = std::fs::metadata(path).map_err(|e| (format!("cannot be read: {e}"), MEND))?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(("is larger than 16 MiB".to_owned(), "this is hardly a configuration"));
    }
    let bytes = std::fs::read(path).map_err(|e| (format!("cannot be read: {e}"), MEND))?;
    String::from_utf8(bytes)
        .map_err(|e| (format!("is not UTF-8: {}", e.utf8_error()), "save it as UTF-8"))
}
