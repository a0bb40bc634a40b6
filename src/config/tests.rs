use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::keys::{ALL, Form, Keys, title};
use super::*;
use crate::analytics::alarm::Severity;
use crate::analytics::settings::*;
use crate::decoder::settings::{Dedup, Format, Missing, TimeUnit, Values};
use crate::reading::SECOND;
use crate::secret::Location;

fn faults(text: &str) -> Vec<String> {
    match Config::from_text(text) {
        Ok(config) => panic!("no faults in {text:?}: {config:?}"),
        Err(faults) => faults.0.iter().map(Fault::to_string).collect(),
    }
}

#[track_caller]
fn check_fault(text: &str, expected: &str) {
    assert_eq!(faults(text), [expected], "in {text}");
}

fn config(text: &str) -> Config {
    Config::from_text(text).unwrap_or_else(|faults| panic!("{faults}"))
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn a_file_with_many_faults_reports_all_of_them_with_their_places() {
    let text = r##"[gateway]
idd = "gw"
time_zone = "Europe/Berln"

[batch]
interval = 2
max_readings = "many"

[mqtt]
url = "mqtt+ssl://broker"
password = "hunter2"

  [[mqtt.subscribe]]
  topics = ["s/{device}"]
  format = "senml"
  qos = 2
  value = "v"
  values = "*"

[outbox]
when_full = "merge"

[[profile]]
match = { metric = "t*" }
lateness = "2s"
hold = "-5s"
kalman = { gate = 0.2, modell = "level" }
windows = [{ size = "90m", align = "local" }, { size = "1m", quantiles = [0.5, 95] }]
forecast = { step = "7h" }

[[device]]
metric.temperature.valid = [5, 1]

[betch]
"##;
    let expected = r##"weir.toml:2:1: [gateway] idd: unknown key; did you mean id?
weir.toml:3:13: [gateway] time_zone = "Europe/Berln": no time zone has this name; did you mean "Europe/Berlin"?
weir.toml:6:12: [batch] interval = 2: a duration is a text with a unit; write e.g. "2s"
weir.toml:7:16: [batch] max_readings = "many": must be a whole number, not a text; write e.g. 65536
weir.toml:10:7: [mqtt] url = "mqtt+ssl://broker": must begin with mqtt:// or mqtts://; write e.g. "mqtts://broker.example:8883" for TLS
weir.toml:11:1: [mqtt] password: secrets do not belong in the configuration; put it into a file that only weir can read and write password_file = "/etc/weir/broker.password"
weir.toml:15:12: [[mqtt.subscribe]] format = "senml": not in this version; use a format of this version: json, cbor, csv or text
weir.toml:16:9: [[mqtt.subscribe]] qos = 2: must be 0 or 1: duplicates are recognised anyway; write 1
weir.toml:18:12: [[mqtt.subscribe]] values = "*": value and values exclude each other; keep one of the two
weir.toml:21:13: [outbox] when_full = "merge": not in this version; write "drop-oldest", and give max_bytes room for your longest outage
weir.toml:26:8: [[profile]] hold = "-5s": a duration must be zero or more; write e.g. "2s"
weir.toml:27:19: [[profile]] kalman.gate = 0.2: must be in [0.5, 1] (1: off); write e.g. 0.9999
weir.toml:27:24: [[profile]] kalman.modell: unknown key; did you mean model?
weir.toml:28:21: [[profile]] windows.size = "90m": a window with align = "local" must be whole days; write e.g. "1d", or align = "epoch"
weir.toml:28:80: [[profile]] windows.quantiles = 95: quantiles are probabilities, more than 0 and less than 1; write e.g. [0.5, 0.95]; min and max are always there
weir.toml:29:21: [[profile]] forecast.step = "7h": the horizon must be a whole number (one or more) of steps; write e.g. step = "1h" with horizon = "24h"
weir.toml:31:1: [[device]] id: missing; write e.g. id = "boiler-3"
weir.toml:32:28: [[device]] metric.temperature.valid = [5, 1]: must be two numbers, the lower one first; write e.g. [-40, 125]
weir.toml:34:2: betch: unknown table; did you mean batch?
19 faults in the configuration"##;
    let found = Config::from_text(text).unwrap_err().to_string();
    assert!(!found.contains("hunter2"), "a secret in {found}");
    assert_eq!(found, expected);
}

#[test]
fn faults_of_syntax_have_their_places_too() {
    let found = faults("[batch]\ninterval = 2s\n[gateway]\nid = \"a\"\nid = \"b\"\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("weir.toml:2:12: not TOML: "), "{found:?}");
    assert!(found[1].starts_with("weir.toml:5:1: not TOML: duplicate key"), "{found:?}");
    assert!(found[1].ends_with("; keep one of the two"), "{found:?}");
}

#[test]
fn columns_count_characters() {
    check_fault(
        "gateway = { tags = { ort = \"Köln-Süd\" }, ix = 1 }",
        "weir.toml:1:42: [gateway] ix: unknown key; known here: id, time_zone, tags",
    );
}

#[test]
fn single_faults() {
    let check = check_fault;
    check(
        "batch = 3",
        "weir.toml:1:9: batch = 3: must be a table, not a number; write [batch] on a line of its own",
    );
    check(
        "[profile]\nmatch = {}",
        "weir.toml:1:1: [[profile]]: must be a list of tables, not a table; write [[profile]], with two brackets, on a line of its own",
    );
    check(
        "log.interval = '2s'",
        "weir.toml:1:5: [log] interval: unknown key; interval belongs in [batch]",
    );
    check(
        "batch.interval = '2h'",
        "weir.toml:1:18: [batch] interval = '2h': must be from 100ms to 1m; write e.g. \"2s\"",
    );
    check(
        "batch.interval = '2'",
        "weir.toml:1:18: [batch] interval = '2': the number 2 has no unit (ns, us, ms, s, m, h, d); write e.g. \"2s\"",
    );
    check(
        "outbox.max_bytes = 1048576",
        "weir.toml:1:20: [outbox] max_bytes = 1048576: a size is a text with a unit; write e.g. \"1MiB\"",
    );
    check(
        "http.listen = '0.0.0.0:80'",
        "weir.toml:1:15: [http] listen = '0.0.0.0:80': beyond this machine the page needs TLS and a token; write cert_file, key_file and token_file, or \"127.0.0.1:80\", or \"unix:/run/weir/http.sock\" behind a proxy",
    );
    check(
        "http = { listen = '0.0.0.0:80', token_file = '/t' }",
        "weir.toml:1:19: [http] listen = '0.0.0.0:80': beyond this machine the page needs TLS and a token; write cert_file, key_file and token_file, or \"127.0.0.1:80\", or \"unix:/run/weir/http.sock\" behind a proxy",
    );
    check(
        "http.listen = 'unix:run/weir.sock'",
        "weir.toml:1:15: [http] listen = 'unix:run/weir.sock': needs an absolute path of at most 107 bytes behind unix:; write e.g. \"unix:/run/weir/http.sock\"",
    );
    check(
        "http.token = 'hunter2'",
        "weir.toml:1:6: [http] token: secrets do not belong in the configuration; put it into a file that only weir can read and write token_file = \"/etc/weir/page.token\"",
    );
    check(
        "mqtt = { url = 'mqtts://b', cert_file = '/c' }",
        "weir.toml:1:41: [mqtt] cert_file = '/c': a certificate is of no use without its key; write the file with the certificate's private key as key_file",
    );
    check(
        "mqtt = { url = 'mqtts://b', key_file = '/k' }",
        "weir.toml:1:40: [mqtt] key_file = '/k': a key is of no use without its certificate; write the file with the key's certificate as cert_file",
    );
    check(
        "mqtt.ca_file = '/ca'",
        "weir.toml:1:16: [mqtt] ca_file = '/ca': has no effect without TLS; write url = \"mqtts://HOST:8883\", or remove it",
    );
    check(
        "mqtt = { url = 'mqtts://b', insecure = true }",
        "weir.toml:1:29: [mqtt] insecure: there is no such switch: the broker's certificate is always verified; write the certificate of the authority that signed it as ca_file",
    );
    check(
        "mqtt = { url = 'mqtts://b', ca_file = 'certs/ca.pem' }",
        "weir.toml:1:39: [mqtt] ca_file = 'certs/ca.pem': must be an absolute path, or the bare name of a systemd credential; write e.g. \"/etc/weir/NAME\", or \"NAME\" with LoadCredential=NAME:/path in the unit",
    );
    check(
        "mqtt.url = 'mqtt://me:secret@host'",
        "weir.toml:1:12: [mqtt] url = 'mqtt://…@host': user name and password do not belong in the URL; write them as username and password_file",
    );
    check(
        "mqtt.password_file = 'p'",
        "weir.toml:1:22: [mqtt] password_file = 'p': MQTT has no password without a user name; write username too",
    );
    check(
        "state.path = 'weir'",
        "weir.toml:1:14: [state] path = 'weir': must be an absolute path; write e.g. \"/var/lib/weir\"",
    );
    check(
        "log.level = 'inf'",
        "weir.toml:1:13: [log] level = 'inf': must be \"info\" or \"error\" or \"warn\" or \"debug\" or \"trace\"; did you mean \"info\"?",
    );
    check(
        "series.retire_idle = '2m'",
        "weir.toml:1:22: [series] retire_idle = '2m': evict_idle must not be longer than retire_idle: a series goes early only under pressure; shorten evict_idle or lengthen retire_idle",
    );
    check(
        "results.prefix = 'a/+'",
        "weir.toml:1:18: [results] prefix = 'a/+': is published on, so it cannot hold +, # or a control character; write e.g. \"weir/{gateway}\"",
    );
    check(
        "batch.max_readings = 99999999999999999999",
        "weir.toml:1:22: [batch] max_readings = 99999999999999999999: must be from 1 to 1000000; write e.g. 65536",
    );
}

#[test]
fn faults_of_subscriptions() {
    let check = |keys: &str, expected: &str| {
        check_fault(&format!("[[mqtt.subscribe]]\n{keys}"), &format!("weir.toml:{expected}"));
    };
    let topics = "topics = ['s/{device}/{metric}']\n";
    check(
        &format!("{topics}format = 'json'"),
        "1:1: [[mqtt.subscribe]] value: missing; write e.g. value = \"/value\" (or values = { temperature = \"/t\" }, or values = \"*\")",
    );
    check(
        "value = '/v'",
        "1:1: [[mqtt.subscribe]] topics: missing; write e.g. topics = [\"sensors/{device}/{metric}\"]",
    );
    check(
        "value = '/v'\ntopics = ['s/{device}']",
        "3:11: [[mqtt.subscribe]] topics = 's/{device}': has no {metric}, and no metric is set; put {metric} into the topic, or write e.g. metric = \"/metric\" (in the payload) or metric = \"my-metric\"",
    );
    check(
        "value = '/v'\ntopics = ['s/#/x/{device}/{metric}']",
        "3:11: [[mqtt.subscribe]] topics = 's/#/x/{device}/{metric}': # must be the last level; write e.g. \"sensors/{device}/{metric}\"",
    );
    check(
        "value = '/v'\ntopics = ['s/{dev ice}']",
        "3:11: [[mqtt.subscribe]] topics = 's/{dev ice}': braces must hold a name of letters, digits and _, as in {device}; write e.g. \"sensors/{device}/{metric}\"",
    );
    check(
        &format!("{topics}value = 'a.b'"),
        "3:9: [[mqtt.subscribe]] value = 'a.b': must be a JSON pointer, which begins with / (\"\" is the whole payload); write \"/a/b\"",
    );
    check(
        &format!("{topics}value = '/v'\ndevice = '{{line}}-{{device}}'"),
        "4:10: [[mqtt.subscribe]] device = '{line}-{device}': the topic \"s/{device}/{metric}\" has no {line}; name the level in the topic, or use another name",
    );
    check(
        &format!("{topics}format = 'text'\nvalue = '/v'"),
        "4:9: [[mqtt.subscribe]] value = '/v': a text payload is the value; remove it",
    );
    check(
        &format!("{topics}value = '/v'\ndedup = 'time-value'"),
        "4:9: [[mqtt.subscribe]] dedup = 'time-value': cannot recognise repeats by their arrival time; write e.g. time = \"/ts\", or dedup = \"off\"",
    );
    check(
        &format!("{topics}values = '*'\nmetric = 'x'"),
        "4:10: [[mqtt.subscribe]] metric = 'x': has no effect with several values: their names are the metrics; remove it",
    );
    check(
        &format!("{topics}value = '/v'\nmissing = [true]"),
        "4:12: [[mqtt.subscribe]] missing = true: must be a number or a text, not a boolean; write e.g. [85, \"unavailable\"]",
    );
}

#[test]
fn faults_of_forwards_and_of_meeting_tables() {
    let forward = |name: &str, more: &str| {
        format!("[[forward]]\nname='{name}'\ntype='mqtt'\nurl='mqtt://up'\ntopic='t/x'\n{more}\n")
    };
    let check = |text: String, expected: &str| check_fault(&text, &format!("weir.toml:{expected}"));
    check(
        forward("a", "") + &forward("a", "client_id='b'"),
        "8:6: [[forward]] name = 'a': another [[forward]] has this name; give each [[forward]] a name of its own: its outbox is kept by it",
    );
    check(
        forward("a", "client_id='c'") + &forward("b", "client_id='c'"),
        "7:1: [[forward]]: its client_id \"c\" is used twice at mqtt://up:1883; give each a client_id of its own: a broker disconnects the older one",
    );
    check(
        forward("A b", ""),
        "2:6: [[forward]] name = 'A b': must have 1 to 32 characters of a-z, 0-9, - and _: a folder is named after it; write e.g. \"cloud\"",
    );
    check(
        forward("a", "qos = 0"),
        "6:7: [[forward]] qos = 0: must be 1: the outbox lets a message go when upstream has acknowledged it; write 1 or remove it",
    );
    check(
        "[[forward]]\nname='a'\ntype='http'\nurl='mqtt://up'\ntopic='t'".to_owned(),
        "3:6: [[forward]] type = 'http': not in this version; write \"mqtt\"",
    );
    let all = "gateway.id = 'g'\n[[mqtt.subscribe]]\nvalue=''\ndevice='d'\nmetric='m'\ntopics=";
    check(
        format!("{all}['#']"),
        "2:3: mqtt: the subscription \"#\" reads weir's own results below \"weir/g\"; set another [results] prefix, or narrow the topic",
    );
    for loops in [
        "weir/+/status",
        "weir/g/x/y/aggregate",
        "+/{a}/{b}/{c}/{d}",
        "$share/s/weir/{x+}",
        "weir/g/x/y/alarm/hot",
        "weir/+/+/+/alarm/+",
        "weir/+/alarm-input",
    ] {
        assert_eq!(faults(&format!("{all}['{loops}']")).len(), 1, "{loops}");
    }
    for fine in
        ["weir/other/#", "{a}/{b}/{c}/{d}", "weir/g/x/y/raw", "weir/g/x/y/raw/z", "sensors/#"]
    {
        config(&format!("{all}['{fine}']"));
    }
}

#[test]
fn a_forward_that_feeds_its_own_subscription_is_refused() {
    let text = "mqtt = { url = 'mqtt://b', subscribe = [{ topics = 'f/#', value = '', device = 'd', metric = 'm' }] }\n\
                [[forward]]\nname = 'a'\ntype = 'mqtt'\nurl = 'mqtt://b:1883'\ntopic = 'f/x'";
    check_fault(
        text,
        "weir.toml:2:1: [[forward]]: the subscription \"f/#\" reads what this sends; set another topic, or narrow the subscription",
    );
}

#[test]
fn tables_that_clash_where_they_meet_are_reported_at_the_one_that_brings_it_about() {
    let check =
        |tables: &str, expected: &str| check_fault(tables, &format!("weir.toml:{expected}"));
    // Each is fine by itself; every temperature has both.
    check(
        "[[profile]]\nmatch = {}\nlateness = '1s'\n[[profile]]\nmatch = { metric = 'temp' }\nhold = '2s'",
        "6:8: [[profile]] hold = '2s': must not be longer than lateness: a reading held longer would miss its pane; shorten hold or lengthen lateness",
    );
    check(
        "[[profile]]\nmatch = {}\nkalman.initial = { state = [1], covariance = [[1]] }\n[[device]]\nid = 'a'\nmetric.x.kalman = { model = 'trend' }",
        "6:29: [[device]] metric.x.kalman.model = 'trend': has 1 number(s) in state, the model has 2; give level for \"level\", level and trend per second for \"trend\"",
    );
    check(
        "[[profile]]\nmatch = {}\nforecast = { step = '30s', horizon = '1h', season = ['1d'] }",
        "3:53: [[profile]] forecast.season = ['1d']: the season has 2880 steps, at most 2016 are kept; lengthen step, shorten season, or write seasonal = \"none\"",
    );
    check(
        "[[profile]]\nmatch = {}\nforecast = { season = ['2h'], initial = { level = 1, season = [1] } }",
        "3:41: [[profile]] forecast.initial = { level = 1, season = [1] }: initial.season has 1 terms, the season has 2 steps; give one term for each step of the season, the first slot's first",
    );
    // A later table that mends it for all of them is no fault.
    config(
        "[[profile]]\nmatch = { metric = 'temp' }\nhold = '20s'\n[[profile]]\nmatch = {}\nlateness = '1m'",
    );
}

#[test]
fn faults_of_alarms() {
    let check = |keys: &str, expected: &str| {
        let text = format!("[[alarm]]\nmatch = {{ metric = 't' }}\n{keys}");
        check_fault(&text, &format!("weir.toml:{expected}"));
    };
    check_fault(
        "[[alarm]]\nabove = 1.0",
        "weir.toml:1:1: [[alarm]] match: missing; write e.g. match = { device = \"*\", metric = \"temperature\" }",
    );
    check("hold = '5m'", "1:1: [[alarm]] above: missing; write e.g. above = 80.0 (or below = 5.0)");
    check(
        "above = 1\nbelow = 1",
        "4:9: [[alarm]] below = 1: must be less than above: between the two nothing is wrong; write e.g. above = 80.0, below = 5.0",
    );
    check(
        "above = 1\nclear_below = 2",
        "4:15: [[alarm]] clear_below = 2: must be at most above: the alarm ends on the way back; write e.g. 1.0",
    );
    check(
        "below = 1\nclear_above = 0.5",
        "4:15: [[alarm]] clear_above = 0.5: must be at least below: the alarm ends on the way back; write e.g. 1.0",
    );
    check(
        "below = 1\nclear_below = 0",
        "4:15: [[alarm]] clear_below = 0: ends an alarm that above begins, and there is no above; write above too, or remove it",
    );
    check(
        "above = 80\nbelow = 5\nclear_below = 20\nclear_above = 30",
        "6:15: [[alarm]] clear_above = 30: leaves no value at which the alarm ends: clear_above is more than clear_below; lower clear_above or raise clear_below",
    );
    check(
        "above = 1\nname = 'drift'",
        "4:8: [[alarm]] name = 'drift': is the name of a built-in alarm; write e.g. \"too-hot\"",
    );
    check(
        "above = 1\nseverity = 'fatal'",
        "4:12: [[alarm]] severity = 'fatal': must be \"warning\" or \"info\" or \"critical\"; write \"warning\"",
    );
    check("above = 1\nholds = '1m'", "4:1: [[alarm]] holds: unknown key; did you mean hold?");
    check(
        "above = 1\n[[alarm]]\nmatch = { device = 'a' }\nname = 't-above'\nabove = 2",
        "4:1: [[alarm]]: another [[alarm]] that meets the same series is called \"t-above\" too; give each a name of its own: name = \"too-hot\"",
    );
    let many: String =
        (0..17).map(|i| format!("[[alarm]]\nmatch = {{}}\nname = 'a{i}'\nabove = {i}\n")).collect();
    check_fault(
        &many,
        "weir.toml:65:1: [[alarm]]: a series can have 16 of them, these have more; narrow their match, or remove some",
    );
}

#[test]
fn alarms_of_all_matching_tables_apply_in_order() {
    let config = config(
        "[[alarm]]\nmatch = { metric = 'temperature' }\nabove = 80.0\nclear_below = 78.0\nhold = '5m'\nwithin = '2h'\n\
         [[alarm]]\nmatch = { device = 'boiler-*' }\nname = 'cold'\nbelow = 5\nseverity = 'critical'\nrepeat_after = '1h'\n\
         [[alarm]]\nmatch = { device = 'x' }\nabove = 1\nbelow = 0\n\
         [[profile]]\nmatch = {}\nforecast = false",
    );
    let names = |device: &str, metric: &str| -> Vec<String> {
        config.settings(device, metric).thresholds.into_iter().map(|t| t.name).collect()
    };
    assert_eq!(names("boiler-1", "temperature"), ["temperature-above", "cold"]);
    assert_eq!(names("x", "y"), ["outside"]);
    assert_eq!(names("y", "y"), [""; 0]);
    let boiler = config.settings("boiler-1", "temperature");
    let hot = &boiler.thresholds[0];
    assert_eq!((hot.above, hot.clear_below, hot.below), (Some(80.0), Some(78.0), None));
    assert_eq!((hot.hold, hot.within), (300 * SECOND, Some(2 * HOUR)));
    assert_eq!((hot.severity, hot.repeat_after), (Severity::Warning, 0));
    let cold = &boiler.thresholds[1];
    assert_eq!((cold.severity, cold.repeat_after), (Severity::Critical, HOUR));
    let [warning] =
        &config.warnings.iter().filter(|w| w.contains("within")).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", config.warnings)
    };
    assert_eq!(
        warning.as_str(),
        "weir.toml:1 [[alarm]] within has no effect: these series have forecast = false"
    );
    let explained = explain(&config, "boiler-1", "temperature");
    let row = "{ name = \"cold\", below = 5.0, repeat_after = \"1h\", severity = \"critical\" }";
    assert!(explained.contains(row), "{explained}");
    let bytes = serde_cbor::to_vec(&config.layers).unwrap();
    assert_eq!(crate::cbor::from_slice::<Vec<Layer>>(&bytes).unwrap(), config.layers);
}

#[test]
fn settings_resolve_in_order_and_are_always_valid() {
    let config = config(
        "[[device]]\nid = 'b'\nunit = 'K'\nmetric.t.kalman.level_sd = 3\n\
         [[profile]]\nmatch = { device = ['a', 'b'], metric = 't?mp*' }\nhold = '20s'\nlateness = '30s'\n\
         [[profile]]\nmatch = { metric = 't*' }\nunit = 'C'\nkalman = { observation_sd = 0.5, level_sd = 1 }\nforecast = { step = '30m' }\n\
         [[profile]]\nmatch = { device = 'c' }\nlateness = '1s'\nforecast = false\n\
         [[profile]]\nmatch = { device = 'c*' }\nforecast = { horizon = '2h' }",
    );
    assert_eq!(config.settings("x", "y"), Settings::default());
    let b = config.settings("b", "t");
    assert_eq!(b.unit.as_deref(), Some("K"), "devices come after profiles");
    assert_eq!((b.kalman.observation_sd, b.kalman.level_sd), (Some(0.5), Some(3.0)));
    assert_eq!(config.settings("b", "temp").hold, 20 * SECOND);
    assert_eq!(config.settings("b", "temp").kalman.level_sd, Some(1.0));
    let c = config.settings("c", "t").forecast.unwrap();
    assert_eq!((c.horizon, c.step), (2 * HOUR, HOUR), "switched on again, from the defaults");
}

#[test]
fn odd_meetings_are_settled() {
    let layer = |patch| Layer {
        origin: "o".to_owned(),
        device: vec!["*".to_owned()],
        metric: vec!["*".to_owned()],
        patch,
    };
    let forecast = ForecastPatch {
        enabled: Some(true),
        step: Some(7 * HOUR),
        season: Some(vec![24 * HOUR]),
        horizon: Some(24 * HOUR),
        ..ForecastPatch::default()
    };
    let kalman = KalmanPatch {
        initial: Some(KalmanInitial { state: vec![1.0, 2.0], covariance: vec![] }),
        ..KalmanPatch::default()
    };
    let layers = [
        layer(Patch { hold: Some(9 * SECOND), kalman, ..Patch::default() }),
        layer(Patch { lateness: Some(3 * SECOND), forecast, ..Patch::default() }),
    ];
    let settings = Settings::resolve(&layers, "a", "b");
    assert_eq!(settings.conflicts(), []);
    assert_eq!(settings.hold, 3 * SECOND);
    assert_eq!(settings.kalman.initial, None);
    let forecast = settings.forecast.unwrap();
    assert_eq!((forecast.seasonal, forecast.horizon), (Seasonal::None, 28 * HOUR));
}

/// What the README shows can be pasted, all of it into one file.
#[test]
fn the_readme_is_a_configuration() {
    let text = std::fs::read_to_string(repository("README.md")).unwrap();
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let all = blocks.collect::<Vec<_>>().join("\n");
    assert!(all.contains("[[derive]]") && all.contains("[[forward]]"), "{all}");
    assert!(config(&all).warnings.is_empty(), "{:?}", config(&all).warnings);
}

#[test]
fn layers_survive_the_journal_and_write_only_what_is_set() {
    let text = std::fs::read_to_string(repository("configs/greenhouse.toml")).unwrap();
    let layers = config(&text).layers;
    let bytes = serde_cbor::to_vec(&layers).unwrap();
    assert_eq!(crate::cbor::from_slice::<Vec<Layer>>(&bytes).unwrap(), layers);
    let json = serde_json::to_string(&config("[[profile]]\nmatch = {}\nhold = '1s'").layers);
    // The stored format: change it only with the engine version.
    let stored = r#"[{"origin":"weir.toml:1 [[profile]]","device":["*"],"metric":["*"],"patch":{"hold":1000000000}}]"#;
    assert_eq!(json.unwrap(), stored);
}

#[test]
fn a_full_subscription_is_read() {
    let text = "[[mqtt.subscribe]]\ntopics = ['$share/g/plant/{site}/{device+}']\nqos = 0\nformat = 'cbor'\n\
        values = { t = '/t', h = '/h' }\ntime = '/ts'\ntime_unit = 'rfc3339'\ndevice = '{site}-{device}'\n\
        records = ''\nmap = { ON = 1, OFF = 0 }\nmissing = [85, 'none']\nretained = true\n\
        dedup = 'off'\nmax_payload = '1KiB'\nmax_readings = 5";
    let config = config(text);
    let [s] = &config.mqtt.subscribe[..] else { panic!("one subscription") };
    assert_eq!(s.topics, ["$share/g/plant/{site}/{device+}"]);
    assert_eq!((s.qos, s.format, s.time_unit), (0, Format::Cbor, TimeUnit::Rfc3339));
    let named = BTreeMap::from([("t".into(), "/t".into()), ("h".into(), "/h".into())]);
    assert_eq!(s.values, Values::Named(named));
    assert_eq!((s.time.as_deref(), s.records.as_deref()), (Some("/ts"), Some("")));
    assert_eq!(s.device, "{site}-{device}");
    assert_eq!(s.map["ON"], 1.0);
    assert_eq!(s.missing, [Missing::Number(85.0), Missing::Text("none".into())]);
    assert!(s.retained && s.dedup == Dedup::Off);
    assert_eq!((s.max_payload, s.max_readings), (1024, 5));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].starts_with("weir.toml:3 [[mqtt.subscribe]] qos = 0"));
}

#[test]
fn warnings_name_what_is_likely_not_meant() {
    let text = "outbox.max_bytes = '1GiB'\nmqtt = { version = 4, receive_maximum = 9, ack = 'eager' }\n\
                results.enabled = false\n[[profile]]\nmatch = {}\nkalman.trend_sd = 1";
    let warnings = config(text).warnings.join("\n");
    for part in [
        "[outbox] is not used",
        "receive_maximum has no effect",
        "\"eager\"",
        "nothing is read",
        "nothing leaves",
        "weir.toml:6 [[profile]] kalman.trend_sd",
    ] {
        assert!(warnings.contains(part), "{part} in {warnings}");
    }
}

#[test]
fn a_group_of_what_is_computed_is_warned_of() {
    let warned = |group: &str, derive: &str| {
        let text = format!(
            "[[group]]\nname = 'hall'\n{group}\n[[derive]]\n{derive}\nexpression = 'u * i'"
        );
        let warnings = config(&text).warnings;
        warnings.iter().find(|w| w.contains("[[group]]")).cloned()
    };
    let (power, meters) = ("name = 'power'", "match = { device = 'meter-*', metric = 'power' }");
    assert_eq!(
        warned(meters, power).as_deref(),
        Some(
            "weir.toml:2 [[group]] name has no power of devices where a [[derive]] computes power: a group \
             counts readings"
        )
    );
    assert_eq!(warned("match = { device = 'meter-*' }", power), None);
    assert_eq!(warned(meters, "name = 'energy'"), None);
    assert_eq!(warned(meters, "name = 'power'\ndevice = 'pump-*'"), None);
}

#[test]
fn urls() {
    let check = |url: &str, expected: &str| {
        assert_eq!(config(&format!("mqtt.url = '{url}'")).mqtt.login.url.to_string(), expected);
    };
    check("mqtt://broker", "mqtt://broker:1883");
    check("mqtt://10.0.0.1:1884/", "mqtt://10.0.0.1:1884");
    check("MQTT://[::1]:99", "mqtt://[::1]:99");
    check("mqtt://[::1]", "mqtt://[::1]:1883");
    for bad in [
        "broker:1883",
        "tcp://b",
        "mqtt://",
        "mqtt://b:0",
        "mqtt://b:x",
        "mqtt://::1",
        "mqtt://b/path",
        "mqtt://[::1]9",
    ] {
        assert_eq!(faults(&format!("mqtt.url = '{bad}'")).len(), 1, "{bad}");
    }
}

#[test]
fn files_of_conf_d_follow_in_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "weir.toml",
        "gateway = { id = 'main', tags = { a = '1', b = '1' } }\nbatch.interval = '1s'\n[[profile]]\nmatch = {}\nunit = '0'",
    );
    write("conf.d/20-b.toml", "gateway.tags.b = '20'\n[[profile]]\nmatch = {}\nunit = '20'");
    write(
        "conf.d/10-a.toml",
        "gateway = { id = 'ten', tags = { b = '10', c = '10' } }\n[[profile]]\nmatch = {}\nunit = '10'",
    );
    write("conf.d/.30.toml", "broken");
    write("conf.d/readme.txt", "broken");
    let main = folder.path().join("weir.toml");
    let config = Config::load(&main).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.gateway.id, "ten");
    let tags: Vec<_> = config.gateway.tags.values().map(String::as_str).collect();
    assert_eq!(tags, ["1", "20", "10"]);
    assert_eq!(config.batch.interval.as_secs(), 1);
    let origins: Vec<_> = config.layers.iter().map(|layer| layer.origin.as_str()).collect();
    assert_eq!(
        origins,
        ["weir.toml:3 [[profile]]", "10-a.toml:2 [[profile]]", "20-b.toml:2 [[profile]]"]
    );

    write("conf.d/40.toml", "[batch]\nintervall = '1s'\n");
    let found = Config::load(&main).unwrap_err().to_string();
    let place = folder.path().join("conf.d/40.toml");
    let start = format!(
        "{}:2:1: [batch] intervall: unknown key; did you mean interval?\n1 fault in",
        place.display()
    );
    assert!(found.starts_with(&start), "{found}");
    let missing = Config::load(&folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml: cannot be read"), "{missing}");
}

#[test]
fn a_file_is_an_absolute_path_or_a_credential() {
    let text = "mqtt = { url = 'mqtts://b', username = 'u', password_file = 'broker.password', ca_file = '/ca' }";
    let config = Config::from_texts(&[("/etc/weir/weir.toml", text)]).unwrap();
    let login = &config.mqtt.login;
    let password = login.password_file.as_ref().unwrap();
    assert_eq!(password.location, Location::Credential("broker.password".to_owned()));
    assert_eq!(password.place, "/etc/weir/weir.toml:1:61: [mqtt] password_file");
    assert_eq!(login.files.ca.as_ref().unwrap().location, Location::Path("/ca".into()));
    assert_eq!(login.url.to_string(), "mqtts://b:8883");
}

#[test]
fn a_password_in_clear_over_the_network_is_warned_of() {
    let warned = |url: &str| {
        let text = format!("mqtt = {{ url = '{url}', username = 'u', password_file = '/p' }}");
        config(&text)
            .warnings
            .iter()
            .any(|warning| warning.contains("password crosses the network"))
    };
    assert!(warned("mqtt://broker.example"));
    for url in ["mqtts://broker.example", "mqtt://127.0.0.1", "mqtt://localhost", "mqtt://[::1]"] {
        assert!(!warned(url), "{url}");
    }
}

#[test]
fn the_page_listens_elsewhere_with_tls_and_token() {
    let files = "cert_file = '/c', key_file = '/k', token_file = 'page.token'";
    let http = config(&format!("http = {{ listen = '0.0.0.0:443', {files} }}")).http;
    assert_eq!(http.listen, Some(Listen::Tcp("0.0.0.0:443".parse().unwrap())));
    assert!(http.tls.is_some() && http.token.is_some());
    let http = config("http.listen = 'unix:/run/weir/http.sock'").http;
    assert_eq!(http.listen, Some(Listen::Unix("/run/weir/http.sock".into())));
}

#[test]
fn inputs_of_lines_are_read_with_what_they_need() {
    let input = |text: &str| config(&format!("[[tcp]]\n{text}")).tcp[0].clone();
    let json = input("listen = '127.0.0.1:9378'\nvalue = '/v'");
    assert_eq!(json.listen, Some(Listen::Tcp("127.0.0.1:9378".parse().unwrap())));
    assert_eq!((json.lines.device.as_str(), json.lines.metric.as_str()), ("/device", "/metric"));
    assert_eq!((json.name.as_str(), json.ack), ("tcp", LineAcknowledge::Off));
    let csv = input(
        "listen = 'unix:/run/x'\nformat = 'csv'\ntime = '0'\ndevice = '/1'\nmetric = 'power'\nvalue = '2'",
    );
    assert_eq!(csv.lines.values, Values::One("2".to_owned()));
    let text = input("listen = 'systemd'\nformat = 'text'\ndevice = 'd'\nmetric = 'm'");
    assert_eq!(text.listen, None);
    let files = "cert_file = '/c'\nkey_file = '/k'\nvalue = '/v'";
    let token = input(&format!("listen = '0.0.0.0:9378'\n{files}\ntoken_file = '/t'"));
    assert!(token.tls.is_some() && token.token.is_some());
    let clients = "client_ca_file = '/ca'\nclient_crl_file = '/crl'";
    let clients = input(&format!("listen = '[::]:9378'\n{files}\n{clients}"));
    assert!(clients.clients.is_some_and(|clients| clients.crl.is_some()));
}

#[test]
fn faults_of_inputs_of_lines() {
    let check = |text: &str, fault: &str| {
        check_fault(&format!("[[tcp]]\nvalue = '/v'\n{text}"), &format!("weir.toml:{fault}"));
    };
    check(
        "listen = '0.0.0.0:9378'",
        "3:10: [[tcp]] listen = '0.0.0.0:9378': beyond this machine an input needs TLS and a token or client certificates; write cert_file, key_file, and token_file or client_ca_file, or \"127.0.0.1:9378\", or \"unix:/run/weir/tcp.sock\"",
    );
    check(
        "listen = '[::]:9378'\ntoken_file = '/t'",
        "3:10: [[tcp]] listen = '[::]:9378': beyond this machine an input needs TLS and a token or client certificates; write cert_file, key_file, and token_file or client_ca_file, or \"[::1]:9378\", or \"unix:/run/weir/tcp.sock\"",
    );
    check("name = 'plc'", "1:1: [[tcp]] listen: missing; write e.g. listen = \"127.0.0.1:9378\"");
    let listen = "listen = '127.0.0.1:1'";
    check(
        &format!("{listen}\nname = 'http'"),
        "4:8: [[tcp]] name = 'http': must have 1 to 32 characters of a-z, 0-9, - and _, and not be the page's, http; write e.g. \"tcp\"",
    );
    check(
        &format!("{listen}\nformat = 'cbor'"),
        "4:10: [[tcp]] format = 'cbor': has no lines; write \"json\", \"csv\" or \"text\"",
    );
    check(
        &format!("{listen}\ndevice = '{{device}}'"),
        "4:10: [[tcp]] device = '{device}': a line has no topic, so there is no {device}; write e.g. \"/device\"",
    );
    check(
        &format!("{listen}\nclient_ca_file = '/ca'"),
        "4:18: [[tcp]] client_ca_file = '/ca': client certificates come with TLS alone; write cert_file and key_file, or remove it",
    );
    check(
        &format!("{listen}\ntopics = ['a']"),
        "4:1: [[tcp]] topics: a line has no topic; name device and metric by pointers into the line",
    );
    check(
        "listen = 'off'",
        "3:10: [[tcp]] listen = 'off': must be an address with a port, unix:/PATH, or \"systemd\"; write e.g. \"127.0.0.1:9378\"",
    );
    let two = format!("{listen}\n[[tcp]]\nname = 'b'\nvalue = '/v'\n{listen}");
    check(
        &two,
        "7:10: [[tcp]] listen = '127.0.0.1:1': another [[tcp]] listens there; give each an address of its own",
    );
    let csv = |rest: &str| format!("[[tcp]]\n{listen}\nformat = 'csv'\nmetric = 'm'\n{rest}");
    let named = "each line is read by itself, without a header; number the columns from 0: \"0\"";
    check_fault(
        &csv("device = '/id'\nvalue = '1'"),
        &format!("weir.toml:5:10: [[tcp]] device = '/id': {named}"),
    );
    check_fault(
        &csv("device = 'd'\nvalue = '1'\ntime = 'ts'"),
        &format!("weir.toml:7:8: [[tcp]] time = 'ts': {named}"),
    );
}

#[test]
fn explain_names_every_value_and_where_it_comes_from() {
    let config = config(
        "[[profile]]\nmatch = { metric = 'temp*' }\nunit = '°C'\nvalid = [-40, 125]\n\
         kalman = { observation_sd = 0.5 }\nforecast = { step = '30m' }\n\
         windows = [{ size = '1m' }, { size = '1d', align = 'local' }]\n\
         [[device]]\nid = 'boiler-3'\nmetric.temperature.kalman = { observation_sd = 1.0 }",
    );
    let expected = r#"boiler-3/temperature
  unit                   "°C"                                weir.toml:1 [[profile]]
  kind                   "auto"                              default
  scale                  1.0                                 default
  offset                 0.0                                 default
  valid                  [-40.0, 125.0]                      weir.toml:1 [[profile]]
  lateness               "5s"                                default
  hold                   "0s"                                default
  kalman.model           "level"                             default
  kalman.observation_sd  1.0                                 weir.toml:10 [[device]] metric.temperature
  kalman.level_sd        (estimated)                         default
  kalman.gate            0.9999                              default
  kalman.outliers        "gate"                              default
  kalman.initial         (exact diffuse)                     default
  windows                [{ size = "1m" },                   weir.toml:1 [[profile]]
                          { size = "1d", align = "local" }]
  forecast.step          "30m"                               weir.toml:1 [[profile]]
  forecast.season        "auto"                              default
  forecast.trend         "damped"                            default
  forecast.seasonal      "auto"                              default
  forecast.horizon       "1d"                                default
  forecast.nominal       0.95                                default
  forecast.smoothing     "auto"                              default
  forecast.log           "auto"                              default
  forecast.robust        true                                default
  forecast.initial       (from the first seasons)            default
"#;
    assert_eq!(explain(&config, "boiler-3", "temperature"), expected);
    let off = Config::from_text("[[profile]]\nmatch = {}\nforecast = false").unwrap();
    let line = "\n  forecast               false";
    assert!(explain(&off, "x", "y").contains(line), "{}", explain(&off, "x", "y"));
}

#[test]
fn a_filter_over_several_metrics_is_explained_with_its_metrics() {
    let text = "[[profile]]\nmatch = { device = 'cart-*' }\nlateness = '7s'\n[profile.kalman]\nmodel = 'custom'\n\
                name = 'motion'\nmetrics = ['position', 'speed']\nper_second = true\nF = [[0, 1], [0, 0]]\n\
                H = [[1, 0], [0, 1]]\nQ = [[0, 0], [0, 0.09]]\nR = [[0.0004, 0], [0, 0.01]]\n";
    let config = Config::from_text(text).unwrap();
    let part_of = "filter \"motion\" over [\"position\", \"speed\"]";
    let line = |device: &str, metric: &str| {
        let text = explain(&config, device, metric);
        text.lines().find(|line| line.trim_start().starts_with("part of")).map(str::to_owned)
    };
    for metric in ["position", "speed"] {
        let line = line("cart-1", metric).expect(metric);
        assert!(line.contains(part_of) && line.contains("weir.toml:1 [[profile]]"), "{line}");
    }
    assert_eq!((line("cart-1", "voltage"), line("boiler-1", "speed")), (None, None));
    let own = explain(&config, "cart-1", "motion");
    assert!(own.starts_with("cart-1/motion: a filter over several metrics\n"), "{own}");
    for (key, value) in [
        ("kalman.metrics", "[\"position\", \"speed\"]"),
        ("kalman.custom", "R = [[0.0004, 0.0], [0.0, 0.01]], per_second = true"),
        ("kalman.gate", "0.9999"),
        ("lateness", "\"7s\""),
    ] {
        let has = |line: &str| line.trim_start().starts_with(key) && line.contains(value);
        assert!(own.lines().any(has), "{key}\n{own}");
    }
    assert!(!own.contains("forecast"), "{own}");
    assert!(explain(&config, "boiler-1", "motion").contains("forecast.step"), "an ordinary series");
}

#[test]
fn kinds_scale_and_sliding_windows() {
    let profile = |text: &str| format!("[[profile]]\nmatch = {{}}\n{text}");
    let check = |text: &str, expected: &str| check_fault(&profile(text), expected);
    let settings = config(&profile(
        "kind = 'counter'\nscale = 0.1\noffset = -40\nwrap = 65536\n\
         windows = [{ size = '1h', slide = '5m', time_weighted = true }]",
    ));
    let settings = settings.settings("d", "m");
    assert_eq!((settings.kind, settings.scale), (KindSetting::Counter, 0.1));
    assert_eq!((settings.offset, settings.wrap), (-40.0, Some(65536.0)));
    let window = &settings.windows[0];
    assert_eq!((window.pane_size(), window.view_panes()), (300 * SECOND, 12));
    assert!(window.time_weighted);
    check(
        "scale = 0",
        "weir.toml:3:9: [[profile]] scale = 0: must be a number other than 0; write e.g. 0.1",
    );
    check(
        "windows = [{ size = '1h', slide = '7m' }]",
        "weir.toml:3:35: [[profile]] windows.slide = '7m': size must be a whole number (two or more) of slides; write e.g. { size = \"1h\", slide = \"5m\" }",
    );
    check(
        "windows = [{ size = '7d', slide = '12h', align = 'local' }]",
        "weir.toml:3:35: [[profile]] windows.slide = '12h': a window with align = \"local\" must slide by whole days; write e.g. { size = \"7d\", slide = \"1d\", align = \"local\" }, or align = \"epoch\"",
    );
    for (windows, fault) in [
        (
            "{ size = '5m' }, { size = '1h', slide = '5m' }",
            "another window has panes of this slide",
        ),
        ("{ size = '1d', slide = '1m' }", "together have 1440 panes"),
        (
            "{ size = '1h', slide = '2m', quantiles = [0.5] }",
            "with quantiles together have 30 panes",
        ),
    ] {
        let found = faults(&profile(&format!("windows = [{windows}]")));
        assert!(found.len() == 1 && found[0].contains(fault), "{found:?}");
    }
    let warned = config(&profile("kind = 'gauge'\nwrap = 65536"));
    let wrap = |warning: &String| warning.contains("wrap has no effect");
    assert!(warned.warnings.iter().any(wrap), "{:?}", warned.warnings);
}

#[test]
fn a_state_is_modelled_where_that_is_asked_for_it() {
    let asked = |text: &str| {
        let settings = config(text).settings("d", "m");
        (settings.kalman_asked, settings.forecast_asked)
    };
    let all = "[[profile]]\nmatch = {}\nkalman = { gate = 0.99 }\nforecast = { step = '30m' }\n";
    let state = "[[profile]]\nmatch = { metric = 'm' }\nkind = 'state'\n";
    assert_eq!(asked(all), (false, false));
    assert_eq!(asked(&format!("{all}{state}")), (false, false), "set for whatever it may be");
    assert_eq!(asked(&format!("{state}{all}")), (true, true));
    assert_eq!(asked(&format!("{state}kalman.gate = 0.99")), (true, false));
    assert_eq!(asked(&format!("{state}[[device]]\nid = 'd'\nforecast = true")), (false, true));
}

#[test]
fn the_examples_load_without_warnings() {
    let mut loaded = 0;
    for entry in std::fs::read_dir(repository("configs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let config = Config::load(&path).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(config.warnings, Vec::<String>::new(), "{}", path.display());
        loaded += 1;
    }
    assert_eq!(loaded, 6);
}

/// Uncommenting the start configuration must give a good one: its comments are promises.
#[test]
fn the_start_configuration_loads_with_its_comments_taken_off() {
    let text = std::fs::read_to_string(repository("configs/weir.toml")).unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") || rest.starts_with("[[") => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = Config::from_texts(&[("configs/weir.toml", &uncommented)]);
    let config = config.unwrap_or_else(|faults| panic!("{faults}\n{uncommented}"));
    assert_eq!(config.layers.len(), 2);
    assert!(config.mqtt.subscribe[0].records.is_some());
}

/// A key is read when a date, which no key takes, is a fault at that key.
#[test]
fn every_listed_key_is_read() {
    for keys in ALL {
        for key in keys.keys {
            let text = place_key(keys, key, "1979-05-27");
            let found = Config::from_text(&text).err().map(|faults| faults.to_string());
            let found = found.unwrap_or_default();
            let named = found.lines().any(|line| {
                (line.contains(&format!("{key} = 1979-05-27"))
                    || line.contains(&format!("{key}: must be a")))
                    && line.contains("must be")
            });
            let list =
                found.contains(&format!("{}: must be a list of tables", title_of(keys, key)));
            assert!(named || list, "{} {key}: {text}\n{found}", keys.table);
        }
    }
}

fn title_of(keys: &Keys, key: &str) -> String {
    if keys.table.is_empty() { title(key) } else { title(&format!("{}.{key}", keys.table)) }
}

/// A configuration in which `key` of a table has a value, and all that it needs to be read.
fn place_key(keys: &Keys, key: &str, value: &str) -> String {
    let assignment = format!("{key} = {value}");
    let required = |needed: &[(&str, &str)]| {
        let rest = needed.iter().filter(|(name, _)| *name != key);
        rest.fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name} = {value}");
            text
        })
    };
    let profile = "[[profile]]\nmatch = {}\n";
    match keys.table {
        "" => assignment,
        "mqtt.subscribe" => {
            let topics = ("topics", "['{device}/{metric}']");
            let time = if key == "time_unit" { ("time", "'/t'") } else { topics };
            let value = if key == "values" { topics } else { ("value", "'/v'") };
            let mut needed = vec![topics, time, value];
            needed.dedup();
            format!("[[mqtt.subscribe]]\n{}{assignment}", required(&needed[..]))
        }
        "forward" => {
            let needed = [
                ("name", "'a'"),
                ("type", "'mqtt'"),
                ("url", "'mqtt://u'"),
                ("topic", "'t'"),
                ("username", "'u'"),
            ];
            format!("[[forward]]\n{}{assignment}", required(&needed))
        }
        "tcp" => {
            let value = if key == "values" { ("listen", "") } else { ("value", "'/v'") };
            let time = if key == "time_unit" { ("time", "'/t'") } else { value };
            let mut needed = vec![("listen", "'127.0.0.1:1'"), value, time];
            needed.retain(|(_, value)| !value.is_empty());
            needed.dedup();
            format!("[[tcp]]\n{}{assignment}", required(&needed[..]))
        }
        "profile" => format!("[[profile]]\n{}{assignment}", required(&[("match", "{}")])),
        "group" => {
            let needed = [("name", "'g'"), ("match", "{}")];
            format!("[[group]]\n{}{assignment}", required(&needed))
        }
        "derive" => {
            let needed = [("name", "'p'"), ("expression", "'u * i'")];
            format!("[[derive]]\n{}{assignment}", required(&needed))
        }
        "match" => format!("[[profile]]\nmatch = {{ {assignment} }}"),
        "device" => format!("[[device]]\n{}{assignment}", required(&[("id", "'d'")])),
        "device.metric" => format!("[[device]]\nid = 'd'\nmetric.m = {{ {assignment} }}"),
        "windows" if key == "size" => format!("{profile}windows = [{{ {assignment} }}]"),
        "windows" => format!("{profile}windows = [{{ size = '1m', {assignment} }}]"),
        "forecast.smoothing" if key != "alpha" => {
            format!("{profile}forecast.smoothing = {{ alpha = 0.5, {assignment} }}")
        }
        "forecast.initial" if key != "level" => {
            let resumed = ["longer", "sd", "smoothing"].contains(&key);
            let at = match (resumed, key) {
                (false, _) => "",
                (true, "sd") => "at = '2026-03-01T00:00:00Z', ",
                (true, _) => "at = '2026-03-01T00:00:00Z', sd = 0.5, ",
            };
            format!(
                "{profile}forecast = {{ seasonal = 'none', initial = {{ level = 1, {at}{assignment} }} }}"
            )
        }
        table if keys.form == Form::Inline => format!("{profile}{table} = {{ {assignment} }}"),
        "alarm" => {
            let limit = if key == "clear_above" { "below" } else { "above" };
            format!("[[alarm]]\n{}{assignment}", required(&[("match", "{}"), (limit, "1")]))
        }
        "mqtt" => format!("[mqtt]\n{}{assignment}", required(&[("username", "'u'")])),
        table => format!("[{table}]\n{assignment}"),
    }
}

/// The rows of the reference: section, key, default.
fn reference() -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(repository("docs/configuration.md")).unwrap();
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches('`').to_owned();
        }
        let row = line.strip_prefix("| ").and_then(|row| row.strip_suffix('|')).unwrap_or("");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let key = cells[0].strip_prefix('`').and_then(|cell| cell.strip_suffix('`'));
        if let Some(key) = key {
            assert_eq!(cells.len(), 5, "five columns in {line}");
            rows.push((section.clone(), key.to_owned(), cells[2].to_owned()));
        }
    }
    rows
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let rows = reference();
    let mut documented = 0;
    for keys in ALL {
        let section = if keys.table.is_empty() { "Tables".to_owned() } else { title(keys.table) };
        let mut found: Vec<&str> =
            rows.iter().filter(|row| row.0 == section).map(|row| row.1.as_str()).collect();
        let mut known = keys.keys.to_vec();
        found.sort_unstable();
        known.sort_unstable();
        assert_eq!(found, known, "keys of {section} in docs/configuration.md");
        documented += found.len();
    }
    assert_eq!(documented, rows.len(), "sections of tables that are not known");
}

#[test]
fn the_defaults_of_the_reference_are_the_defaults() {
    let mut compared = 0;
    for (section, key, default) in reference() {
        let literal = default.strip_prefix('`').and_then(|d| d.strip_suffix('`'));
        let Some(literal) = literal.filter(|d| !d.contains('`')) else { continue };
        let Some(keys) = ALL.iter().find(|keys| title(keys.table) == section) else { continue };
        let with = place_key(keys, &key, literal);
        let written = config(&with);
        let without = with.replace(&format!("{key} = {literal}"), "");
        assert_ne!(with, without);
        let mut absent = config(&without);
        // Line numbers and the use of a table may differ, settings may not.
        absent.warnings.clone_from(&written.warnings);
        let settings = |c: &Config| c.settings("d", "m");
        assert_eq!(settings(&written), settings(&absent), "{section} {key}");
        if matches!(keys.form, Form::Table)
            || ["mqtt.subscribe", "tcp", "forward"].contains(&keys.table)
        {
            assert_eq!(written, absent, "{section} {key}");
        }
        compared += 1;
    }
    assert!(compared > 45, "only {compared} defaults were found in the reference");
}

#[test]
fn the_default_id_tells_cloned_hosts_apart_without_giving_the_machine_id_away() {
    let id = config("").gateway.id;
    assert!(!id.is_empty() && id.len() <= 64, "{id}");
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    if machine.trim().len() > 6 {
        assert_eq!(id.rsplit('-').next().map(str::len), Some(6), "{id}");
        assert!(!machine.contains(id.rsplit('-').next().unwrap_or("-")), "{id}");
    }
}

#[test]
fn the_configuration_for_tests_touches_nothing_of_the_machine() {
    let config = Config::default_for_tests();
    assert_eq!(config.gateway.id, "test");
    assert_eq!((config.http.listen, config.clock.trust), (None, Trust::Always));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(\\[\\[?(profile|mqtt\\.subscribe|device|batch)\\]\\]?\n|[a-z_.]{1,9} = (\"[*{}/a-z0-9]{0,6}\"|[0-9.-]{1,4}|\\[\\]|\\{\\})\n|\\PC{0,9}\n){0,9}") {
        let _ = Config::from_text(&text).map_err(|faults| faults.to_string());
    }

    #[test]
    fn any_layers_resolve_to_valid_settings(
        hold in proptest::option::of(0..100i64), lateness in proptest::option::of(0..100i64),
        step in proptest::option::of(1..100_000i64), season in proptest::option::of(1..1_000_000i64),
        horizon in proptest::option::of(1..1_000_000i64), terms in proptest::option::of(0..5usize),
    ) {
        let initial = terms.map(|n| ForecastInitial {
            level: 0.0,
            trend: 0.0,
            season: vec![0.0; n],
            resumed: None,
        });
        let patch = Patch {
            hold, lateness,
            forecast: ForecastPatch { enabled: Some(true), step, season: season.map(|s| vec![s]), horizon, initial, ..ForecastPatch::default() },
            ..Patch::default()
        };
        let mut settings = Settings::merged([&patch]);
        let untouched = settings.clone();
        let conflicts = settings.settle();
        proptest::prop_assert_eq!(settings.conflicts(), vec![]);
        proptest::prop_assert_eq!(conflicts.is_empty(), settings == untouched);
    }
}

#[test]
fn every_model_can_be_set() {
    let kalman = |text: &str| {
        config(&format!("[[profile]]\nmatch = {{}}\nkalman = {text}")).settings("a", "b").kalman
    };
    let decay = kalman("{ model = 'decay', tau = '2h', mean = 20, level_sd = 2 }");
    assert_eq!((decay.model, decay.pull()), (KalmanModel::Decay, Some((7200.0, 20.0))));
    let acceleration = kalman("{ model = 'acceleration', acceleration_sd = 0.5 }");
    assert_eq!(acceleration.acceleration_sd, Some(0.5));
    assert_eq!(acceleration.states(), 3);
    let custom = kalman(
        "{ model = 'custom', F = [[0, 1], [0, 0]], H = [[1, 0]], Q = [[0, 0], [0, 0.1]], \
         R = [[0.25]], per_second = true, initial = { state = [1, 2], covariance = [[1, 0], [0, 1]] } }",
    );
    let matrices = custom.custom.as_ref().unwrap();
    assert_eq!((custom.states(), matrices.per_second), (2, true));
    assert_eq!(matrices.f, [[0.0, 1.0], [0.0, 0.0]]);
    assert!(custom.initial.is_some());
}

#[test]
fn models_that_lack_something_are_reported() {
    let check = |kalman: &str, expected: &str| {
        check_fault(
            &format!("[[profile]]\nmatch = {{}}\nkalman = {kalman}"),
            &format!("weir.toml:3:{expected}"),
        );
    };
    check(
        "{ model = 'decay', tau = '1h' }",
        "20: [[profile]] kalman.model = 'decay': model = \"decay\" needs tau and mean; write e.g. tau = \"2h\", mean = 20.0",
    );
    check(
        "{ model = 'custom' }",
        "20: [[profile]] kalman.model = 'custom': model = \"custom\" needs F, H, Q and R; write e.g. F = [[1.0]], H = [[1.0]], Q = [[0.01]], R = [[0.25]]",
    );
    check(
        "{ F = [[1, 0]], H = [[1]], Q = [[1]], R = [[1]] }",
        "16: [[profile]] kalman.F = [[1, 0]]: must be square, with 1 to 8 rows; write e.g. F = [[1.0]], H = [[1.0]], Q = [[0.01]], R = [[0.25]]",
    );
}

#[test]
fn faults_of_groups_and_derived_metrics() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let faults =
            Config::from_text(text).map(|_| String::new()).unwrap_or_else(|f| f.to_string());
        assert!(
            if expected.is_empty() { faults.is_empty() } else { faults.contains(expected) },
            "{text}\n{faults}"
        );
    }
    let group = |rest: &str| format!("[[group]]\nmatch = {{}}\n{rest}");
    check(&group("name = 'all'"), "");
    check(&group("name = 'hall {key}'\nby = '{key}-*'"), "");
    check(&group(""), "[[group]] name: missing");
    check(&group("name = 'hall'\nby = '{key}-*'"), "must contain {key}");
    check(&group("name = 'hall {key}'"), "there is no by");
    check(&group("name = 'hall {key}'\nby = 'x-*'"), "must be a glob with {key}");
    check(&(group("name = 'all'\n") + &group("name = 'all'")), "another [[group]] has this name");
    check(
        &(group("name = 'd'\n") + "[[device]]\nid = 'd'\nlateness = '1s'"),
        "is a device's name too",
    );
    let derive = |rest: &str| format!("[[derive]]\nname = 'p'\n{rest}\n");
    check(&derive("expression = '{supply temp} - {return temp}'"), "");
    check(&derive(""), "[[derive]] expression: missing");
    check(&derive("expression = 'u *'"), "cannot be read");
    check(&derive("expression = '1 + 1'"), "names no metric");
    check(&derive("expression = 'p * 2'"), "names the metric that it makes");
    let one = derive("expression = 'u * i'\ndevice = 'a*'");
    check(&(one.clone() + &derive("expression = 'u'\ndevice = 'b*'")), "");
    check(
        &(one + &derive("expression = 'u'\ndevice = '*b'")),
        "another [[derive]] makes this metric",
    );
}

const VECTOR: &str = "[[profile]]\nmatch = { device = 'cart-*' }\n[profile.kalman]\nmodel = 'custom'\n\
    metrics = ['position', 'speed']\nF = [[0, 1], [0, 0]]\nH = [[1, 0], [0, 1]]\n\
    Q = [[0, 0], [0, 0.01]]\nR = [[0.04, 0], [0, 0.01]]\nper_second = true\n";

#[test]
fn a_filter_over_several_metrics_is_read() {
    let config = config(VECTOR);
    assert_eq!(config.warnings.iter().filter(|w| w.contains("kalman")).count(), 0);
    let vector = config.layers[0].patch.vector.as_ref().unwrap();
    assert_eq!((&*vector.name, vector.gate), ("position,speed", 0.9999));
    assert_eq!(vector.metrics(), ["position", "speed"]);
    // The series themselves keep the filter that they have.
    let settings = config.settings("cart-1", "speed");
    assert_eq!(settings, Settings::default());
    let (settings, found) = DeviceVector::resolve(&config.layers, "cart-1", "position,speed");
    assert_eq!(found.unwrap().settings, *vector);
    assert!(settings.windows.is_empty() && settings.forecast.is_none());
    assert_eq!(DeviceVector::resolve(&config.layers, "car", "position,speed").1, None);

    // A device has its own, under the same name; lateness is its metrics' longest, units are theirs.
    let text = format!(
        "{VECTOR}name = 'motion'\n{}",
        "[[profile]]\nmatch = { metric = 'speed' }\nlateness = '9s'\nunit = 'm/s'\n[[group]]\nname = 'g'\nmatch = {}\n\
         [[device]]\nid = 'cart-7'\nkalman = { model = 'custom', name = 'motion', metrics = ['speed', 'position'], \
         F = [[1]], H = [[1], [0.5]], Q = [[1]], R = [[1, 0], [0, 1]], step = '2s', gate = 1, \
         initial = { state = [3], covariance = [[2]] } }\n[[derive]]\nname = 'other'\nexpression = 'speed'\n"
    );
    let config = super::tests::config(&text);
    let resolve = |device| DeviceVector::resolve(&config.layers, device, "motion");
    let (settings, found) = resolve("cart-7");
    let found = found.unwrap();
    assert_eq!(found.units, [Some("m/s".to_owned()), None]);
    assert_eq!((settings.lateness, found.settings.gate), (9 * SECOND, 1.0));
    assert_eq!(found.settings.custom.step, Some(2 * SECOND));
    assert_eq!(found.settings.initial.as_ref().unwrap().state, [3.0]);
    assert_eq!(resolve("cart-1").1.unwrap().settings.custom.states(), 2);
    let report = super::check::check_on(
        &config,
        Path::new("weir.toml"),
        &super::check::Host::default(),
        &super::check::MemoryModel::default(),
    );
    let text = report.to_string();
    assert!(
        text.contains("vector    motion: position, speed (2 state(s), in continuous time)"),
        "{text}"
    );
    assert!(
        text.contains("vector    motion: speed, position (1 state(s), in steps of 2s)"),
        "{text}"
    );
}

#[test]
fn faults_of_filters_over_several_metrics() {
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(VECTOR.contains(from), "{from}");
        check_fault(&VECTOR.replace(from, to), expected);
    }
    let mend = "with one state for each metric write e.g. F = [[1.0, 0.0], [0.0, 1.0]], \
        H = [[1.0, 0.0], [0.0, 1.0]], Q = [[0.01, 0.0], [0.0, 0.01]], R = [[0.25, 0.0], [0.0, 0.25]]";
    check(
        "H = [[1, 0], [0, 1]]",
        "H = [[1, 0]]",
        &format!(
            "weir.toml:7:5: [[profile]] kalman.H = [[1, 0]]: has 1 row(s), metrics has 2: one row belongs to each; {mend}"
        ),
    );
    check(
        "Q = [[0, 0], [0, 0.01]]",
        "Q = [[0, 1], [1, 0.01]]",
        &format!(
            "weir.toml:8:5: [[profile]] kalman.Q = [[0, 1], [1, 0.01]]: must be symmetric, positive semidefinite, 2 by 2; {mend}"
        ),
    );
    check(
        "R = [[0.04, 0], [0, 0.01]]",
        "R = [[0.04, 0], [0, 0]]",
        &format!(
            "weir.toml:9:5: [[profile]] kalman.R = [[0.04, 0], [0, 0]]: must be positive on its diagonal: every reading has noise; {mend}"
        ),
    );
    check(
        "metrics = ['position', 'speed']",
        "metrics = ['speed', 'speed']",
        "weir.toml:5:11: [[profile]] kalman.metrics = ['speed', 'speed']: has \"speed\" twice; name each metric once, e.g. [\"flow\", \"pressure\"]",
    );
    check(
        "F = [[0, 1], [0, 0]]\n",
        "",
        "weir.toml:3:1: [[profile]] kalman.F: missing; write e.g. F = [[1.0]]",
    );
    check(
        "model = 'custom'\n",
        "",
        "weir.toml:4:11: [[profile]] kalman.metrics = ['position', 'speed']: needs model = \"custom\" beside it; write model = \"custom\" in the same table",
    );
    check(
        "per_second = true",
        "name = 'speed'",
        "weir.toml:10:8: [[profile]] kalman.name = 'speed': is one of its metrics, whose own estimates stand under that name; write another name, e.g. \"motion\"",
    );
    check(
        "per_second = true",
        "per_second = true\nstep = '1s'",
        "weir.toml:11:8: [[profile]] kalman.step = '1s': and per_second exclude each other: F is one or the other; remove one of the two",
    );
    check(
        "per_second = true",
        "level_sd = 1",
        "weir.toml:10:12: [[profile]] kalman.level_sd = 1: has no meaning for a filter over several metrics, whose noise is in Q and R; remove it; for the series themselves write another [[profile]]",
    );
    check(
        "per_second = true",
        "initial = { state = [1], covariance = [[1]] }",
        "weir.toml:10:11: [[profile]] kalman.initial = { state = [1], covariance = [[1]] }: has 1 number(s) in state, F has 2 row(s); give as many numbers as F has rows",
    );
    check(
        "{ device = 'cart-*' }",
        "{ metric = 'sp*' }",
        "weir.toml:5:11: [[profile]] kalman.metrics = ['position', 'speed']: has \"position\", which the table does not match; write it in a [[profile]] that matches all of them, e.g. match = { device = \"*\" }",
    );
    let derive = |name: &str| {
        format!(
            "per_second = true\n[[derive]]\nname = '{name}'\ndevice = 'cart-1'\nexpression = '2 * x'\n"
        )
    };
    check(
        "per_second = true\n",
        &derive("speed"),
        "weir.toml:5:11: [[profile]] kalman.metrics = ['position', 'speed']: has \"speed\", which a [[derive]] computes; name metrics that are read",
    );
    check(
        "per_second = true\n",
        &derive("position,speed"),
        "weir.toml:5:11: [[profile]] kalman.metrics = ['position', 'speed']: makes \"position,speed\", as a [[derive]] does; give one of the two another name",
    );
    check_fault(
        "[[profile]]\nmatch = {}\nkalman = { name = 'x' }",
        "weir.toml:3:19: [[profile]] kalman.name = 'x': names a filter over several metrics, and there are not several; remove it, or write metrics = [\"flow\", \"pressure\"]",
    );
}
