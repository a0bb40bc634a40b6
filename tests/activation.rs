//! The page on a socket that the service manager opened: the daemon finds it among its descriptors,
//! as sd_listen_fds(3) says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `weir run` in `folder`, with `socket` as its descriptor 0 and announced under `name`. Its broker is
/// not there, which does not concern the page.
fn weir(folder: &Path, socket: impl Into<OwnedFd>, name: &str) -> Child {
    let file = folder.join("weir.toml");
    let state = folder.join("state");
    let text = format!(
        "[state]\npath = {state:?}\n[clock]\ntrust = 'always'\n[mqtt]\nurl = 'mqtt://127.0.0.1:1'\n\
         [http]\nlisten = 'off'\n"
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
fn what_cannot_be_served_is_said() {
    for (address, name, text) in [
        ("127.0.0.1:0", "metrics", "a socket named \"metrics\": set FileDescriptorName=http"),
        ("0.0.0.0:0", "http", "beyond loopback"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let socket = TcpListener::bind(address).unwrap();
        let mut weir = weir(folder.path(), socket, name);
        let mut log = String::new();
        let mut lines = BufReader::new(weir.stderr.take().unwrap());
        while lines.read_line(&mut log).unwrap() > 0 {}
        assert!(!weir.wait().unwrap().success() && log.contains(text), "{log}");
    }
}
