//! The command line: exit codes, what is said where.

use std::path::Path;
use std::process::Output;

#[path = "support/program.rs"]
mod program;

fn weir(folder: &Path, args: &[&str]) -> Output {
    program::weir().current_dir(folder).args(args).output().expect("the command starts")
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const GOOD: &str = r#"
gateway.id = "test"
[[mqtt.subscribe]]
topics = ["sensors/{device}/{metric}"]
value = "/value"
[[profile]]
match = { metric = "temperature" }
lateness = "7s"
"#;

#[test]
fn version_help_and_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = texts(&weir(folder.path(), &["--version"]));
    assert_eq!((code, out), (Some(0), format!("weir {}\n", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = texts(&weir(folder.path(), &["--help"]));
    assert_eq!(code, Some(0));
    for command in ["check", "explain", "fit", "replay"] {
        assert!(out.contains(&format!("\n  {command} ")), "{out}");
    }
    for args in [&[][..], &["chekc"], &["check", "--nonsense"], &["replay"], &["fit"], &["explain"]]
    {
        let (code, out, err) = texts(&weir(folder.path(), args));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert!(err.contains("Usage:"), "{args:?}: {err}");
    }
    let (_, _, err) = texts(&weir(folder.path(), &["chekc"]));
    assert!(err.contains("'check'"), "a near name is suggested: {err}");
}

#[test]
fn a_good_configuration_is_costed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weir.toml"), GOOD).unwrap();
    let (code, out, err) = texts(&weir(folder.path(), &["check", "--config", "weir.toml"]));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("weir.toml: ok\n"), "{out}");
    assert!(out.contains("memory    at worst"), "{out}");
}

#[test]
fn all_faults_are_reported_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        GOOD.replace("lateness", "latenes").replace("sensors/{device}", "sensors/#/{device}");
    std::fs::write(folder.path().join("weir.toml"), text).unwrap();
    let (code, out, err) = texts(&weir(folder.path(), &["--config", "weir.toml", "check"]));
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert!(err.contains("weir.toml:8:1: "), "{err}");
    assert!(err.contains("lateness"), "the nearest key is named: {err}");
    assert!(err.contains("weir.toml:4:"), "{err}");
    assert!(err.ends_with("2 faults in the configuration\n"), "{err}");
}

#[test]
fn what_the_machine_cannot_bear_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "series.max_series = 1_000_000\nseries.max_panes = 100\n{GOOD}windows = [{{ size = \"1m\", quantiles = [0.5] }}]\n"
    );
    std::fs::write(folder.path().join("weir.toml"), text).unwrap();
    let (code, out, err) = texts(&weir(folder.path(), &["check", "--config", "weir.toml"]));
    assert_eq!(code, Some(78), "{out}{err}");
    assert!(out.contains("refused: at worst it takes"), "{out}");
}

#[test]
fn a_missing_configuration_is_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    for command in [&["check"][..], &["explain", "a/b"]] {
        let args = [command, &["--config", "none.toml"]].concat();
        let (code, _, err) = texts(&weir(folder.path(), &args));
        assert_eq!(code, Some(78), "{err}");
        assert!(err.contains("none.toml: cannot be read"), "{err}");
    }
}

#[test]
fn a_series_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("weir.toml"), GOOD).unwrap();
    let explain = |args: &[&str]| {
        let args = [&["explain", "--config", "weir.toml"], args].concat();
        texts(&weir(folder.path(), &args))
    };
    let (code, out, _) = explain(&["hall/boiler-3/temperature"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("hall/boiler-3/temperature\n"), "{out}");
    let line = out.lines().find(|line| line.trim_start().starts_with("lateness")).expect(&out);
    assert!(line.contains("\"7s\"") && line.contains("weir.toml:6 "), "{line}");
    assert_eq!(explain(&["hall/boiler-3", "temperature"]).1, out, "as two arguments");
    for args in [&["temperature"][..], &["/temperature"], &["boiler/"]] {
        let (code, _, err) = explain(args);
        assert_eq!(code, Some(2), "{args:?}");
        assert!(err.contains("names no series; write e.g. boiler-3/temperature"), "{err}");
    }
}
