//! `weir demo`: everything at work with nothing to set up.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::{Subscriber, json};
use crate::mosquitto::Mosquitto;

/// Runs `weir demo` to its end with a temporary folder of its own: standard output, standard
/// error.
fn demo(args: &[&str]) -> (String, String) {
    let temporary = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("demo")
        .args(args)
        .args(["--listen", "127.0.0.1:0"])
        .env("TMPDIR", temporary.path())
        .env_remove("WEIR_LOG")
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    let left: Vec<_> =
        std::fs::read_dir(temporary.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    (out, err)
}

/// The number before ` readings of ` in the summary.
fn readings(out: &str) -> u64 {
    let line = out.lines().find(|line| line.contains(" readings of ")).expect("a summary");
    line.split(' ').next().unwrap().parse().expect("a count")
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_ends_by_itself_with_a_summary_and_leaves_nothing_behind() {
    let (out, err) = demo(&["--seconds", "4", "--port", "0"]);
    assert!(readings(&out) > 100, "{out}");
    assert!(out.contains("results published"), "{out}");
    assert!(out.contains("dropped: "), "{out}");
    assert_eq!(err, "", "a normal run warns of nothing");
}

#[test]
fn what_the_demo_s_sensors_publish_is_what_it_counts() {
    let broker = Mosquitto::start();
    let seen = Subscriber::new(broker.port(), &["sensors/#"]);
    let url = format!("mqtt://127.0.0.1:{}", broker.port());
    let (out, _) = demo(&["--seconds", "4", "--devices", "3", "--broker", &url]);
    let published = seen.all();
    // Whatever the sensors sent last may not have been taken before the end; the broker keeps it.
    let distinct: std::collections::BTreeSet<(String, String)> = published
        .iter()
        .map(|m| (m.topic.clone(), String::from_utf8_lossy(&m.payload).into_owned()))
        .collect();
    let dropped = dropped(&out);
    let counted = readings(&out) + dropped;
    assert!(json(&published[0]).is_object());
    assert!(
        counted <= published.len() as u64 && counted + 2000 >= distinct.len() as u64,
        "{counted} counted, {} published, {} distinct\n{out}",
        published.len(),
        distinct.len()
    );
}

/// The sum of the counts in `dropped: 3 duplicate, 4 future`.
fn dropped(out: &str) -> u64 {
    let line = out.lines().find_map(|line| line.strip_prefix("dropped: ")).expect("a summary");
    line.split(", ").filter_map(|part| part.split(' ').next()?.parse::<u64>().ok()).sum()
}
