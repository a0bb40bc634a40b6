//! Lines from beyond this machine: TLS, and a token or client certificates.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use crate::authority::{Authority, Pair, VALID, write};
use crate::daemon::{Settings, Site};
use crate::mosquitto::{Mosquitto, free_port};
use crate::peer::{Peer, peer};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A reading of this device.
fn line(device: &str) -> String {
    format!("{{\"device\":\"{device}\",\"metric\":\"m\",\"value\":1,\"ts\":1767225600}}\n")
}

/// A connection to this port as this client.
fn connect(port: u16, ca: &Path, own: Option<&Pair>) -> Peer {
    peer(port, ca, "localhost", own).unwrap()
}

/// What comes back for these lines; nothing when the connection ends first.
fn answer(mut lines: Peer, text: &str) -> String {
    let mut answer = String::new();
    // Who is refused may be told while it still writes.
    let _ = lines.write_all(text.as_bytes());
    let _ = BufReader::new(lines).read_line(&mut answer);
    answer
}

/// A site whose input listens everywhere, with these lines besides; its port.
fn site(broker: u16, server: &Pair, guard: &str) -> (Site, u16) {
    let port = free_port();
    let settings = Settings::new(broker).and(&format!(
        "[[tcp]]\nlisten = '0.0.0.0:{port}'\nvalue = '/value'\ntime = '/ts'\nack = 'line'\n\
         cert_file = '{}'\nkey_file = '{}'\n{guard}",
        server.cert.display(),
        server.key.display(),
    ));
    (Site::new(&settings), port)
}

#[test]
fn lines_from_elsewhere_come_with_tls_and_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let server = ca.server(&["localhost"], VALID);
    let token = folder.path().join("token");
    write(&token, TOKEN, 0o600);
    let broker = Mosquitto::start();
    let guard = format!("token_file = '{}'\n", token.display());
    let (site, port) = site(broker.port(), &server, &guard);
    let weir = site.start();
    let send =
        |token: &str| answer(connect(port, &ca.cert(), None), &format!("{token}\n{}", line("d")));
    assert_eq!(send(TOKEN), "ok 1\n");
    weir.takes(1);
    let refused = "refused: the first line must be the token\n";
    for wrong in ["0123456789abcdef0123456789abcdeX", "", "0123456789abcdef", line("d").trim_end()]
    {
        assert_eq!(send(wrong), refused, "{wrong}");
    }
    weir.counts("weir_tcp_refused_total{reason=\"token\"}", 4.0);
    // Not TLS at all.
    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    plain.write_all(format!("{TOKEN}\n{}", line("d")).as_bytes()).unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    weir.counts("weir_tcp_refused_total{reason=\"tls\"}", 1.0);
    // A new token on SIGHUP; a connection that stands stays.
    let mut standing = connect(port, &ca.cert(), None);
    standing.write_all(format!("{TOKEN}\n").as_bytes()).unwrap();
    weir.counts("weir_tcp_connections{input=\"tcp\"}", 1.0);
    let new = "fedcba9876543210fedcba9876543210";
    write(&token, new, 0o600);
    weir.signal("HUP");
    weir.says("certificate or token changed");
    assert_eq!(send(TOKEN), refused);
    let last = format!("{new}\n{}", line("last"));
    assert_eq!(answer(connect(port, &ca.cert(), None), &last), "ok 1\n");
    // "ok" is said when a line is durable; it is counted when its batch is committed, with all before it.
    weir.counts("weir_series", 2.0);
    assert_eq!(weir.metric("weir_readings_total"), 2.0, "nothing of who was refused");
    drop(standing);
    let certificates = weir.status()["certificates"].clone();
    assert!(certificates.to_string().contains("\"used_by\":\"tcp\""), "{certificates}");
    weir.stop();
}

#[test]
fn lines_from_elsewhere_come_with_client_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Authority::new(folder.path(), "ca"), Authority::new(folder.path(), "other"));
    let server = ca.server(&["localhost"], VALID);
    let (good, revoked) = (ca.client("plc-1", VALID), ca.client("plc-2", VALID));
    let list = ca.revoke(&[&revoked]);
    let broker = Mosquitto::start();
    let guard = format!(
        "client_ca_file = '{}'\nclient_crl_file = '{}'\n",
        ca.cert().display(),
        list.display()
    );
    let (site, port) = site(broker.port(), &server, &guard);
    let weir = site.start();
    let send = |own: Option<&Pair>| answer(connect(port, &ca.cert(), own), &line("d"));
    assert_eq!(send(Some(&good)), "ok 1\n");
    assert_eq!(send(None), "", "without a certificate");
    assert_eq!(send(Some(&other.client("plc-1", VALID))), "", "of another authority");
    assert_eq!(send(Some(&ca.client("plc-3", (2020, 2021)))), "", "expired");
    assert_eq!(send(Some(&revoked)), "", "revoked");
    weir.counts("weir_tcp_refused_total{reason=\"tls\"}", 4.0);
    assert_eq!(answer(connect(port, &ca.cert(), Some(&good)), &line("last")), "ok 1\n");
    weir.counts("weir_series", 2.0);
    assert_eq!(weir.metric("weir_readings_total"), 2.0, "nothing of who was refused");
    weir.stop();
}
