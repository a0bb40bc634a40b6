//! The page behind TLS and a token, and on a Unix socket: the real daemon, raw clients.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use weir::config::Config;
use weir::config::access::Loaded;

use crate::authority::{Authority, VALID, write};
use crate::daemon::{Settings, Site, Weir, until};
use crate::mosquitto::{Mosquitto, free_port};
use crate::peer::peer;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A daemon whose `[http]` is this; waits until it listens.
fn start(site: &Site, broker: u16, http: &str) -> Weir {
    let text = Settings::new(broker).text(&site.state);
    site.configure_text(
        &text.replace("[http]\nlisten = '127.0.0.1:0'\n", &format!("[http]\n{http}")),
    );
    let weir = site.spawn();
    weir.says("page and metrics at ");
    weir
}

/// One request over TLS, verified against this authority; code, head, body.
fn https(port: u16, ca: &Path, name: &str, request: &str) -> std::io::Result<(u16, String)> {
    exchange(&mut peer(port, ca, name, None)?, request)
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> std::io::Result<(u16, String)> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((code, answer))
}

fn get(path: &str, host: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")
}

#[test]
fn beyond_this_machine_the_page_takes_tls_and_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let file = |name: &str| folder.path().join(name);
    let server = ca.server(&["gw-01.example", "localhost"], (2020, 2101));
    write(&file("token"), TOKEN, 0o600);
    let broker = Mosquitto::start();
    let port = free_port();
    let site = Site::new(&Settings::new(broker.port()));
    let http = format!(
        "listen = '0.0.0.0:{port}'\ncert_file = '{}'\nkey_file = '{}'\ntoken_file = '{}'\n",
        server.cert.display(),
        server.key.display(),
        file("token").display()
    );
    let weir = start(&site, broker.port(), &http);
    weir.says(&format!("page and metrics at https://0.0.0.0:{port}/"));
    let ask = |request: &str| https(port, &ca.cert(), "gw-01.example", request).unwrap();
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");

    let (code, answer) = ask(&get("/", "gw-01.example", ""));
    assert_eq!(code, 401, "{answer}");
    assert!(answer.contains("www-authenticate: Basic realm=\"weir\""), "{answer}");
    assert!(answer.contains("content-security-policy: default-src 'none'"), "{answer}");
    assert!(!answer.contains("<html"), "{answer}");
    for path in ["/", "/page.js", "/metrics", "/api/status", "/api/series", "/api/alarms"] {
        assert_eq!(ask(&get(path, "gw-01.example", "")).0, 401, "{path}");
        assert_eq!(ask(&get(path, "gw-01.example", &bearer)).0, 200, "{path}");
    }
    // user: anybody, password: the token.
    let basic = "Authorization: Basic YW55Ym9keTowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==\r\n";
    assert_eq!(ask(&get("/", "gw-01.example", basic)).0, 200);
    let wrong = "Authorization: Bearer 0123456789abcdef0123456789abcdeX\r\n";
    assert_eq!(ask(&get("/", "gw-01.example", wrong)).0, 401);
    // Only names that are the certificate's, or this machine's.
    assert_eq!(ask(&get("/", "evil.example", &bearer)).0, 403);
    assert_eq!(ask(&get("/", &format!("localhost:{port}"), &bearer)).0, 200);
    // A probe on this machine needs no token.
    assert_eq!(ask(&get("/healthz", "localhost", "")).0, 200);
    // Plain HTTP gets nothing.
    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    plain.write_all(get("/healthz", "localhost", "").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    // A new certificate and a new token on SIGHUP.
    let new = "fedcba9876543210fedcba9876543210";
    write(&file("token"), new, 0o600);
    let next = Authority::new(folder.path(), "next");
    let renewed = next.server(&["gw-01.example"], VALID);
    std::fs::copy(&renewed.cert, &server.cert).unwrap();
    std::fs::copy(&renewed.key, &server.key).unwrap();
    weir.signal("HUP");
    weir.says("certificate or token changed");
    let fresh = format!("Authorization: Bearer {new}\r\n");
    until("the new certificate", || {
        let asked = https(port, &next.cert(), "gw-01.example", &get("/", "gw-01.example", &fresh));
        asked.ok().filter(|(code, _)| *code == 200).map(drop)
    });
    assert!(https(port, &ca.cert(), "gw-01.example", &get("/", "gw-01.example", &fresh)).is_err());
    let old = https(port, &next.cert(), "gw-01.example", &get("/", "gw-01.example", &bearer));
    assert_eq!(old.unwrap().0, 401);
    let log = weir.stop();
    assert!(!log.contains(TOKEN) && !log.contains(new), "{log}");
}

#[test]
fn a_unix_socket_is_for_owner_and_group_and_goes_with_the_daemon() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let path = site.folder().join("http.sock");
    let http = format!("listen = 'unix:{}'\n", path.display());
    let mut weir = start(&site, broker.port(), &http);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let ask = |host: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        exchange(&mut stream, &get("/healthz", host, "")).unwrap()
    };
    assert_eq!(ask("localhost").0, 200);
    assert_eq!(ask("evil.example").0, 403);
    // A killed daemon leaves its socket; the next one replaces it.
    weir.kill();
    assert!(path.exists());
    let weir = start(&site, broker.port(), &http);
    assert_eq!(ask("localhost").0, 200);
    weir.stop();
    assert!(!path.exists());
    // What is no socket is not removed.
    std::fs::write(&path, "precious").unwrap();
    let weir = site.spawn();
    let log = weir.ends_with(1);
    assert!(log.contains("in the way"), "{log}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

/// The service manager's socket takes the place of `listen`, not that of TLS and token.
#[test]
fn tls_and_token_are_read_also_where_only_the_service_manager_listens() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Authority::new(folder.path(), "ca");
    let server = ca.server(&["gw-01.example"], VALID);
    let token = folder.path().join("token");
    write(&token, TOKEN, 0o600);
    let text = format!(
        "[http]\nlisten = 'off'\ncert_file = '{}'\nkey_file = '{}'\ntoken_file = '{}'\n",
        server.cert.display(),
        server.key.display(),
        token.display()
    );
    let loaded = Loaded::read(&Config::from_text(&text).unwrap()).unwrap();
    assert!(loaded.http.tls.is_some() && loaded.http.is_guarded());
}
