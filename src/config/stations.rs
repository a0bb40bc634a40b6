//! Reads `[gateway]`, `[batch]`, `[state]`, `[series]`, `[outbox]`, `[clock]`, `[http]`, `[log]`.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::path::PathBuf;
use std::time::Duration;

use super::keys;
use super::listen::{Listener, Where};
use super::reader::{At, TableReader};
use super::sections::*;
use super::tree::Value;
use crate::batch::window::Zone;
use crate::reading::SECOND;

const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 86_400 * SECOND;

/// A duration that was read (never negative).
pub(super) fn std_duration(nanos: i64) -> Duration {
    Duration::from_nanos(nanos.unsigned_abs())
}

pub(super) fn gateway(root: &TableReader<'_, '_>) -> Gateway {
    let r = root.section("gateway", &keys::GATEWAY);
    let id = r.text("id", "\"gw-01\"").and_then(|at| {
        let good = (1..=64).contains(&at.value.chars().count())
            && !at.value.contains(|c: char| c.is_control() || "+#/".contains(c));
        if !good {
            r.cx.fault(
                &at.spot,
                "must have 1 to 64 characters, none of + # / or a control character",
                "write e.g. \"gw-01\"",
            );
        }
        good.then_some(at.value)
    });
    let time_zone = r.text("time_zone", "\"Europe/Berlin\"").and_then(|at| zone(&r, at));
    Gateway {
        id: id.unwrap_or_else(default_gateway_id),
        time_zone: time_zone.unwrap_or_else(Zone::utc),
        tags: tags(&r),
    }
}

fn zone(r: &TableReader<'_, '_>, at: At<String>) -> Option<Zone> {
    if let Ok(zone) = Zone::get(&at.value) {
        return Some(zone);
    }
    let mend = match Zone::nearest(&at.value) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write an IANA name, e.g. \"Europe/Berlin\" or \"UTC\"".to_owned(),
    };
    r.cx.fault(&at.spot, "no time zone has this name", mend);
    None
}

fn tags(r: &TableReader<'_, '_>) -> BTreeMap<String, String> {
    let Some(entries) = r.dictionary("tags", "tags = { site = \"ber\" }") else {
        return BTreeMap::new();
    };
    if entries.value.len() > 64 {
        r.cx.fault(&entries.spot, "has more than 64 tags", "keep what upstream sorts by");
    }
    let mut tags = BTreeMap::new();
    for (name, at) in entries.value {
        match &at.value.value {
            Value::Text(text) => {
                tags.insert(name.to_owned(), text.clone());
            }
            _ => r.wrong(&at, "a text", "\"ber\""),
        }
    }
    tags
}

/// Host name, and a hash of the machine id so that cloned host names differ. The id itself is
/// confidential (machine-id(5)), hence the hash.
fn default_gateway_id() -> String {
    let uname = rustix::system::uname();
    let host: String = uname
        .nodename()
        .to_string_lossy()
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_.".contains(*c))
        .take(48)
        .collect();
    let host = if host.is_empty() { "gateway".to_owned() } else { host };
    match std::fs::read_to_string("/etc/machine-id") {
        Ok(id) if !id.trim().is_empty() => {
            let mut hasher = siphasher::sip::SipHasher13::new();
            hasher.write(id.trim().as_bytes());
            format!("{host}-{}", &format!("{:016x}", hasher.finish())[..6])
        }
        _ => host,
    }
}

pub(super) fn batch(root: &TableReader<'_, '_>) -> Batch {
    let r = root.section("batch", &keys::BATCH);
    let default = Batch::default();
    let interval = r.duration("interval", SECOND / 10..=MINUTE, "2s");
    let max_readings = r.integer("max_readings", 1..=1_000_000, 65_536);
    Batch {
        interval: interval.map_or(default.interval, |at| std_duration(at.value)),
        max_readings: max_readings.map_or(default.max_readings, |at| at.value as usize),
    }
}

pub(super) fn state(root: &TableReader<'_, '_>) -> State {
    let r = root.section("state", &keys::STATE);
    let path = r.text("path", "\"/var/lib/weir\"").and_then(|at| {
        let path = PathBuf::from(&at.value);
        if !path.is_absolute() {
            // The service's working folder is / and not the file's: relative would surprise.
            r.cx.fault(&at.spot, "must be an absolute path", "write e.g. \"/var/lib/weir\"");
            return None;
        }
        Some(path)
    });
    let segment_bytes = r.size("segment_bytes", 64 << 10..=1 << 30, "8MiB");
    State {
        path: path.unwrap_or_else(default_state_path),
        segment_bytes: segment_bytes.map_or(8 << 20, |at| at.value),
    }
}

fn default_state_path() -> PathBuf {
    let from_systemd = std::env::var_os("STATE_DIRECTORY").and_then(|value| {
        // systemd separates several folders by colons; ours is the first.
        std::env::split_paths(&value).find(|path| path.is_absolute())
    });
    from_systemd.unwrap_or_else(|| PathBuf::from("/var/lib/weir"))
}

pub(super) fn series(root: &TableReader<'_, '_>) -> Series {
    let r = root.section("series", &keys::SERIES);
    let default = Series::default();
    let max_series = r.integer("max_series", 1..=1_000_000, 4_000);
    let max_panes = r.integer("max_panes", 1..=100, 16);
    let max_ahead = r.duration("max_ahead", 0..=366 * DAY, "5m");
    let evict_idle = r.duration("evict_idle", MINUTE..=3660 * DAY, "1h");
    let retire_idle = r.duration("retire_idle", MINUTE..=3660 * DAY, "30d");
    let series = Series {
        max_series: max_series.map_or(default.max_series, |at| at.value as u32),
        max_panes: max_panes.map_or(default.max_panes, |at| at.value as u32),
        max_ahead: max_ahead.map_or(default.max_ahead, |at| at.value),
        evict_idle: evict_idle.as_ref().map_or(default.evict_idle, |at| at.value),
        retire_idle: retire_idle.as_ref().map_or(default.retire_idle, |at| at.value),
    };
    if series.evict_idle > series.retire_idle
        && let Some(at) = evict_idle.or(retire_idle)
    {
        r.cx.fault(
            &at.spot,
            "evict_idle must not be longer than retire_idle: a series goes early only under pressure",
            "shorten evict_idle or lengthen retire_idle",
        );
    }
    series
}

pub(super) fn outbox(root: &TableReader<'_, '_>) -> (Outbox, bool) {
    let r = root.section("outbox", &keys::OUTBOX);
    let max_bytes = r.size("max_bytes", 1 << 20..=1 << 40, "256MiB");
    let when_full = r.choice(
        "when_full",
        &[("drop-oldest", WhenFull::DropOldest)],
        &[("merge", "write \"drop-oldest\", and give max_bytes room for your longest outage")],
    );
    let default = Outbox::default();
    let outbox = Outbox {
        max_bytes: max_bytes.map_or(default.max_bytes, |at| at.value),
        when_full: when_full.map_or(default.when_full, |at| at.value),
    };
    (outbox, r.written())
}

pub(super) fn clock(root: &TableReader<'_, '_>) -> Clock {
    let r = root.section("clock", &keys::CLOCK);
    let default = Clock::default();
    let trust = r.choice("trust", &[("ntp", Trust::Ntp), ("always", Trust::Always)], &[]);
    let wait = r.duration("wait", 0..=DAY, "2m");
    Clock {
        trust: trust.map_or(default.trust, |at| at.value),
        wait: wait.map_or(default.wait, |at| std_duration(at.value)),
    }
}

const PAGE: Listener = Listener {
    what: "the page",
    address: "127.0.0.1:9377",
    path: "/run/weir/http.sock",
    word: "off",
    guard: "TLS and a token",
    keys: "cert_file, key_file and token_file",
    before: " behind a proxy",
};

pub(super) fn http(root: &TableReader<'_, '_>) -> Http {
    let r = root.section("http", &keys::HTTP);
    let at = r.text("listen", "\"127.0.0.1:9377\"");
    let token = r.text("token_file", "\"/etc/weir/page.token\"");
    let token = token.and_then(|at| super::broker::source(&r, at));
    let tls = super::broker::identity(&r, "page");
    let default = Http { tls, token, ..Http::default() };
    let guarded = r.has("cert_file") && r.has("token_file");
    let listen = match at.and_then(|at| PAGE.read(&r, at, guarded)) {
        Some(Where::At(listen)) => Some(listen),
        Some(Where::Nowhere) => None,
        None => default.listen.clone(),
    };
    Http { listen, ..default }
}

pub(super) fn log(root: &TableReader<'_, '_>) -> Log {
    let r = root.section("log", &keys::LOG);
    let default = Log::default();
    let levels = [
        ("info", LogLevel::Info),
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let level = r.choice("level", &levels, &[]);
    let format = r.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)], &[]);
    Log {
        level: level.map_or(default.level, |at| at.value),
        format: format.map_or(default.format, |at| at.value),
    }
}
