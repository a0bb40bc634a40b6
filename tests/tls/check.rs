//! What `weir check` finds in certificates and secrets, and that a start refuses the same.

use std::path::Path;
use std::process::Command;

use crate::authority::{Authority, Pair, VALID, write};

/// `weir check` of a configuration with this `[mqtt]` and more: exit code and all it says.
fn check(folder: &Path, text: &str) -> (Option<i32>, String) {
    run(folder, text, |_| ())
}

fn run(folder: &Path, text: &str, change: impl Fn(&mut Command)) -> (Option<i32>, String) {
    let file = folder.join("weir.toml");
    let state = folder.join("state");
    let text = format!("gateway.id = 'gw'\nstate.path = '{}'\n{text}", state.display());
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["check", "--config"]).arg(&file).env_remove("CREDENTIALS_DIRECTORY");
    change(&mut command);
    let output = command.output().expect("the command starts");
    let all = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(all).unwrap())
}

fn mqtt(ca: &Path, pair: &Pair) -> String {
    format!(
        "[mqtt]\nurl = 'mqtts://localhost'\nca_file = '{}'\ncert_file = '{}'\nkey_file = '{}'\n",
        ca.display(),
        pair.cert.display(),
        pair.key.display()
    )
}

fn refused(folder: &Path, text: &str, parts: &[&str]) {
    let (code, said) = check(folder, text);
    assert_eq!(code, Some(78), "{said}");
    for part in parts {
        assert!(said.contains(part), "no {part:?} in: {said}");
    }
}

#[test]
fn good_files_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let (code, said) = check(folder.path(), &mqtt(&ca.cert(), &ca.client("gw", VALID)));
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("certificate"), "{said}");
}

#[test]
fn bad_files_are_refused_with_place_and_mend() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ca = Authority::new(path, "ca");
    let good = ca.client("gw", VALID);
    let other = ca.client("other", VALID);

    let swapped = Pair { key: other.key.clone(), ..good.clone() };
    let belongs = format!("does not belong to the certificate in {}", good.cert.display());
    refused(path, &mqtt(&ca.cert(), &swapped), &["weir.toml:7:12: [mqtt] key_file: ", &belongs]);

    let no_key = Pair { key: good.cert.clone(), ..good.clone() };
    write(&good.cert, &std::fs::read_to_string(&good.cert).unwrap(), 0o640);
    refused(path, &mqtt(&ca.cert(), &no_key), &["[mqtt] key_file: ", "holds no private key"]);

    let missing = path.join("none.pem");
    refused(path, &mqtt(&missing, &good), &["weir.toml:5:11: [mqtt] ca_file: ", "cannot be read"]);

    let torn = path.join("torn.pem");
    let pem = ca.pem();
    write(&torn, &pem[..pem.len() / 2], 0o644);
    refused(path, &mqtt(&torn, &good), &["[mqtt] ca_file: ", "in the middle of a section"]);
    write(&torn, "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", 0o644);
    refused(path, &mqtt(&torn, &good), &["[mqtt] ca_file: ", "malformed PEM"]);
    write(&torn, "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n", 0o644);
    refused(path, &mqtt(&torn, &good), &["certificate number 1 is malformed"]);
    write(&torn, "no PEM at all\n", 0o644);
    refused(path, &mqtt(&torn, &good), &["holds no certificate"]);

    let encrypted = Pair { key: path.join("encrypted.key"), ..good.clone() };
    let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write(&encrypted.key, text, 0o600);
    refused(path, &mqtt(&ca.cert(), &encrypted), &["is encrypted", "openssl pkey"]);

    write(&good.key, &std::fs::read_to_string(&good.key).unwrap(), 0o644);
    let chmod = format!("chmod 0640 {}", good.key.display());
    refused(path, &mqtt(&ca.cert(), &good), &["[mqtt] key_file: ", "mode 0644", &chmod]);
}

#[test]
fn lists_of_revoked_certificates_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ca = Authority::new(path, "ca");
    let client = ca.client("gw", VALID);
    let with =
        |list: &Path| format!("{}crl_file = '{}'\n", mqtt(&ca.cert(), &client), list.display());
    let (code, said) = check(path, &with(&ca.revoke(&[])));
    assert_eq!(code, Some(0), "{said}");
    let place = "weir.toml:8:12: [mqtt] crl_file: ";
    refused(path, &with(&ca.cert()), &[place, "holds no list of revoked certificates"]);
    refused(path, &with(&path.join("none")), &[place, "cannot be read"]);
    let ended = with(&ca.revoke_until(&[], 2025));
    refused(path, &ended, &[place, "ended on 2025-01-01T00:00:00Z", "SIGHUP"]);
}

#[test]
fn certificates_out_of_their_time_are_refused_and_those_near_their_end_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let ca = Authority::new(path, "ca");
    let expired = ca.client("gw", (2020, 2021));
    refused(path, &mqtt(&ca.cert(), &expired), &["[mqtt] cert_file: ", "expired on 2021-01-01"]);
    let early = ca.client("gw", (2110, 2120));
    refused(path, &mqtt(&ca.cert(), &early), &["not valid before 2110-01-01", "timedatectl"]);

    // Ten days before the end of the year that this one ends with.
    let year = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year();
    let ending = ca.client("gw", (2020, i32::from(year) + 1));
    let config_text =
        format!("gateway.id = 'gw'\nstate.path = '/nonexistent'\n{}", mqtt(&ca.cert(), &ending));
    let config = weir::config::Config::from_text(&config_text).unwrap();
    let end: jiff::Timestamp = format!("{}-01-01T00:00:00Z", year + 1).parse().unwrap();
    let found = weir::config::access::inspect(&config, end.as_second() - 10 * 86_400);
    assert_eq!(found.refusals, Vec::<String>::new());
    assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
    assert!(found.warnings[0].contains("[mqtt] cert_file: "), "{:?}", found.warnings);
    assert!(found.warnings[0].contains("ends in 10 days"), "{:?}", found.warnings);
}

#[test]
fn credentials_come_from_their_directory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let text = "[mqtt]\nusername = 'u'\npassword_file = 'broker.password'\n";
    let (code, said) = check(path, text);
    assert_eq!(code, Some(0), "only the unit can know: {said}");
    assert!(said.contains("LoadCredential=broker.password:/path"), "{said}");

    let credentials = path.join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let with = |command: &mut Command| {
        command.env("CREDENTIALS_DIRECTORY", &credentials);
    };
    let (code, said) = run(path, text, with);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("credential broker.password: cannot be read"), "{said}");
    write(&credentials.join("broker.password"), "hunter2\n", 0o440);
    let (code, said) = run(path, text, with);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("hunter2") && !said.contains("LoadCredential"), "{said}");
}

#[test]
fn a_short_token_is_refused_and_a_start_refuses_what_check_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let token = path.join("page.token");
    write(&token, "0123456789abcde\n", 0o600);
    let text = format!("[http]\ntoken_file = '{}'\n", token.display());
    refused(path, &text, &["[http] token_file: ", "at least 16 characters", "openssl rand -hex"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["run", "--config"]).arg(path.join("weir.toml"));
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("at least 16 characters"), "{said}");
    assert!(!said.contains("0123456789abcde"), "{said}");
}
