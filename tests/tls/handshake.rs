//! What a connection says when TLS does not come about, and that it comes about.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustls::{CertificateError, Error};
use weir::mqtt::{Event, MqttError, Options, Version, connect};
use weir::tls::{Client, Files, explain};

use crate::authority::{Authority, Pair, VALID, source, write};
use crate::mosquitto::{Mosquitto, free_port};

const BOTH: [Version; 2] = [Version::V5, Version::V4];

/// A broker with this certificate; `more`: further lines.
pub fn broker(pair: &Pair, more: &str) -> Mosquitto {
    Mosquitto::start_with(&format!(
        "certfile {}\nkeyfile {}\n{more}\nallow_anonymous true\nmax_queued_messages 0\n",
        pair.cert.display(),
        pair.key.display()
    ))
}

/// Lines that make a broker want certificates of this authority.
pub fn wants(authority: &Path) -> String {
    format!("cafile {}\nrequire_certificate true\n", authority.display())
}

fn files(ca: &Path, own: Option<&Pair>) -> Files {
    let identity = own.map(|pair| (source(&pair.cert), source(&pair.key)));
    Files { ca: Some(source(ca)), identity, ..Files::default() }
}

/// How the connection to this host begins.
fn attempt(
    host: &str,
    port: u16,
    version: Version,
    tls: Option<Files>,
) -> Result<Event, MqttError> {
    let mut options = Options::new(host, port, "weir-test");
    options.version = version;
    options.clean = true;
    options.tls = tls.map(|files| Client::load(&files, "place").unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_sender, mut connection) = connect(&options);
        let polled = tokio::time::timeout(Duration::from_secs(20), connection.poll());
        polled.await.expect("in time")
    })
}

fn succeeds(host: &str, port: u16, version: Version, tls: Files) {
    match attempt(host, port, version, Some(tls)) {
        Ok(Event::Connected { .. }) => {}
        other => panic!("{version:?}: {other:?}"),
    }
}

/// The connection fails in both versions, with a message that holds all of these.
fn fails(host: &str, port: u16, tls: Option<Files>, parts: &[&str]) {
    for version in BOTH {
        let error = attempt(host, port, version, tls.clone()).expect_err("refused").to_string();
        for part in parts {
            assert!(error.contains(part), "{version:?}: no {part:?} in: {error}");
        }
    }
}

#[test]
fn both_versions_connect_with_verified_certificates_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let server = ca.server(&["localhost", "127.0.0.1"], VALID);
    let client = ca.client("gw-01", VALID);
    let broker = broker(&server, &wants(&ca.cert()));
    for version in BOTH {
        for host in ["localhost", "127.0.0.1"] {
            succeeds(host, broker.port(), version, files(&ca.cert(), Some(&client)));
        }
    }
}

#[test]
fn an_ipv6_address_is_connected_to_and_verified() {
    // Where there is no IPv6 there is nothing to see.
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else { return };
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let server = ca.server(&["::1"], VALID);
    let more = format!(
        "listener {port} ::1\ncertfile {}\nkeyfile {}\n",
        server.cert.display(),
        server.key.display()
    );
    let _broker = broker(&server, &more);
    for version in BOTH {
        succeeds("::1", port, version, files(&ca.cert(), None));
    }
}

#[test]
fn an_rsa_broker_is_verified_too() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let pem = Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .expect("openssl runs: install the package openssl");
    let key = rcgen::KeyPair::from_pem(std::str::from_utf8(&pem.stdout).unwrap()).unwrap();
    let broker = broker(&ca.server_with(&["localhost"], key), "");
    for version in BOTH {
        succeeds("localhost", broker.port(), version, files(&ca.cert(), None));
    }
}

#[test]
fn a_wrong_authority_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let other = Authority::new(folder.path(), "other");
    let broker = broker(&ca.server(&["localhost"], VALID), "");
    let wanted = other.cert().display().to_string();
    fails(
        "localhost",
        broker.port(),
        Some(files(&other.cert(), None)),
        &["mqtts://localhost:", "unknown issuer", &wanted, "as ca_file"],
    );
}

#[test]
fn an_expired_broker_is_told_with_both_times() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let broker = broker(&ca.server(&["localhost"], (2020, 2021)), "");
    fails(
        "localhost",
        broker.port(),
        Some(files(&ca.cert(), None)),
        &["expired on 2021-01-01T00:00:00Z", "the gateway's clock says 20", "renew"],
    );
}

#[test]
fn a_broker_not_valid_yet_is_told_with_both_times() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let broker = broker(&ca.server(&["localhost"], (2110, 2120)), "");
    fails(
        "localhost",
        broker.port(),
        Some(files(&ca.cert(), None)),
        &["not valid before 2110-01-01T00:00:00Z", "the gateway's clock says 20", "timedatectl"],
    );
}

#[test]
fn a_clock_that_is_not_set_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let client = Client::load(&files(&ca.cert(), None), "place").unwrap();
    let at = |seconds| rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let fault = CertificateError::NotValidYetContext { time: at(5), not_before: at(1_577_836_800) };
    let peer = explain::Peer { client: &client, now: 5 };
    let text = explain::explain(&Error::InvalidCertificate(fault), &peer);
    assert!(text.contains("clock is not set (it says 1970-01-01T00:00:05Z)"), "{text}");
    assert!(text.contains("tries again by itself"), "{text}");
}

#[test]
fn a_wrong_host_is_told_with_the_names_that_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let broker = broker(&ca.server(&["broker.example", "192.0.2.7"], VALID), "");
    for host in ["localhost", "127.0.0.1"] {
        fails(
            host,
            broker.port(),
            Some(files(&ca.cert(), None)),
            &["is for broker.example, 192.0.2.7, not for", host, "into url"],
        );
    }
}

#[test]
fn an_authority_s_own_certificate_is_no_broker_s() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let clients = ca.client("localhost", VALID);
    let broker = broker(&clients, "");
    fails("localhost", broker.port(), Some(files(&ca.cert(), None)), &["serverAuth"]);
}

#[test]
fn a_missing_client_certificate_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let broker = broker(&ca.server(&["localhost"], VALID), &wants(&ca.cert()));
    fails(
        "localhost",
        broker.port(),
        Some(files(&ca.cert(), None)),
        &["client certificate", "cert_file"],
    );
}

#[test]
fn a_refused_client_certificate_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let other = Authority::new(folder.path(), "other");
    let broker = broker(&ca.server(&["localhost"], VALID), &wants(&ca.cert()));
    fails(
        "localhost",
        broker.port(),
        Some(files(&ca.cert(), Some(&other.client("gw-01", VALID)))),
        &["authority of our client certificate (gw-01,", "cafile"],
    );
    fails(
        "localhost",
        broker.port(),
        Some(files(&ca.cert(), Some(&ca.client("gw-01", (2020, 2021))))),
        &["client certificate (gw-01, valid to 2021-01-01T00:00:00Z) has expired", "renew"],
    );
}

#[test]
fn a_revoked_client_certificate_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let (good, revoked) = (ca.client("gw-01", VALID), ca.client("gw-02", VALID));
    let list = ca.revoke(&[&revoked]);
    let more = format!("{}crlfile {}\n", wants(&ca.cert()), list.display());
    let broker = broker(&ca.server(&["localhost"], VALID), &more);
    succeeds("localhost", broker.port(), Version::V5, files(&ca.cert(), Some(&good)));
    fails(
        "localhost",
        broker.port(),
        Some(files(&ca.cert(), Some(&revoked))),
        &["client certificate (gw-02,", "is revoked", "reload"],
    );
}

/// As [`files`], with a list of revoked certificates.
fn listed(ca: &Path, list: &Path) -> Files {
    Files { crl: Some(source(list)), ..files(ca, None) }
}

#[test]
fn a_revoked_broker_is_refused_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let (good, revoked) = (ca.server(&["localhost"], VALID), ca.server(&["localhost"], VALID));
    let list = ca.revoke(&[&revoked]);
    let (good, revoked) = (broker(&good, ""), broker(&revoked, ""));
    for version in BOTH {
        succeeds("localhost", good.port(), version, listed(&ca.cert(), &list));
    }
    let told = &["the broker's certificate is revoked", "crl_file"];
    fails("localhost", revoked.port(), Some(listed(&ca.cert(), &list)), told);
    succeeds("localhost", revoked.port(), Version::V5, files(&ca.cert(), None));
}

#[test]
fn a_list_of_revoked_certificates_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let broker = broker(&ca.server(&["localhost"], VALID), "");
    let refused = |list: &Path, told: &[&str]| {
        fails("localhost", broker.port(), Some(listed(&ca.cert(), list)), told);
    };
    let ended = ca.revoke_until(&[], 2025);
    refused(&ended, &["crl_file ended on 2025-01-01T00:00:00Z", "the gateway's clock says 20"]);
    let other = Authority::new(folder.path(), "other");
    refused(&other.revoke(&[]), &["no list in crl_file is from the issuer"]);
    // Of the same name, but not the same.
    let elsewhere = tempfile::tempdir().unwrap();
    let forged = Authority::new(elsewhere.path(), "ca").revoke(&[]);
    refused(&forged, &["crl_file cannot be believed (BadSignature)"]);

    let unreadable = |text: &str| {
        let list = folder.path().join("list");
        write(&list, text, 0o644);
        Client::load(&listed(&ca.cert(), &list), "place").unwrap_err().to_string()
    };
    let told = unreadable(&ca.pem());
    assert!(told.contains("holds no list of revoked certificates (X509 CRL)"), "{told}");
    let told = unreadable("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    assert!(told.contains("list of revoked certificates that cannot be used"), "{told}");
    let told = unreadable("-----BEGIN X509 CRL-----\nAAAA\n");
    assert!(told.contains("ends in the middle of a section"), "{told}");
}

#[test]
fn tls_to_a_plain_port_and_plain_to_a_tls_port_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let plain = Mosquitto::start();
    fails(
        "localhost",
        plain.port(),
        Some(files(&ca.cert(), None)),
        &["does not speak TLS", "1883"],
    );
    let tls = broker(&ca.server(&["localhost"], VALID), "");
    fails("localhost", tls.port(), None, &["does it want TLS (mqtts://"]);
    fails("localhost", free_port(), Some(files(&ca.cert(), None)), &["nothing listens there"]);
}

#[test]
fn without_ca_file_the_system_decides() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let broker = broker(&ca.server(&["localhost"], VALID), "");
    let Ok(client) = Client::load(&Files::default(), "weir.toml:2:7: [mqtt] url") else {
        // A machine without certificates of authorities says so, and what to install.
        let fault = Client::load(&Files::default(), "weir.toml:2:7: [mqtt] url").unwrap_err();
        assert!(fault.to_string().contains("ca-certificates"), "{fault}");
        return;
    };
    assert_eq!(client.authority, "the system's authorities");
    fails("localhost", broker.port(), Some(Files::default()), &["unknown issuer", "the system's"]);
}
