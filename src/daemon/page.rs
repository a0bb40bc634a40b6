//! Where the page listens: on the socket that the service manager has opened, else on the
//! configured address.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::Failure;
use crate::systemd::activation::Inherited;

/// The page's listener; `None`: there is to be none.
///
/// # Errors
/// When it cannot listen, or must not: an inherited socket obeys the same rule as `[http] listen`.
pub async fn listener(
    listen: Option<SocketAddr>,
    socket: Option<Inherited>,
) -> Result<Option<TcpListener>, Failure> {
    match (socket, listen) {
        (Some(Inherited::Tcp(socket)), _) => inherited(socket).map(Some).map_err(Failure::Runtime),
        (Some(Inherited::Unix(_)), _) => Err(Failure::Runtime(String::new())),
        (None, None) => Ok(None),
        (None, Some(address)) => TcpListener::bind(address).await.map(Some).map_err(|error| {
            Failure::Runtime(format!(
                "page: cannot listen on {address}: {error}; choose another [http] listen, or \"off\""
            ))
        }),
    }
}

fn inherited(socket: std::net::TcpListener) -> Result<TcpListener, String> {
    let broken = |error: std::io::Error| format!("page: the service manager's socket: {error}");
    let address = socket.local_addr().map_err(broken)?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "page: the service manager's socket listens on {address}: only loopback is allowed; \
             mend ListenStream= of weir.socket"
        ));
    }
    socket.set_nonblocking(true).map_err(broken)?;
    TcpListener::from_std(socket).map_err(broken)
}
