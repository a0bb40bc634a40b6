//! Reads `[mqtt]`, `[results]` and `[[forward]]`: everything that names a broker or a topic.

use super::keys;
use super::reader::{At, Spot, TableReader};
use super::sections::*;
use super::stations::std_duration;
use super::subscribe;
use crate::reading::SECOND;
use crate::secret::{Location, Source};
use crate::tls;

const DAY: i64 = 86_400 * SECOND;

/// Longest topic that is accepted anywhere, in bytes (MQTT allows 65,535).
pub(super) const TOPIC_BYTES_MAX: usize = 1024;

pub(super) fn mqtt(root: &TableReader<'_, '_>, gateway: &str) -> Mqtt {
    let r = root.section("mqtt", &keys::MQTT);
    // One that is faulty may have been meant for TLS: then nothing is said about its files.
    let default = BrokerUrl { tls: r.has("url"), host: "127.0.0.1".to_owned(), port: 1883 };
    let url = url(&r).unwrap_or(default);
    let login = login(&r, url, format!("weir-{gateway}"));
    let keep_alive = whole_seconds(&r, "keep_alive", 5 * SECOND..=3600 * SECOND, "30s");
    let receive_maximum = r.integer("receive_maximum", 1..=65_534, 10_000);
    let session_expiry = whole_seconds(&r, "session_expiry", 60 * SECOND..=366 * DAY, "7d");
    let ack = r.choice(
        "ack",
        &[("after-commit", Acknowledge::AfterCommit), ("eager", Acknowledge::Eager)],
        &[],
    );
    if ack.as_ref().is_some_and(|at| at.value == Acknowledge::Eager) {
        r.cx.warn(
            "[mqtt] ack = \"eager\": a crash or power cut loses the messages received since the \
             last commit (about one batch.interval); \"after-commit\" loses none"
                .to_owned(),
        );
    }
    if login.version == MqttVersion::V4 && receive_maximum.is_some() {
        r.cx.warn(
            "[mqtt] receive_maximum has no effect with version = 4: MQTT 3.1.1 has none, so the \
             broker's own window (mosquitto: max_inflight_messages) limits each commit"
                .to_owned(),
        );
    }
    Mqtt {
        login,
        keep_alive: std_duration(keep_alive.unwrap_or(30 * SECOND)),
        receive_maximum: receive_maximum.map_or(10_000, |at| at.value as u16),
        session_expiry: std_duration(session_expiry.unwrap_or(7 * DAY)),
        ack: ack.map_or(Acknowledge::AfterCommit, |at| at.value),
        subscribe: subscribe::subscriptions(&r),
    }
}

fn whole_seconds(
    r: &TableReader<'_, '_>,
    key: &'static str,
    range: std::ops::RangeInclusive<i64>,
    example: &str,
) -> Option<i64> {
    let at = r.duration(key, range, example)?;
    if at.value % SECOND != 0 {
        r.cx.fault(&at.spot, "must be whole seconds", format!("write e.g. \"{example}\""));
        return None;
    }
    Some(at.value)
}

/// `None` when the key is absent (the caller knows whether it may be) or faulty (reported).
fn url(r: &TableReader<'_, '_>) -> Option<BrokerUrl> {
    const EXAMPLE: &str = "\"mqtt://127.0.0.1:1883\"";
    let at = r.text("url", EXAMPLE)?;
    let write = format!("write e.g. {EXAMPLE}");
    let (scheme, rest) = match at.value.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => {
            r.cx.fault(&at.spot, "must begin with mqtt:// or mqtts://", write);
            return None;
        }
    };
    let tls = match scheme.as_str() {
        "mqtt" => false,
        "mqtts" => true,
        _ => {
            let write = "write e.g. \"mqtts://broker.example:8883\" for TLS".to_owned();
            r.cx.fault(&at.spot, "must begin with mqtt:// or mqtts://", write);
            return None;
        }
    };
    if rest.contains('@') {
        r.cx.fault(
            &at.spot,
            "user name and password do not belong in the URL",
            "write them as username and password_file",
        );
        return None;
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').or(Some(""))),
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let bracketed = rest.starts_with('[');
    let host_good = if bracketed {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && !host.contains(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)))
    };
    let port = match port {
        None => Some(if tls { 8883 } else { 1883 }),
        Some(port) => port.parse::<u16>().ok().filter(|port| *port > 0),
    };
    match (host_good, port) {
        (true, Some(port)) => Some(BrokerUrl { tls, host: host.to_owned(), port }),
        (false, _) => {
            r.cx.fault(&at.spot, "has no valid host", write);
            None
        }
        (true, None) => {
            r.cx.fault(&at.spot, "the port must be from 1 to 65535", write);
            None
        }
    }
}

fn login(r: &TableReader<'_, '_>, url: BrokerUrl, client_id: String) -> Login {
    let version = r.integer("version", 4..=5, 5);
    let chosen = r.text("client_id", "\"weir-gw-01\"").and_then(|at| {
        let good = (1..=128).contains(&at.value.len()) && !at.value.contains(char::is_control);
        if !good {
            let what = "must have 1 to 128 characters: the broker keeps the session by it";
            r.cx.fault(&at.spot, what, "write e.g. \"weir-gw-01\"");
        }
        good.then_some(at.value)
    });
    let username = r.text("username", "\"weir\"");
    let password = r.text("password_file", "\"/etc/weir/broker.password\"");
    if let (Some(at), None) = (&password, &username) {
        r.cx.fault(&at.spot, "MQTT has no password without a user name", "write username too");
    }
    let password_file = password.and_then(|at| source(r, at));
    let files = tls_files(r, url.tls);
    let place = r.any("url").map_or_else(|| r.here().clone(), |at| at.spot);
    let loopback = url.host == "localhost"
        || url.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if password_file.is_some() && !url.tls && !loopback && !url.host.is_empty() {
        r.cx.warn(format!(
            "{}: the password crosses the network readable for everybody on the way: write \
             mqtts:// for TLS",
            place.path
        ));
    }
    Login {
        files,
        place: Place(r.cx.locate(&place)),
        url,
        version: match version {
            Some(at) if at.value == 4 => MqttVersion::V4,
            _ => MqttVersion::V5,
        },
        client_id: chosen.unwrap_or(client_id),
        username: username.map(|at| at.value),
        password_file,
    }
}

/// The file that a text names.
pub(super) fn source(r: &TableReader<'_, '_>, at: At<String>) -> Option<Source> {
    match Location::parse(&at.value) {
        Ok(location) => Some(Source { location, place: r.cx.locate(&at.spot) }),
        Err(what) => {
            let mend = "write e.g. \"/etc/weir/NAME\", or \"NAME\" with LoadCredential=NAME:/path in the unit";
            r.cx.fault(&at.spot, what, mend);
            None
        }
    }
}

/// `cert_file` and `key_file`, which go together.
pub(super) fn identity(r: &TableReader<'_, '_>, example: &str) -> Option<(Source, Source)> {
    let cert = r.text("cert_file", &format!("\"/etc/weir/{example}.pem\""));
    let key = r.text("key_file", &format!("\"/etc/weir/{example}.key\""));
    match (&cert, &key) {
        (Some(at), None) => {
            let mend = "write the file with the certificate's private key as key_file";
            r.cx.fault(&at.spot, "a certificate is of no use without its key", mend);
        }
        (None, Some(at)) => {
            let mend = "write the file with the key's certificate as cert_file";
            r.cx.fault(&at.spot, "a key is of no use without its certificate", mend);
        }
        _ => {}
    }
    let cert = cert.and_then(|at| source(r, at));
    let key = key.and_then(|at| source(r, at));
    cert.zip(key)
}

fn tls_files(r: &TableReader<'_, '_>, tls: bool) -> tls::Files {
    if !tls {
        for key in ["ca_file", "crl_file", "cert_file", "key_file"] {
            if let Some(at) = r.any(key) {
                let mend = "write url = \"mqtts://HOST:8883\", or remove it";
                r.cx.fault(&at.spot, "has no effect without TLS", mend);
            }
        }
    }
    let ca = r.text("ca_file", "\"/etc/weir/ca.pem\"").and_then(|at| source(r, at));
    let crl = r.text("crl_file", "\"/etc/weir/ca.crl\"").and_then(|at| source(r, at));
    tls::Files { ca, crl, identity: identity(r, "client") }
}

/// A topic to publish on: `{gateway}` filled in, no wildcards.
fn topic(r: &TableReader<'_, '_>, at: At<String>, gateway: &str, example: &str) -> Option<String> {
    let topic = at.value.replace("{gateway}", gateway);
    let what = if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX {
        "must have 1 to 1024 bytes"
    } else if topic.contains(['{', '}']) {
        "knows no name in braces but {gateway}"
    } else if topic.contains(['+', '#']) || topic.contains(char::is_control) {
        "is published on, so it cannot hold +, # or a control character"
    } else if topic.starts_with(['/', '$']) || topic.ends_with('/') {
        "must not begin with / or $ nor end with /"
    } else {
        return Some(topic);
    };
    r.cx.fault(&at.spot, what, format!("write e.g. \"{example}\""));
    None
}

pub(super) fn results(root: &TableReader<'_, '_>, gateway: &str) -> (Results, Option<Spot>) {
    let r = root.section("results", &keys::RESULTS);
    let enabled = r.boolean("enabled").is_none_or(|at| at.value);
    let prefix = r.text("prefix", "\"weir/{gateway}\"");
    let spot = prefix.as_ref().map(|at| at.spot.clone());
    let prefix = prefix.and_then(|at| topic(&r, at, gateway, "weir/{gateway}"));
    let format =
        r.choice("format", &[("json", ResultFormat::Json), ("cbor", ResultFormat::Cbor)], &[]);
    let min_interval = r.duration("min_interval", 0..=DAY, "2s");
    let kinds = kinds(
        &r,
        &[
            ("estimate", ResultKind::Estimate),
            ("aggregate", ResultKind::Aggregate),
            ("forecast", ResultKind::Forecast),
            ("alarm", ResultKind::Alarm),
        ],
    );
    let mut kinds = kinds.unwrap_or_else(|| ResultKind::ALL.to_vec());
    kinds.sort();
    kinds.dedup();
    let results = Results {
        enabled,
        prefix: prefix.unwrap_or_else(|| format!("weir/{gateway}")),
        format: format.map_or(ResultFormat::Json, |at| at.value),
        min_interval: std_duration(min_interval.map_or(2 * SECOND, |at| at.value)),
        kinds,
    };
    (results, spot)
}

fn kinds<T: Copy>(r: &TableReader<'_, '_>, names: &[(&str, T)]) -> Option<Vec<T>> {
    let example = format!("[\"{}\"]", names[0].0);
    let list = r.texts("kinds", &example)?;
    if list.value.is_empty() {
        r.cx.fault(&list.spot, "names nothing", format!("write e.g. {example}"));
    }
    let chosen = list.value.into_iter().filter_map(|at| r.chosen(at, names, &[]));
    Some(chosen.map(|at| at.value).collect())
}

/// A forward and where it was written.
pub(super) type PlacedForward = (Forward, Spot);

/// Most `[[forward]]` tables.
const FORWARDS_MAX: usize = 16;

pub(super) fn forwards(root: &TableReader<'_, '_>, gateway: &str) -> Vec<PlacedForward> {
    let mut forwards: Vec<PlacedForward> = Vec::new();
    for r in root.sections("forward", &keys::FORWARD) {
        let name = forward_name(&r);
        if let Some(at) = &name
            && forwards.iter().any(|(other, _)| other.name == at.value)
        {
            let mend = "give each [[forward]] a name of its own: its outbox is kept by it";
            r.cx.fault(&at.spot, "another [[forward]] has this name", mend);
        }
        if forwards.len() == FORWARDS_MAX {
            r.cx.fault_bare(r.here(), "more than 16 [[forward]] tables", "remove some");
        }
        let forward = forward(&r, name.map(|at| at.value).unwrap_or_default(), gateway);
        forwards.push((forward, r.here().clone()));
    }
    forwards
}

fn forward_name(r: &TableReader<'_, '_>) -> Option<At<String>> {
    if !r.has("name") {
        r.missing("name", "\"cloud\"");
    }
    let at = r.text("name", "\"cloud\"")?;
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    if (1..=32).contains(&at.value.len()) && at.value.chars().all(letter) {
        return Some(at);
    }
    let what = "must have 1 to 32 characters of a-z, 0-9, - and _: a folder is named after it";
    r.cx.fault(&at.spot, what, "write e.g. \"cloud\"");
    None
}

fn forward(r: &TableReader<'_, '_>, name: String, gateway: &str) -> Forward {
    if !r.has("type") {
        r.missing("type", "\"mqtt\"");
    }
    let later = "write \"mqtt\"";
    r.choice("type", &[("mqtt", ())], &[("http", later), ("file", later)]);
    if !r.has("url") {
        r.missing("url", "\"mqtt://upstream.example:1883\"");
    }
    let broker = url(r).unwrap_or(BrokerUrl { tls: true, host: String::new(), port: 8883 });
    let login = login(r, broker, format!("weir-{gateway}-{name}"));
    const TOPIC: &str = "fleet/{gateway}/aggregates";
    if !r.has("topic") {
        r.missing("topic", &format!("\"{TOPIC}\""));
    }
    let topic = r.text("topic", TOPIC).and_then(|at| topic(r, at, gateway, TOPIC));
    let max_message = r.size("max_message", 4 << 10..=64 << 20, "120KiB");
    let kinds = kinds(r, &[("aggregate", ForwardKind::Aggregate), ("alarm", ForwardKind::Alarm)]);
    if let Some(at) = r.integer("qos", 0..=2, 1)
        && at.value != 1
    {
        let what = "must be 1: the outbox lets a message go when upstream has acknowledged it";
        r.cx.fault(&at.spot, what, "write 1 or remove it");
    }
    let mut kinds = kinds.unwrap_or_else(|| ForwardKind::ALL.to_vec());
    kinds.sort();
    kinds.dedup();
    Forward {
        name,
        login,
        topic: topic.unwrap_or_default(),
        max_message: max_message.map_or(120 << 10, |at| at.value as usize),
        kinds,
    }
}
