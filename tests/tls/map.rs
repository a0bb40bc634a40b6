//! docs/security.md names tests and commands: they exist.

use std::path::Path;

#[test]
fn every_test_and_command_that_the_map_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/security.md")).unwrap();
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let (_, map) = text.split_once("## Map to ETSI EN 303 645").expect("the map");
    let mut named = 0;
    // Every second piece between backticks is code.
    for code in map.split('`').skip(1).step_by(2) {
        if let Some((file, test)) = code.split_once("::") {
            if file == "file" {
                continue;
            }
            let source = std::fs::read_to_string(root.join(file))
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            let function = format!("fn {test}()");
            let before = source.split_once(&function).unwrap_or_else(|| panic!("no {code}")).0;
            let attribute = before.rsplit("\n\n").next().unwrap_or("");
            assert!(attribute.contains("test]"), "{code} is no test");
            named += 1;
        } else if let Some(target) = code.strip_prefix("make ") {
            assert!(makefile.contains(&format!("\n{target}: ")), "no target {target}");
            named += 1;
        }
    }
    assert!(named >= 30, "{named} names found");
    for row in map.lines().filter(|line| line.starts_with("| 5.")) {
        assert!(row.contains("::") || row.contains("`make "), "shown by nothing: {row}");
    }
    for provision in 1..=13 {
        assert!(map.contains(&format!("| 5.{provision} ")), "5.{provision} is missing");
    }
}

/// Where to report, in private; when an answer comes; and no address that nobody reads.
#[test]
fn there_is_a_policy_for_reports_of_vulnerabilities() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let policy = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    for part in ["## Reporting a vulnerability", "in private", "working days", "docs/security.md"] {
        assert!(policy.contains(part), "{part}");
    }
    assert!(!policy.contains('@'), "an address");
}
