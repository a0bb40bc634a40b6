//! Sockets that the service manager opened before the daemon started: sd_listen_fds(3).
//!
//! Edge. The page's socket is named `http` (`FileDescriptorName=`), one for lines as its `[[tcp]]`
//! table; sockets under other names are faults, because nobody would ever answer there.

use std::collections::BTreeMap;
use std::env;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// A socket that listens already.
#[derive(Debug)]
pub enum Inherited {
    /// An Internet address.
    Tcp(TcpListener),
    /// A path, guarded by its file's mode.
    Unix(UnixListener),
}

/// The sockets given to this process, with their names.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(String, Inherited)>);

impl Sockets {
    /// Reads `$LISTEN_FDS`, `$LISTEN_PID` and `$LISTEN_FDNAMES`, and removes the first two, so that a
    /// child does not take them for its own. To be called once, before any thread starts.
    ///
    /// # Errors
    /// When one of them is no listening stream socket.
    pub fn from_env() -> Result<Sockets, String> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut descriptors = ListenFd::from_env();
        let names = assign(&names, descriptors.len());
        let mut sockets = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            let socket = match descriptors.take_tcp_listener(index) {
                Ok(socket) => socket.map(Inherited::Tcp),
                Err(_) => descriptors
                    .take_unix_listener(index)
                    .map_err(|error| {
                        format!(
                            "socket {name:?} of the service manager: {error}; weir takes stream \
                             sockets (ListenStream=)"
                        )
                    })?
                    .map(Inherited::Unix),
            };
            sockets.extend(socket.map(|socket| (name, socket)));
        }
        Ok(Sockets(sockets))
    }

    /// The sockets by their names, which must be among `known`.
    ///
    /// # Errors
    /// When several have one name, or some have names that nobody asks for.
    pub fn by_name(self, known: &[&str]) -> Result<BTreeMap<String, Inherited>, String> {
        let mut sockets = BTreeMap::new();
        for (name, socket) in self.0 {
            if !known.contains(&name.as_str()) {
                let known: Vec<String> =
                    known.iter().map(|name| format!("FileDescriptorName={name}")).collect();
                return Err(format!(
                    "the service manager gave a socket named {name:?}: set {}, or write a [[tcp]] \
                     table with this name",
                    known.join(" or ")
                ));
            }
            if sockets.insert(name.clone(), socket).is_some() {
                return Err(format!(
                    "the service manager gave several sockets named {name:?}: weir takes one; give \
                     each unit a FileDescriptorName= of its own"
                ));
            }
        }
        Ok(sockets)
    }
}

/// A name for each of `count` sockets. `names`: joined by colons; systemd always sets them, other
/// managers may not: then the name is `http`.
fn assign(names: &str, count: usize) -> Vec<String> {
    let mut given = names.split(':').filter(|_| !names.is_empty());
    (0..count).map(|_| given.next().unwrap_or("http").to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> (String, Inherited) {
        (name.to_owned(), Inherited::Tcp(TcpListener::bind("127.0.0.1:0").unwrap()))
    }

    #[test]
    fn one_socket_under_each_known_name_is_taken() {
        let by_name = |names: &[&str]| {
            Sockets(names.iter().map(|name| socket(name)).collect()).by_name(&["http", "tcp"])
        };
        assert!(by_name(&[]).unwrap().is_empty());
        let both = by_name(&["tcp", "http"]).unwrap();
        assert_eq!(both.keys().collect::<Vec<_>>(), ["http", "tcp"]);
        let other = by_name(&["weir.socket"]).unwrap_err();
        let mend = "\"weir.socket\": set FileDescriptorName=http or FileDescriptorName=tcp";
        assert!(other.contains(mend), "{other}");
        let two = by_name(&["http", "http"]).unwrap_err();
        assert!(two.contains("several sockets named \"http\""), "{two}");
    }

    #[test]
    fn names_go_with_sockets_in_order() {
        for (names, count, expected) in [
            ("", 0, &[][..]),
            ("", 1, &["http"][..]),
            ("http", 1, &["http"]),
            ("a:b", 2, &["a", "b"]),
            ("a", 2, &["a", "http"]),
        ] {
            assert_eq!(assign(names, count), expected, "{names:?} {count}");
        }
    }
}
