//! What must not stand in the sources, found by reading them.
//!
//! - Pure modules (the list below, and every file whose module docs say "Pure") know no clock, no
//!   I/O, no randomness, no hash order, and call transcendental functions of `libm` alone: state
//!   and outputs are a function of the journal, with the same bits on every target.
//! - Nothing outside tests panics, but for what [`PANICS`] allows with a reason.
//! - No file tells of the machine it was written on.
//!
//! The scan reads tokens as text: it does not follow calls or aliases. It is a fence against the
//! slip of a pen, not a proof.

use std::path::{Path, PathBuf};
use std::{fs, process::Command};

#[path = "support/source.rs"]
mod source;
use source::{Source, contains_word, starts_word};

/// Pure files and folders.
const PURE: &[&str] = &[
    "src/cbor.rs",
    "src/reading.rs",
    "src/batch/",
    "src/analytics/",
    "src/engine/",
    "src/journal/",
    "src/output.rs",
    "src/decoder/",
    "src/receiver/lines.rs",
    "src/receiver/topic.rs",
    "src/receiver/router.rs",
    "src/pipeline.rs",
    "src/state/format.rs",
];

/// Files in pure folders that are not pure, each with the reason.
const EDGE: &[(&str, &str)] = &[("src/decoder/recorded.rs", "reads files for replay and backfill")];

/// Words that have no place in a pure module, with what to do instead.
const IMPURE: &[(&str, &str)] = &[
    ("Instant", "a clock: take the time as an argument"),
    ("SystemTime", "a clock: take the time as an argument"),
    ("Timestamp::now", "a clock: take the time as an argument"),
    ("Zoned::now", "a clock: take the time as an argument"),
    ("TimeZone::system", "the machine's zone: only zones that the configuration names"),
    ("TimeZone::get", "the machine's zone files: use TimeZoneDatabase::bundled()"),
    ("tz::db", "the machine's zone files: use TimeZoneDatabase::bundled()"),
    ("std::fs", "I/O: hand the bytes in"),
    ("std::io", "I/O: hand the bytes in"),
    ("std::net", "I/O: hand the bytes in"),
    ("std::os", "I/O: hand the bytes in"),
    ("std::process", "another process: belongs at the edge"),
    ("std::thread", "a thread: belongs at the edge"),
    ("std::env", "the environment: belongs to the configuration"),
    ("tokio", "a runtime: belongs at the edge"),
    ("rustix", "the operating system: belongs at the edge"),
    ("rand", "randomness: outputs must repeat; use what the caller seeds"),
    ("RandomState", "randomness: a fixed hasher, and never walk in hash order"),
    ("thread_local!", "hidden state: put it into the state that is handed in"),
    ("static mut", "hidden state: put it into the state that is handed in"),
    ("println!", "output: return it"),
    ("eprintln!", "output: return it"),
    ("dbg!", "output: return it"),
];

/// Methods of floats whose bits depend on the platform (sqrt, floor, abs and their like are exact).
const INEXACT: &[&str] = &[
    "exp", "exp2", "exp_m1", "ln", "ln_1p", "log", "log2", "log10", "powf", "powi", "sin", "cos",
    "tan", "sin_cos", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh",
    "atanh", "cbrt", "hypot", "mul_add", "gamma", "ln_gamma",
];

/// Containers in hash order, and what walks them.
const HASHED: &[&str] = &["HashMap", "HashSet", "HashTable"];
const WALKS: &[&str] = &[
    ".iter(",
    ".iter_mut(",
    ".keys(",
    ".values(",
    ".values_mut(",
    ".into_iter(",
    ".into_keys(",
    ".into_values(",
    ".drain(",
    ".retain(",
    ".extract_if(",
];

/// What ends the process instead of returning an error.
const PANICKING: &[&str] =
    &[".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!", "unreachable!"];

/// Panics outside tests: file, text of the line, why it cannot happen or must.
const PANICS: &[(&str, &str, &str)] = &[
    ("src/analytics/kalman/run.rs", "Finite::new(0.0).expect(", "zero is finite"),
    (
        "src/batch/window.rs",
        "panic!(\"day {number} of {}: {error}\"",
        "a broken invariant: event times lie within 1950 to 2200, jiff's within -9999 to 9999",
    ),
    ("src/batch/window.rs", "panic!(\"{nanos}: {error}\"", "as above"),
    ("src/batch/window.rs", "panic!(\"day {number}: {error}\"", "as above"),
    (
        "src/failpoint.rs",
        ".expect(\"the journal's folder can be read\")",
        "only with the feature of the crash tests, which prove nothing without their archive",
    ),
    ("src/failpoint.rs", ".expect(\"the archive is on the same file system\")", "as above"),
    (
        "src/config/mod.rs",
        "panic!(\"the defaults are faulty: {faults}\"",
        "a fixed text, read by tests and only by them",
    ),
    (
        "src/seglog/log.rs",
        "unreachable!(\"append rotates first",
        "a broken invariant of the only caller, ten lines above",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files under `folder` with their path relative to the root, in order; neither build products nor
/// what version control keeps for itself.
fn files_under(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_symlink() || [".git", "target", "corpus", "artifacts"].contains(&&*name) {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                files.push((relative, path));
            }
        }
    }
    files.sort();
    files
}

/// The sources of the program, without files that hold nothing but tests.
fn sources() -> Vec<Source> {
    let is_test = |path: &str| {
        path.split('/').any(|part| {
            let stem = part.trim_end_matches(".rs");
            stem == "tests" || stem.ends_with("_tests")
        })
    };
    let files = files_under(&root().join("src"));
    let rust = files.into_iter().filter(|(path, _)| path.ends_with(".rs") && !is_test(path));
    let sources: Vec<_> =
        rust.map(|(path, full)| Source::new(path, &fs::read_to_string(full).unwrap())).collect();
    assert!(sources.len() > 20, "only {} source files found: is src/ complete?", sources.len());
    sources
}

/// `listed` names this file or a folder above it (`x.rs` covers `x/` as well).
fn covers(listed: &str, path: &str) -> bool {
    let folder = listed.strip_suffix(".rs").map(|stem| format!("{stem}/"));
    path == listed || path.starts_with(folder.as_deref().unwrap_or(listed))
}

fn is_pure(source: &Source) -> bool {
    let path = &source.path;
    let edge = EDGE.iter().any(|(listed, _)| covers(listed, path));
    let listed = PURE.iter().any(|listed| covers(listed, path));
    let claims = contains_word(&source.module_docs, "Pure");
    !edge && (listed || claims)
}

/// What is wrong with a pure module, as `file:line: text: why`.
fn impurities(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let hashed = source.hashed_names(HASHED);
    for line in source.lines() {
        let mut fault = |word: &str, why: &str| {
            faults.push(format!("{}:{}: `{word}`: {why}", source.path, line.number));
        };
        for (word, why) in IMPURE {
            if contains_word(line.code, word) {
                fault(word, why);
            }
        }
        for name in INEXACT {
            let called = [format!(".{name}("), format!("f64::{name}"), format!("f32::{name}")];
            if called.iter().any(|call| contains_word(line.code, call)) {
                fault(name, "its bits depend on the platform: use `libm`, or write it out");
            }
        }
        for kind in HASHED {
            let declared = contains_word(line.code, kind) && !starts_word(line.code, "use");
            let said = |text: &str| text.contains("ook-up only") || text.contains("never walked");
            if declared && !said(line.comment) && !said(&source.module_docs) {
                fault(kind, "hash order is chance: use BTreeMap, or say `Look-up only` above it");
            }
        }
        for name in &hashed {
            let by_method =
                WALKS.iter().any(|walk| contains_word(line.code, &format!("{name}{walk}")));
            let by_loop = line.code.trim_start().starts_with("for ")
                && line.code.split_once(" in ").is_some_and(|(_, over)| {
                    let over = over.trim_end_matches([' ', '{']);
                    over.rsplit(['.', '&', ' ']).next() == Some(name.as_str())
                });
            if by_method || by_loop {
                fault(name, "is walked in hash order: keep it in a BTreeMap, or sort first");
            }
        }
    }
    faults
}

fn none(faults: Vec<String>, what: &str) {
    assert!(faults.is_empty(), "{} {what}:\n  {}", faults.len(), faults.join("\n  "));
}

#[test]
fn pure_modules_have_no_clock_no_io_no_chance() {
    let sources = sources();
    for listed in PURE.iter().copied().chain(EDGE.iter().map(|(path, _)| *path)) {
        let used = sources.iter().any(|source| covers(listed, &source.path));
        assert!(used, "{listed} is listed in tests/purity.rs and does not exist: mend the list");
    }
    let pure = sources.iter().filter(|source| is_pure(source));
    none(pure.flat_map(impurities).collect(), "impurities in pure modules");
}

#[test]
fn nothing_panics_outside_tests_but_for_a_reason() {
    let mut faults = Vec::new();
    let mut used = vec![false; PANICS.len()];
    for source in sources() {
        for line in source.lines() {
            let Some(word) = PANICKING.iter().find(|word| contains_word(line.code, word)) else {
                continue;
            };
            let allowed = PANICS
                .iter()
                .position(|(path, text, _)| *path == source.path && line.raw.contains(text));
            match allowed {
                Some(entry) => used[entry] = true,
                None => faults.push(format!(
                    "{}:{}: `{word}`: return an error, or add the line to PANICS in \
                     tests/purity.rs with why it cannot happen",
                    source.path, line.number
                )),
            }
        }
    }
    for ((path, text, _), used) in PANICS.iter().zip(used) {
        if !used {
            faults.push(format!("{path}: no line has `{text}` any more: take it out of PANICS"));
        }
    }
    none(faults, "panics (or stale exceptions)");
}

#[test]
fn nothing_is_unsafe() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "benches", "examples"] {
        for (path, full) in files_under(&root().join(folder)) {
            if path.ends_with(".rs") {
                let source = Source::new(path, &fs::read_to_string(full).unwrap());
                let lines = source.all_lines().filter(|line| contains_word(line.code, "unsafe"));
                faults.extend(lines.map(|line| format!("{}:{}", source.path, line.number)));
            }
        }
    }
    none(faults, "lines with `unsafe`");
}

/// Names that only a build machine or a package registry knows, put together here so that this file
/// does not hold them.
fn private() -> Vec<String> {
    let hosts = ["index", "static"].map(|part| format!("{part}.crates{}", ".io"));
    let others = [
        ["/wo", "rk/"],
        ["/fa", "rm/"],
        ["/tmp/", "w/"],
        ["/ro", "ot/."],
        ["crates.io-", "index"],
        ["registry.npmjs", ".org"],
        ["pythonhosted", ".org"],
        ["proxy.golang", ".org"],
        ["deb.debian", ".org"],
        ["arti", "factory"],
    ];
    hosts.into_iter().chain(others.map(|parts| parts.concat())).collect()
}

/// The line that cargo itself writes into a lock file.
fn is_cargos_own(path: &str, line: &str) -> bool {
    let name = concat!("crates.io-", "index");
    path.ends_with("Cargo.lock")
        && line == format!("source = \"registry+https://github.com/rust-lang/{name}\"")
}

#[test]
fn no_file_tells_of_the_machine_it_was_written_on() {
    let private = private();
    let mut faults = Vec::new();
    for (path, full) in repository_files() {
        // What is not text has no lines to read.
        let Ok(text) = fs::read_to_string(full) else { continue };
        for (number, line) in text.lines().enumerate() {
            let found = private.iter().find(|name| line.contains(name.as_str()));
            if let Some(name) = found.filter(|_| !is_cargos_own(&path, line)) {
                faults.push(format!("{path}:{}: `{name}`", number + 1));
            }
        }
    }
    none(faults, "private paths or registry hosts; write it so that it holds everywhere");
}

/// What version control has or would take; without it, every file.
fn repository_files() -> Vec<(String, PathBuf)> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    match git.output() {
        Ok(output) if output.status.success() => {
            let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
            let names = names.split_terminator('\0').map(str::to_owned);
            let files: Vec<_> = names.map(|name| (name.clone(), root().join(name))).collect();
            assert!(!files.is_empty(), "git knows no files here");
            files
        }
        _ => files_under(root()),
    }
}

/// The fence itself: each kind of offence is seen, and what only looks like one is not.
#[test]
fn the_scan_sees_what_it_should() {
    let check = |code: &str, expected: &[&str]| {
        let source = Source::new("src/x.rs".to_owned(), code);
        let faults = impurities(&source);
        let found: Vec<_> = faults.iter().map(|f| f.split('`').nth(1).unwrap()).collect();
        assert_eq!(found, expected, "{code}");
    };
    check("let now = Instant::now();", &["Instant"]);
    check("// Instant::now\n/* std::fs /* tokio */ rand */ let x = 1;", &[]);
    check("let text = \"std::fs \\\" tokio\"; let raw = r#\"rand \" std::net\"#;", &[]);
    check("let c = '\"'; use std::fs::File; let d = '\"';", &["std::fs"]);
    check("fn f<'a>(x: &'a str) { std::env::var(x) }", &["std::env"]);
    check("let operand = brand; let instant = 1; let random = 2;", &[]);
    check("let y = x.exp() + f64::ln(2.0) + libm::exp(x) + exp(x) + x.sqrt();", &["exp", "ln"]);
    check("x.iter().map(f64::sin); let z = x\n    .mul_add(1.0, 2.0);", &["sin", "mul_add"]);
    check("use std::collections::HashMap;\nstruct S {\n    m: HashMap<u8, u8>,\n}", &["HashMap"]);
    check("struct S {\n    /// Look-up only.\n    m: HashMap<u8, u8>,\n}", &[]);
    check("// Look-up only.\nlet mut m = HashMap::new();\nfor (k, v) in &m {\n}", &["m"]);
    check("struct S {\n    m: HashSet<u8>, // Look-up only\n}\nself.m.drain();", &["m"]);
    check("//! The table is never\n//! walked.\nstruct S { t: HashTable<u8> }", &[]);
    check("#[cfg(test)]\nmod tests {\n    fn f() { std::fs::read() }\n}", &[]);
    check("#[cfg(test)]\n#[derive(Debug)]\nfn f() {}\nfn g() { std::fs::read() }", &["std::fs"]);
    check("#[cfg(test)]\nmod tests;\nfn g(x: f64) -> f64 { x.powi(2) }", &["powi"]);
}
