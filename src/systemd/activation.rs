//! Sockets that the service manager opened before the daemon started: sd_listen_fds(3).
//!
//! Edge. `weir.socket` names its socket `http` (`FileDescriptorName=`); sockets under other names
//! are faults, because nobody would ever answer there.

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

    /// The one socket of that name.
    ///
    /// # Errors
    /// When there are several, or some under names that nobody asks for.
    pub fn only(mut self, name: &str) -> Result<Option<Inherited>, String> {
        let first = self.0.pop();
        if let Some((other, _)) = self.0.first() {
            return Err(format!(
                "the service manager gave several sockets (also {other:?}): weir takes one, \
                 FileDescriptorName={name}"
            ));
        }
        match first {
            None => Ok(None),
            Some((found, socket)) if found == name => Ok(Some(socket)),
            Some((found, _)) => Err(format!(
                "the service manager gave a socket named {found:?}: set FileDescriptorName={name}"
            )),
        }
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
    fn one_socket_under_the_right_name_is_taken() {
        assert!(Sockets(vec![]).only("http").unwrap().is_none());
        assert!(Sockets(vec![socket("http")]).only("http").unwrap().is_some());
        let other = Sockets(vec![socket("weir.socket")]).only("http").unwrap_err();
        assert!(other.contains("\"weir.socket\": set FileDescriptorName=http"), "{other}");
        let two = Sockets(vec![socket("http"), socket("http")]).only("http").unwrap_err();
        assert!(two.contains("several sockets"), "{two}");
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
