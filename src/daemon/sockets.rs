//! Where page and inputs listen: on the socket that the service manager has opened, else where the
//! configuration says.

use std::collections::BTreeMap;

use super::Failure;
use super::access::Accesses;
use crate::config::{Config, Listen};
use crate::socket::Socket;
use crate::systemd::activation::Inherited;

/// Sockets of the service manager, by name.
pub type InheritedSockets = BTreeMap<String, Inherited>;

/// Name of the page's socket.
pub const PAGE: &str = "http";

/// What the service manager's sockets may be called.
pub fn names(config: &Config) -> Vec<&str> {
    std::iter::once(PAGE).chain(config.tcp.iter().map(|input| input.name.as_str())).collect()
}

/// The page's socket; `None`: there is to be none.
///
/// # Errors
/// When it cannot listen, or must not: an inherited socket obeys the same rule as `[http] listen`.
pub async fn page(
    config: &Config,
    accesses: &Accesses,
    inherited: &mut InheritedSockets,
) -> Result<Option<Socket>, Failure> {
    let opening = Opening {
        who: "page".to_owned(),
        guarded: accesses.door().borrow().is_guarded(),
        guard: "TLS and a token; set [http] cert_file, key_file and token_file",
        elsewhere: "another [http] listen, or \"off\"",
    };
    match (inherited.remove(PAGE), &config.http.listen) {
        (Some(inherited), _) => opening.adopt(inherited).map(Some),
        (None, Some(listen)) => opening.open(listen).await.map(Some),
        (None, None) => Ok(None),
    }
}

/// The sockets of all `[[tcp]]` tables, in order.
///
/// # Errors
/// As [`page`]; and when there is none, since nobody would take the readings.
pub async fn inputs(
    config: &Config,
    accesses: &Accesses,
    inherited: &mut InheritedSockets,
) -> Result<Vec<Socket>, Failure> {
    let mut sockets = Vec::new();
    for (index, input) in config.tcp.iter().enumerate() {
        let opening = Opening {
            who: format!("[[tcp]] {}", input.name),
            guarded: accesses.input(index).borrow().is_guarded(),
            guard: "TLS and a token or client certificates; set cert_file, key_file, and token_file \
                    or client_ca_file",
            elsewhere: "another listen",
        };
        sockets.push(match (inherited.remove(&input.name), &input.listen) {
            (Some(inherited), _) => opening.adopt(inherited)?,
            (None, Some(listen)) => opening.open(listen).await?,
            (None, None) => {
                return Err(Failure::Runtime(format!(
                    "[[tcp]] {0}: listen = \"systemd\", but the service manager gave no socket of \
                     this name; set FileDescriptorName={0} in a socket unit for weir, or write an \
                     address",
                    input.name
                )));
            }
        });
    }
    Ok(sockets)
}

/// What is said of a socket that cannot be had.
struct Opening {
    who: String,
    /// It may stand open beyond this machine.
    guarded: bool,
    guard: &'static str,
    elsewhere: &'static str,
}

impl Opening {
    async fn open(&self, listen: &Listen) -> Result<Socket, Failure> {
        let Opening { who, elsewhere, .. } = self;
        Socket::open(listen).await.map_err(|error| {
            let text = format!("{who}: cannot listen on {listen}: {error}; choose {elsewhere}");
            Failure::Runtime(text)
        })
    }

    fn adopt(&self, inherited: Inherited) -> Result<Socket, Failure> {
        let Opening { who, guard, .. } = self;
        let socket = Socket::try_from(inherited).map_err(|error| {
            Failure::Runtime(format!("{who}: the service manager's socket: {error}"))
        })?;
        if socket.is_beyond_this_machine() && !self.guarded {
            return Err(Failure::Runtime(format!(
                "{who}: the service manager's socket listens on {}: beyond loopback only with \
                 {guard}, or mend ListenStream= of the socket unit",
                socket.address()
            )));
        }
        Ok(socket)
    }
}
