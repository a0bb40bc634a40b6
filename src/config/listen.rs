//! Reads `listen`: an address, a path, or a word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::reader::{At, TableReader};
use super::sections::Listen;

/// What listens there, for the words of faults.
pub(super) struct Listener {
    /// `the page`.
    pub what: &'static str,
    /// An address to write: `127.0.0.1:9377`.
    pub address: &'static str,
    /// A path to write: `/run/weir/http.sock`.
    pub path: &'static str,
    /// The word for no address at all: `off`.
    pub word: &'static str,
    /// What it needs beyond this machine: `TLS and a token`.
    pub guard: &'static str,
    /// … and the keys for it: `cert_file, key_file and token_file`.
    pub keys: &'static str,
    /// Who else might stand before it: ` behind a proxy`.
    pub before: &'static str,
}

/// What a `listen` says.
pub(super) enum Where {
    /// There.
    At(Listen),
    /// The word.
    Nowhere,
}

impl Listener {
    /// What `at` says; `None`: it is faulty. `guarded`: what it needs beyond this machine is written.
    pub fn read(&self, r: &TableReader<'_, '_>, at: At<String>, guarded: bool) -> Option<Where> {
        if at.value == self.word {
            return Some(Where::Nowhere);
        }
        if let Some(path) = at.value.strip_prefix("unix:") {
            // The longest that a socket's address can hold, and the zero behind it.
            if path.starts_with('/') && path.len() < 108 && !path.ends_with('/') {
                return Some(Where::At(Listen::Unix(PathBuf::from(path))));
            }
            r.cx.fault(
                &at.spot,
                "needs an absolute path of at most 107 bytes behind unix:",
                format!("write e.g. \"unix:{}\"", self.path),
            );
            return None;
        }
        let Ok(address) = at.value.parse::<SocketAddr>() else {
            r.cx.fault(
                &at.spot,
                format!("must be an address with a port, unix:/PATH, or \"{}\"", self.word),
                format!("write e.g. \"{}\"", self.address),
            );
            return None;
        };
        if !address.ip().is_loopback() && !guarded {
            let home: IpAddr = match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            r.cx.fault(
                &at.spot,
                format!("beyond this machine {} needs {}", self.what, self.guard),
                format!(
                    "write {}, or \"{}\", or \"unix:{}\"{}",
                    self.keys,
                    SocketAddr::new(home, address.port()),
                    self.path,
                    self.before
                ),
            );
        }
        Some(Where::At(Listen::Tcp(address)))
    }
}
