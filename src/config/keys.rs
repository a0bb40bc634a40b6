//! Every key the configuration knows, table by table. The reader refuses what is not here, a test
//! sees to it that every key here is read, another that `docs/configuration.md` explains it.

/// The keys of one table.
#[derive(Debug)]
pub struct Keys {
    /// The table's name: `"mqtt.subscribe"`; `""` for the root.
    pub table: &'static str,
    /// How it is written.
    pub form: Form,
    /// Its keys.
    pub keys: &'static [&'static str],
    /// Keys that people are likely to try: the key, what is wrong with it, how to mend it.
    pub refused: &'static [(&'static str, &'static str, &'static str)],
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `[name]`.
    Table,
    /// `[[name]]`.
    List,
    /// `{ … }` under a key.
    Inline,
}

impl Keys {
    /// Whether the table has this key.
    pub fn contains(&self, key: &str) -> bool {
        self.keys.contains(&key)
    }

    pub(super) fn refused(&self, key: &str) -> Option<(&'static str, &'static str)> {
        self.refused.iter().find(|(name, ..)| *name == key).map(|&(_, what, mend)| (what, mend))
    }
}

/// `[batch]`, `[[profile]]`, `kalman`.
pub(super) fn title(table: &str) -> String {
    match ALL.iter().find(|keys| keys.table == table).map(|keys| keys.form) {
        Some(Form::Table) => format!("[{table}]"),
        Some(Form::List) => format!("[[{table}]]"),
        _ => table.to_owned(),
    }
}

const fn keys(table: &'static str, form: Form, keys: &'static [&'static str]) -> Keys {
    Keys { table, form, keys, refused: &[] }
}

const PASSWORD: (&str, &str, &str) = (
    "password",
    "secrets do not belong in the configuration",
    "put it into a file that only weir can read and write password_file = \"/etc/weir/broker.password\"",
);

const NO_INSECURE: &str = "there is no such switch: the broker's certificate is always verified";
const NO_INSECURE_MEND: &str = "write the certificate of the authority that signed it as ca_file";
const INSECURE: [(&str, &str, &str); 3] = [
    ("insecure", NO_INSECURE, NO_INSECURE_MEND),
    ("verify", NO_INSECURE, NO_INSECURE_MEND),
    ("tls", "TLS is chosen by the url", "write url = \"mqtts://HOST:8883\""),
];

/// The tables of the file.
pub static ROOT: Keys = Keys {
    table: "",
    form: Form::Table,
    keys: &[
        "gateway", "batch", "state", "series", "outbox", "clock", "mqtt", "tcp", "results",
        "forward", "profile", "device", "alarm", "group", "derive", "http", "log",
    ],
    refused: &[],
};

/// `[gateway]`
pub static GATEWAY: Keys = keys("gateway", Form::Table, &["id", "time_zone", "tags"]);
/// `[batch]`
pub static BATCH: Keys = keys("batch", Form::Table, &["interval", "max_readings"]);
/// `[state]`
pub static STATE: Keys = keys("state", Form::Table, &["path", "segment_bytes"]);
/// `[series]`
pub static SERIES: Keys = keys(
    "series",
    Form::Table,
    &["max_series", "max_panes", "max_ahead", "evict_idle", "retire_idle"],
);
/// `[outbox]`
pub static OUTBOX: Keys = keys("outbox", Form::Table, &["max_bytes", "when_full"]);
/// `[clock]`
pub static CLOCK: Keys = keys("clock", Form::Table, &["trust", "wait"]);
/// `[mqtt]`
pub static MQTT: Keys = Keys {
    table: "mqtt",
    form: Form::Table,
    keys: &[
        "url",
        "version",
        "client_id",
        "username",
        "password_file",
        "ca_file",
        "crl_file",
        "cert_file",
        "key_file",
        "keep_alive",
        "receive_maximum",
        "session_expiry",
        "ack",
        "subscribe",
    ],
    refused: &[PASSWORD, INSECURE[0], INSECURE[1], INSECURE[2]],
};
/// `[[mqtt.subscribe]]`
pub static SUBSCRIBE: Keys = keys(
    "mqtt.subscribe",
    Form::List,
    &[
        "topics",
        "qos",
        "format",
        "value",
        "values",
        "time",
        "time_unit",
        "device",
        "metric",
        "records",
        "map",
        "missing",
        "retained",
        "dedup",
        "max_payload",
        "max_readings",
    ],
);
/// `[[tcp]]`
pub static TCP: Keys = Keys {
    table: "tcp",
    form: Form::List,
    keys: &[
        "name",
        "listen",
        "cert_file",
        "key_file",
        "token_file",
        "client_ca_file",
        "client_crl_file",
        "ack",
        "max_line",
        "max_connections",
        "idle_timeout",
        "format",
        "value",
        "values",
        "time",
        "time_unit",
        "device",
        "metric",
        "records",
        "map",
        "missing",
        "dedup",
        "max_readings",
    ],
    refused: &[
        (
            "token",
            "secrets do not belong in the configuration",
            "put it into a file that only weir can read and write token_file = \"/etc/weir/tcp.token\"",
        ),
        ("max_payload", "a payload here is a line", "write max_line"),
        ("topics", "a line has no topic", "name device and metric by pointers into the line"),
    ],
};
/// `[results]`
pub static RESULTS: Keys =
    keys("results", Form::Table, &["enabled", "prefix", "format", "min_interval", "kinds"]);
/// `[[forward]]`
pub static FORWARD: Keys = Keys {
    table: "forward",
    form: Form::List,
    keys: &[
        "name",
        "type",
        "url",
        "topic",
        "max_message",
        "kinds",
        "version",
        "client_id",
        "username",
        "password_file",
        "ca_file",
        "crl_file",
        "cert_file",
        "key_file",
        "qos",
    ],
    refused: &[PASSWORD, INSECURE[0], INSECURE[1], INSECURE[2]],
};
/// `[[profile]]`
pub static PROFILE: Keys = keys(
    "profile",
    Form::List,
    &[
        "match", "unit", "kind", "scale", "offset", "wrap", "valid", "lateness", "hold", "kalman",
        "windows", "forecast", "alarms",
    ],
);
/// `[[group]]`
pub static GROUP: Keys =
    keys("group", Form::List, &["name", "match", "by", "estimate", "forecast"]);
/// `[[derive]]`
pub static DERIVE: Keys = keys("derive", Form::List, &["name", "device", "expression", "max_age"]);
/// `match = { … }`
pub static MATCH: Keys = keys("match", Form::Inline, &["device", "metric"]);
/// `[[device]]`
pub static DEVICE: Keys = keys(
    "device",
    Form::List,
    &[
        "id", "metric", "unit", "kind", "scale", "offset", "wrap", "valid", "lateness", "hold",
        "kalman", "windows", "forecast", "alarms",
    ],
);
/// `metric.<name> = { … }` of a device.
pub static DEVICE_METRIC: Keys = keys(
    "device.metric",
    Form::Inline,
    &[
        "unit", "kind", "scale", "offset", "wrap", "valid", "lateness", "hold", "kalman",
        "windows", "forecast", "alarms",
    ],
);
/// `kalman = { … }`
pub static KALMAN: Keys = Keys {
    table: "kalman",
    form: Form::Inline,
    keys: &[
        "model",
        "observation_sd",
        "level_sd",
        "trend_sd",
        "acceleration_sd",
        "tau",
        "mean",
        "name",
        "metrics",
        "F",
        "H",
        "Q",
        "R",
        "per_second",
        "step",
        "gate",
        "outliers",
        "initial",
    ],
    refused: &[],
};
/// `kalman.initial = { … }`
pub static KALMAN_INITIAL: Keys = keys("kalman.initial", Form::Inline, &["state", "covariance"]);
/// Elements of `windows = [ … ]`
pub static WINDOW: Keys =
    keys("windows", Form::Inline, &["size", "align", "slide", "quantiles", "time_weighted"]);
/// `forecast = { … }`
pub static FORECAST: Keys = keys(
    "forecast",
    Form::Inline,
    &[
        "step",
        "season",
        "trend",
        "seasonal",
        "horizon",
        "nominal",
        "smoothing",
        "log",
        "robust",
        "initial",
    ],
);
/// `forecast.smoothing = { … }`
pub static SMOOTHING: Keys =
    keys("forecast.smoothing", Form::Inline, &["alpha", "beta", "gamma", "omega", "phi", "rho"]);
/// `forecast.initial = { … }`
pub static FORECAST_INITIAL: Keys = keys(
    "forecast.initial",
    Form::Inline,
    &["level", "trend", "season", "at", "longer", "sd", "smoothing"],
);
/// `[[alarm]]`
pub static ALARM: Keys = keys(
    "alarm",
    Form::List,
    &[
        "match",
        "name",
        "above",
        "below",
        "clear_above",
        "clear_below",
        "hold",
        "within",
        "repeat_after",
        "severity",
    ],
);
/// `alarms = { … }`
pub static ALARMS: Keys = keys(
    "alarms",
    Form::Inline,
    &["outlier", "level_shift", "residual", "stuck", "gap", "drift", "repeat_after"],
);
/// `[http]`
pub static HTTP: Keys = Keys {
    table: "http",
    form: Form::Table,
    keys: &["listen", "cert_file", "key_file", "token_file"],
    refused: &[(
        "token",
        "secrets do not belong in the configuration",
        "put it into a file that only weir can read and write token_file = \"/etc/weir/page.token\"",
    )],
};
/// `[log]`
pub static LOG: Keys = keys("log", Form::Table, &["level", "format"]);

/// All tables, in the order of the reference.
pub static ALL: [&Keys; 28] = [
    &ROOT,
    &GATEWAY,
    &BATCH,
    &STATE,
    &SERIES,
    &OUTBOX,
    &CLOCK,
    &MQTT,
    &SUBSCRIBE,
    &TCP,
    &RESULTS,
    &FORWARD,
    &PROFILE,
    &MATCH,
    &KALMAN,
    &KALMAN_INITIAL,
    &WINDOW,
    &FORECAST,
    &SMOOTHING,
    &FORECAST_INITIAL,
    &ALARMS,
    &DEVICE,
    &DEVICE_METRIC,
    &ALARM,
    &GROUP,
    &DERIVE,
    &HTTP,
    &LOG,
];
