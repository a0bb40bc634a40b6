//! Over real loopback sockets: what counts is what a browser and a scraper see.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::analytics::alarm::Severity;
use crate::daemon::input::InputWatch;
use crate::reading::{DropReason, EventTime, ProcessingTime, SECOND};

/// A running endpoint, told to stop when dropped.
struct Server {
    address: SocketAddr,
    status: Arc<RwLock<Status>>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<io::Result<()>>,
}

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

fn status() -> Status {
    let started = ProcessingTime(1_700_000_000 * SECOND);
    let mut status = Status::new("gw-01".to_owned(), "i-1".to_owned(), started);
    status.ready = true;
    status.not_ready_reason = None;
    status.readings_total = 1234;
    status.drops.add(DropReason::Future, 7);
    status.journal_bytes_total = 99;
    status.forwards = vec![ForwardInfo {
        name: "cloud".to_owned(),
        outbox_records: 3,
        last_success: Some(1_700_000_001.5),
        ..ForwardInfo::default()
    }];
    status.committed(BatchInfo {
        number: 1,
        closed: ProcessingTime(1_700_000_002 * SECOND + 500_000_000),
        readings: 20,
        messages: 10,
        duration_ms: 4.0,
        delay_ms: 90_000.0,
        journal_bytes: 99,
        records: 1,
    });
    status
}

fn row(device: &str, metric: &str) -> DeviceRow {
    DeviceRow {
        device: device.to_owned(),
        metric: metric.to_owned(),
        unit: Some("°C".to_owned()),
        time: EventTime::from_nanos(1_700_000_000 * SECOND),
        reading: Some(21.5),
        level: Some(21.25),
        variance: Some(0.25),
        trend: None,
        nis: Some(f64::NAN),
        count: 500,
        dropped: 0,
        kind: "gauge",
        kind_from: "readings",
        model: "level".to_owned(),
        noise: None,
        forecast: None,
        vector: None,
        alarms: Vec::new(),
        history: (0..500).map(|i| (f64::from(i), 1.0, None)).collect(),
    }
}

/// The pipeline's part, over these series.
fn answer(names: &[(&str, &str)], query: Query) -> bool {
    match query {
        Query::Series { search, after, limit, reply } => {
            let rows = names
                .iter()
                .filter(|(d, m)| format!("{d}/{m}").contains(&search))
                .filter(|(d, m)| after.as_ref().is_none_or(|(x, y)| (*d, *m) > (x, y)))
                .take(limit);
            reply.send(rows.map(|(d, m)| row(d, m)).collect()).is_ok()
        }
        Query::One { device, metric, reply } => {
            let found = names.contains(&(&device, &metric)).then(|| row(&device, &metric));
            reply.send(found).is_ok()
        }
        Query::Alarms { limit, reply } => {
            let alarms = names.iter().take(limit).map(|(d, m)| alarm(d, m)).collect();
            reply.send(Alarms { alarms, total: names.len() as u64 }).is_ok()
        }
    }
}

fn alarm(device: &str, metric: &str) -> AlarmRow {
    AlarmRow {
        device: Some(device.to_owned()),
        metric: Some(metric.to_owned()),
        alarm: "too-hot".to_owned(),
        since: "2023-11-14T22:13:20Z".to_owned(),
        value: Some(81.3),
        expected: None,
        lower: None,
        upper: Some(80.0),
        reason: "81.3 °C is above 80 °C".to_owned(),
        severity: Severity::Warning,
    }
}

async fn start(change: impl FnOnce(&mut Handle)) -> Server {
    start_behind(Door::default(), change).await
}

async fn start_behind(door: Door, change: impl FnOnce(&mut Handle)) -> Server {
    start_on("127.0.0.1", door, change).await
}

async fn start_on(host: &str, door: Door, change: impl FnOnce(&mut Handle)) -> Server {
    let status = Arc::new(RwLock::new(status()));
    let mut handle = Handle::new(Arc::clone(&status), |query| {
        answer(&[("a", "t"), ("b", "t/in"), ("c", "t"), ("d\"\n", "<i>")], query)
    });
    change(&mut handle);
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (stop, stopped) = oneshot::channel::<()>();
    let door = watch::channel(door).1;
    let serving = tokio::spawn(serve(listener, door, handle, async {
        let _ = stopped.await;
    }));
    Server { address, status, stop: Some(stop), serving }
}

impl Server {
    async fn send(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        // To the end of the connection: that it ends is itself part of the contract.
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { code, head: head.to_owned(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
    }
}

#[tokio::test]
async fn page_and_its_parts_are_served_under_a_strict_policy() {
    let server = start(|_| ()).await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/chart.js", "text/javascript; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/api/nothing", "application/json"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.code, if path == "/api/nothing" { 404 } else { 200 }, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
}

#[test]
fn page_needs_nothing_but_itself_and_makes_no_markup_from_text() {
    let html = include_str!("page.html");
    let scripts = [include_str!("page.js"), include_str!("chart.js")];
    // What the policy forbids would fail only in a browser.
    for banned in ["<style", "style=", "onclick", "onload", "http://", "https://", "//cdn"] {
        assert!(!html.contains(banned), "page.html: {banned}");
    }
    assert_eq!(html.matches("<script").count(), 1);
    for script in scripts {
        for banned in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("] {
            assert!(!script.contains(banned), "{banned}");
        }
        for (at, _) in script.match_indices("http") {
            assert!(
                script[at..].starts_with("http://www.w3.org/2000/svg"),
                "{}",
                &script[at..at + 30]
            );
        }
    }
    // Every element that the script asks for by id is there.
    for part in scripts[0].split("$(\"").skip(1) {
        let id = part.split('"').next().unwrap();
        assert!(html.contains(&format!("id=\"{id}\"")), "no element with id {id}");
    }
}

#[tokio::test]
async fn foreign_hosts_are_refused_everywhere() {
    let server = start(|_| ()).await;
    for path in ["/", "/metrics", "/healthz", "/api/status", "/api/series", "/nowhere"] {
        let host = "Host: evil.example:9377";
        let answer = server.send(&format!("GET {path} HTTP/1.1\r\n{host}\r\n\r\n")).await;
        assert_eq!(answer.code, 403, "{path}");
        assert!(!answer.body.contains("gw-01"), "{path}");
        assert!(answer.header("content-security-policy").is_some(), "{path}");
    }
    let answer = server.send("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.code, 403);
}

#[tokio::test]
async fn only_get_is_answered() {
    let server = start(|_| ()).await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        for path in ["/", "/metrics", "/api/status", "/api/series/a/t"] {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
            let answer = server.send(&request).await;
            assert_eq!(answer.code, 405, "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn other_pages_may_not_even_try_to_change_something() {
    let server = start(|_| ()).await;
    let post = |more: &str| {
        format!("POST /api/status HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: 0\r\n\r\n")
    };
    for more in
        ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
    {
        assert_eq!(server.send(&post(more)).await.code, 403, "{more}");
    }
    assert_eq!(server.send(&post("Origin: http://localhost\r\n")).await.code, 405);
}

#[tokio::test]
async fn a_token_is_asked_for_everywhere_but_by_local_probes() {
    let token = "0123456789abcdef".to_owned();
    let token = Some(crate::config::access::Token::new(token));
    let server = start_behind(Door { tls: None, token }, |_| ()).await;
    for path in ["/", "/page.js", "/metrics", "/api/status", "/api/series/a/t", "/nowhere"] {
        let answer = server.get(path).await;
        assert_eq!(answer.code, 401, "{path}");
        assert!(answer.header("www-authenticate").is_some_and(|v| v.starts_with("Basic ")));
        assert!(!answer.body.contains("gw-01"), "{path}");
    }
    assert_eq!(server.get("/healthz").await.code, 200);
    assert_eq!(server.get("/readyz").await.code, 200);
    let request = "GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer 0123456789abcdef\r\n\r\n";
    assert_eq!(server.send(request).await.code, 200);
}

#[tokio::test]
async fn a_visitor_who_says_nothing_is_shown_out() {
    let server = start(|_| ()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\nHost: lo").await.unwrap();
    // The connection's own deadline, not this test's, ends it.
    let mut got = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), silent.read_to_end(&mut got)).await;
    assert!(ended.is_ok(), "still connected");
    assert!(!got.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn status_has_names_times_and_every_reason() {
    let server = start(|_| ()).await;
    let status = server.get("/api/status").await.json();
    assert_eq!(status["gateway"], "gw-01");
    assert_eq!(status["started"], "2023-11-14T22:13:20Z");
    assert_eq!(status["batch"]["closed"], "2023-11-14T22:13:22.5Z");
    assert_eq!(status["recent"].as_array().unwrap().len(), 1);
    assert_eq!(status["drops"].as_object().unwrap().len(), DropReason::ALL.len());
    assert_eq!(status["drops"]["future"].as_u64(), Some(7));
    assert_eq!(status["forwards"][0]["last_success"].as_f64(), Some(1_700_000_001.5));
    assert!(status["stalled_s"].as_f64().is_some_and(|s| s < 30.0));
}

#[tokio::test]
async fn health_follows_progress_and_readiness_the_status() {
    let past = Instant::now().checked_sub(STALLED).expect("a machine up for half a minute");
    let server = start(|handle| handle.progress = Progress::since(past)).await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.get(path).await;
        assert_eq!(answer.code, 503, "{path}");
        assert!(answer.body.contains("no progress for 30 s"), "{path}: {}", answer.body);
    }

    let progress = Progress::since(past);
    let shared = progress.clone();
    let server = start(|handle| handle.progress = shared).await;
    progress.stamp();
    assert_eq!(server.get("/healthz").await.code, 200);
    assert_eq!(server.get("/readyz").await.code, 200);
    {
        let mut status = server.status.write().unwrap();
        status.ready = false;
        status.not_ready_reason = Some("replaying the journal".to_owned());
    }
    let answer = server.get("/readyz").await;
    assert_eq!((answer.code, answer.body.as_str()), (503, "replaying the journal\n"));
    assert_eq!(server.get("/healthz").await.code, 200);
}

#[tokio::test]
async fn series_are_searched_and_turned_page_by_page() {
    let server = start(|_| ()).await;
    let names = |page: &serde_json::Value| -> Vec<String> {
        let rows = page["series"].as_array().unwrap();
        rows.iter().map(|row| row["device"].as_str().unwrap().to_owned()).collect()
    };
    let all = server.get("/api/series").await.json();
    assert_eq!(names(&all), ["a", "b", "c", "d\"\n"]);
    assert!(all["next"].is_null());
    let row = &all["series"][0];
    assert_eq!(row["time"], "2023-11-14T22:13:20Z");
    assert!(row["nis"].is_null(), "a number that is none must not break the JSON");
    let history = row["history"].as_array().unwrap();
    assert_eq!(history.len(), 60);
    assert_eq!(history[59][0].as_f64(), Some(499.0), "the newest points are kept");

    let found = server.get("/api/series?search=t%2Fin&points=5").await.json();
    assert_eq!(names(&found), ["b"]);
    assert_eq!(found["series"][0]["history"].as_array().unwrap().len(), 5);

    // The mark comes back as it went out, even with a name that needs escaping.
    let mut seen = Vec::new();
    let mut mark = String::new();
    for _ in 0..4 {
        let escaped: String = mark.bytes().map(|b| format!("%{b:02X}")).collect();
        let page = server.get(&format!("/api/series?limit=1&after={escaped}")).await.json();
        seen.extend(names(&page));
        mark = page["next"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(seen, ["a", "b", "c", "d\"\n"]);
    assert_eq!(mark, "", "the last page has no next");

    assert_eq!(server.get("/api/series?after=a").await.code, 400);
    assert_eq!(server.get("/api/series?limit=-1").await.code, 400);
    let long = "x".repeat(routes::SEARCH + 1);
    assert_eq!(server.get(&format!("/api/series?search={long}")).await.code, 400);
}

#[tokio::test]
async fn alarms_are_listed_with_that_of_the_input_first() {
    let server = start(|_| ()).await;
    let page = server.get("/api/alarms?limit=2").await.json();
    assert_eq!(page["total"], 4);
    assert_eq!(page["alarms"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&page["alarms"][0]["device"], &page["alarms"][0]["severity"]),
        (&"a".into(), &"warning".into())
    );

    let start = Instant::now();
    let mut watch = InputWatch::new(start, ProcessingTime(0));
    let away = crate::daemon::input::AWAY;
    assert!(watch.look(start + away, ProcessingTime(1_700_000_000 * SECOND), |_| 0.0));
    server.status.write().unwrap().input_alarm = Some(watch.alarm().clone());
    let page = server.get("/api/alarms?limit=2").await.json();
    assert_eq!((&page["total"], page["alarms"].as_array().unwrap().len()), (&5.into(), 2));
    let input = &page["alarms"][0];
    assert_eq!(
        (&input["alarm"], &input["since"]),
        (&"input".into(), &"2023-11-14T22:13:20Z".into())
    );
    assert!(input.get("device").is_none(), "{input}");
}

#[tokio::test]
async fn the_pipeline_is_never_asked_for_more_rows_than_the_cap() {
    let (told, mut limits) = tokio::sync::mpsc::channel(4);
    let server = start(|handle| {
        handle.ask = Arc::new(move |query| match query {
            Query::Series { limit, reply, .. } => {
                told.try_send(limit).is_ok() && reply.send(Vec::new()).is_ok()
            }
            Query::One { .. } | Query::Alarms { .. } => false,
        });
    })
    .await;
    for (asked, limit) in [("?limit=1000000", routes::LIMIT), ("?limit=0", 1), ("", 25)] {
        assert_eq!(server.get(&format!("/api/series{asked}")).await.code, 200);
        assert_eq!(limits.recv().await, Some(limit + 1), "one more tells of a next page");
    }
}

#[tokio::test]
async fn one_series_is_found_by_its_escaped_names() {
    let server = start(|_| ()).await;
    let found = server.get("/api/series/b/t%2Fin").await.json();
    assert_eq!(found["metric"], "t/in");
    assert_eq!(found["history"].as_array().unwrap().len(), 500);
    let hostile = server.get("/api/series/d%22%0A/%3Ci%3E").await.json();
    assert_eq!(hostile["device"], "d\"\n");
    assert_eq!(server.get("/api/series/b/t").await.code, 404);
    assert_eq!(server.get("/api/series/b/%FF").await.code, 400);
}

#[tokio::test]
async fn a_pipeline_that_is_busy_silent_or_gone_gives_503() {
    let busy = start(|handle| handle.ask = Arc::new(|_| false)).await;
    let gone = start(|handle| {
        handle.ask = Arc::new(|query| {
            drop(query);
            true
        });
    })
    .await;
    let kept = Mutex::new(Vec::new());
    let silent = start(|handle| {
        handle.patience = Duration::from_millis(5);
        handle.ask = Arc::new(move |query| {
            kept.lock().unwrap().push(query);
            true
        });
    })
    .await;
    for (server, word) in [(busy, "busy"), (gone, "no answer"), (silent, "in time")] {
        for path in ["/api/series", "/api/series/a/t"] {
            let answer = server.get(path).await;
            assert_eq!(answer.code, 503, "{word} {path}");
            assert!(answer.json()["error"].as_str().unwrap().contains(word), "{}", answer.body);
        }
        assert_eq!(server.get("/healthz").await.code, 200, "{word}");
    }
}

/// The types of all families, each TYPE line met once, and the samples.
fn families(page: &str) -> (BTreeMap<&str, &str>, Vec<&str>) {
    let mut types = BTreeMap::new();
    let mut samples = Vec::new();
    for line in page.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            assert_eq!(types.insert(name, kind), None, "{name} twice");
        } else if !line.starts_with('#') {
            samples.push(line);
        }
    }
    (types, samples)
}

/// The names of the contract, as samples, and their types.
const CONTRACT: [(&str, &str); 19] = [
    ("weir_readings_total", "counter"),
    ("weir_readings_dropped_total", "counter"),
    ("weir_batch_duration_seconds", "histogram"),
    ("weir_batch_delay_seconds", "histogram"),
    ("weir_journal_bytes_total", "counter"),
    ("weir_checkpoint_bytes_total", "counter"),
    ("weir_noise_misfit_series", "gauge"),
    ("weir_series", "gauge"),
    ("weir_outbox_bytes", "gauge"),
    ("weir_outbox_records", "gauge"),
    ("weir_outbox_oldest_seconds", "gauge"),
    ("weir_forward_last_success_timestamp_seconds", "gauge"),
    ("weir_mqtt_connected", "gauge"),
    ("weir_clock_trusted", "gauge"),
    ("weir_alarms_active", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_start_time_seconds", "gauge"),
];

#[tokio::test]
async fn metrics_have_the_names_of_the_contract_once_in_both_formats() {
    let server = start(|_| ()).await;
    let plain = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    let plain = server.send(plain).await;
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    // What Prometheus 3 sends.
    let accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    let open = server.send(&request).await;
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.body.ends_with("\n# EOF\n"));
    assert!(!plain.body.contains("# EOF"));

    let (plain_types, plain_samples) = families(&plain.body);
    let (open_types, open_samples) = families(&open.body);
    for (name, kind) in CONTRACT {
        assert_eq!(plain_types.get(name), Some(&kind), "{name}");
        let family = if kind == "counter" { name.strip_suffix("_total").unwrap() } else { name };
        assert_eq!(open_types.get(family), Some(&kind), "{family}");
        let sample = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
        for samples in [&plain_samples, &open_samples] {
            let is_it = |line: &&&str| line.split(['{', ' ']).next() == Some(&sample);
            let expected = if name.contains("dropped") { DropReason::ALL.len() } else { 1 };
            assert_eq!(samples.iter().filter(is_it).count(), expected, "{sample}");
        }
    }
    assert_eq!(open_types.get("weir_build"), Some(&"info"));
    assert_eq!(plain_types.get("weir_build_info"), Some(&"gauge"));
    for sample in [
        "weir_readings_total 1234",
        "weir_readings_dropped_total{reason=\"future\"} 7",
        "weir_readings_dropped_total{reason=\"not_finite\"} 0",
        "weir_journal_bytes_total 99",
        "weir_outbox_records{forward=\"cloud\"} 3",
        "weir_outbox_oldest_seconds{forward=\"cloud\"} 0.0",
        "weir_forward_last_success_timestamp_seconds{forward=\"cloud\"} 1700000001.5",
        "weir_batch_duration_seconds_bucket{le=\"0.0025\"} 0",
        "weir_batch_duration_seconds_bucket{le=\"0.005\"} 1",
        "weir_batch_duration_seconds_bucket{le=\"+Inf\"} 1",
        "weir_batch_delay_seconds_bucket{le=\"60.0\"} 0",
        "weir_batch_delay_seconds_bucket{le=\"+Inf\"} 1",
        "weir_batch_delay_seconds_sum 90.0",
    ] {
        assert!(plain_samples.contains(&sample), "{sample}\n{}", plain.body);
        assert!(open_samples.contains(&sample), "{sample}\n{}", open.body);
    }
}

#[tokio::test]
async fn hostile_names_stay_inside_their_label() {
    let server = start(|_| ()).await;
    {
        let mut status = server.status.write().unwrap();
        status.forwards[0].name = "a\"} 1\n# TYPE x counter\nevil{b=\"\\".to_owned();
        status.gateway = "gw\n\"".to_owned();
    }
    let page = server.get("/metrics").await.body;
    let label = r#"{forward="a\"} 1\n# TYPE x counter\nevil{b=\"\\"}"#;
    assert!(page.contains(&format!("weir_outbox_records{label} 3\n")), "{page}");
    assert!(page.contains(r#"gateway="gw\n\""} 1"#), "{page}");
    for line in page.lines() {
        let known = ["weir_", "process_", "# TYPE weir_", "# TYPE process_", "# HELP "];
        assert!(known.iter().any(|start| line.starts_with(start)), "{line}");
    }
}

#[tokio::test]
async fn a_request_larger_than_its_allowance_ends_the_connection() {
    let server = start(|_| ()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let flood = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(4 * listener::REQUEST_BYTES));
    // Either call may meet the reset; what must not come is a wait for the head's end.
    let mut got = Vec::new();
    let exchange = async {
        if stream.write_all(flood.as_bytes()).await.is_ok() {
            let _ = stream.read_to_end(&mut got).await;
        }
    };
    // Well before the connection's own deadline.
    tokio::time::timeout(Duration::from_secs(5), exchange).await.expect("cut off at once");
    assert!(!got.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&got));
    assert_eq!(server.get("/healthz").await.code, 200);
}

#[tokio::test]
async fn nobody_is_let_in_beyond_this_machine_without_tls_and_token() {
    let server = start_on("0.0.0.0", Door::default(), |_| ()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut answer = Vec::new();
    // Closed at once, perhaps with a reset.
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let server = start(|_| ()).await;
    let mut idle = Vec::new();
    for _ in 0..listener::CONNECTIONS {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    // Behind sixteen that say nothing; the backlog is served in order, so this one waits.
    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    waiting.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(50), waiting.read(&mut byte)).await;
    assert!(early.is_err(), "served beyond the limit");
    drop(idle.pop());
    assert_eq!(waiting.read(&mut byte).await.unwrap(), 1, "served once there is a place");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_half_a_request() {
    let mut server = start(|_| ()).await;
    assert_eq!(server.get("/healthz").await.code, 200);
    // Half a request: a connection without one is closed at once.
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(b"GET /api/series HTTP/1.1\r\nHost: ").await.unwrap();
    // Answered in the order they came, so the half is being read by now.
    assert_eq!(server.get("/healthz").await.code, 200);
    drop(server.stop.take());
    let ended = tokio::time::timeout(Duration::from_secs(5), &mut server.serving).await;
    ended.expect("ends within its grace").unwrap().unwrap();
    drop(half);
}

#[test]
fn recent_batches_and_notices_are_bounded() {
    let mut status = status();
    let batch = status.batch.clone().unwrap();
    for number in 2..=500 {
        status.committed(BatchInfo { number, ..batch.clone() });
        status.notice(format!("notice {number}"));
        status.notice(format!("notice {number}"));
    }
    assert_eq!(status.recent.len(), status::RECENT);
    assert_eq!(status.recent.front().map(|b| b.number), Some(381));
    assert_eq!(status.batch.map(|b| b.number), Some(500));
    assert_eq!(status.notices.len(), status::NOTICES);
    assert_eq!(status.notices.last().map(String::as_str), Some("notice 500"));
    assert_eq!(status.batch_duration.count(), 500);
}

#[test]
fn histogram_takes_bounds_as_inclusive_and_nonsense_as_zero() {
    let mut histogram = Histogram::default();
    for seconds in [0.001, 0.0011, 60.0, 61.0, -5.0, f64::NAN, f64::INFINITY] {
        histogram.observe(seconds);
    }
    let buckets = histogram.buckets();
    assert_eq!(buckets[0], (0.001, 4));
    assert_eq!(buckets[1], (0.0025, 1));
    assert_eq!(buckets[14], (60.0, 1));
    assert_eq!(buckets[15], (f64::INFINITY, 1));
    assert_eq!(histogram.count(), 7);
    assert!((histogram.sum() - 121.0021).abs() < 1e-12);
}
