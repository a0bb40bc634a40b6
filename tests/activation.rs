//! Page and inputs of lines on sockets that the service manager opened: the daemon finds them among
//! its descriptors, as sd_listen_fds(3) says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `weir run` in `folder`, with `socket` as its descriptor 0 and announced under `name`. Its broker is
/// not there, which does not concern the page.
fn weir(folder: &Path, socket: impl Into<OwnedFd>, name: &str) -> Child {
    weir_with(folder, "listen = 'off'\n", socket, name)
}

/// As [`weir`], with this `[http]` and what may follow it.
fn weir_with(folder: &Path, http: &str, socket: impl Into<OwnedFd>, name: &str) -> Child {
    let file = folder.join("weir.toml");
    let state = folder.join("state");
    let text = format!(
        "[state]\npath = {state:?}\n[clock]\ntrust = 'always'\n[mqtt]\nurl = 'mqtt://127.0.0.1:1'\n\
         [http]\n{http}"
    );
    std::fs::write(&file, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--config"])
        .arg(&file)
        .env_remove("NOTIFY_SOCKET")
        .env_remove("LISTEN_PID")
        .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", name), ("LISTEN_FDS_FIRST_FD", "0")])
        .stdin(Stdio::from(socket.into()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// An input that is named as in the units, and listens only where systemd does.
const LINES: &str = "listen = 'off'\n[[tcp]]\nlisten = 'systemd'\nvalue = '/v'\nack = 'line'\n";

/// A line, and what comes back.
fn acknowledgement(mut stream: impl Read + Write) -> String {
    // Before the daemon accepts, the kernel does.
    writeln!(stream, "{{\"device\":\"d\",\"metric\":\"m\",\"v\":1}}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

fn healthz(mut stream: impl Read + Write) -> String {
    // Before the daemon accepts, the kernel does.
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Ends it; returns what it logged.
fn stop(mut weir: Child) -> String {
    Command::new("kill").args(["-TERM", &weir.id().to_string()]).status().unwrap();
    let mut log = String::new();
    BufReader::new(weir.stderr.take().unwrap()).read_to_string(&mut log).unwrap();
    weir.wait().unwrap();
    log
}

#[test]
fn a_port_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let weir = weir(folder.path(), socket, "http");
    let answer = healthz(TcpStream::connect(address).unwrap());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}\n{}", stop(weir));
    stop(weir);
}

#[test]
fn a_path_is_taken_over_and_left_alone_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let weir = weir(folder.path(), UnixListener::bind(&path).unwrap(), "http");
    let answer = healthz(UnixStream::connect(&path).unwrap());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}\n{}", stop(weir));
    stop(weir);
    assert!(path.exists(), "the service manager's socket was removed");
}

#[test]
fn lines_are_taken_on_a_port_that_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let weir = weir_with(folder.path(), LINES, socket, "tcp");
    let answer = acknowledgement(TcpStream::connect(address).unwrap());
    assert_eq!(answer, "ok 1\n", "{}", stop(weir));
    stop(weir);
}

#[test]
fn lines_are_taken_on_a_path_that_is_taken_over_and_left_alone_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tcp.sock");
    let weir = weir_with(folder.path(), LINES, UnixListener::bind(&path).unwrap(), "tcp");
    let answer = acknowledgement(UnixStream::connect(&path).unwrap());
    assert_eq!(answer, "ok 1\n", "{}", stop(weir));
    stop(weir);
    assert!(path.exists(), "the service manager's socket was removed");
}

/// The log of a daemon that refuses to start; one that runs all the same is ended.
fn refusal(http: &str, address: &str, name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind(address).unwrap();
    let mut weir = weir_with(folder.path(), http, socket, name);
    let mut lines = BufReader::new(weir.stderr.take().unwrap());
    let mut log = String::new();
    while lines.read_line(&mut log).unwrap() > 0 {
        if log.contains(" recovered ") {
            weir.kill().unwrap();
        }
    }
    assert_eq!(weir.wait().unwrap().code(), Some(1), "{log}");
    log
}

#[test]
fn lines_from_beyond_this_machine_are_refused_without_a_guard() {
    let log = refusal(LINES, "0.0.0.0:0", "tcp");
    let said = "[[tcp]] tcp: the service manager's socket listens on 0.0.0.0:";
    assert!(log.contains(said) && log.contains("client_ca_file"), "{log}");
    let log = refusal(LINES, "127.0.0.1:0", "http");
    assert!(log.contains("the service manager gave no socket of this name"), "{log}");
    assert!(log.contains("FileDescriptorName=tcp"), "{log}");
}

#[test]
fn what_cannot_be_served_is_said() {
    for (address, name, text) in [
        ("127.0.0.1:0", "metrics", "a socket named \"metrics\": set FileDescriptorName=http"),
        ("0.0.0.0:0", "http", "beyond loopback"),
    ] {
        let log = refusal("listen = 'off'\n", address, name);
        assert!(log.contains(text), "{log}");
    }
}
