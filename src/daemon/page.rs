//! Where the page listens: on the socket that the service manager has opened, else where the
//! configuration says.

use crate::config::Http;
use crate::http::Socket;
use crate::systemd::activation::Inherited;

use super::Failure;

/// The page's socket; `None`: there is to be none. `inherited` takes the place of `[http] listen`.
///
/// # Errors
/// When it cannot listen, or must not: an inherited socket obeys the same rule as `[http] listen`.
pub async fn socket(
    config: &Http,
    inherited: Option<Inherited>,
) -> Result<Option<Socket>, Failure> {
    if let Some(socket) = inherited {
        return adopt(config, socket).map(Some).map_err(Failure::Runtime);
    }
    let Some(listen) = &config.listen else { return Ok(None) };
    Socket::open(listen).await.map(Some).map_err(|error| {
        Failure::Runtime(format!(
            "page: cannot listen on {listen}: {error}; choose another [http] listen, or \"off\""
        ))
    })
}

fn adopt(config: &Http, socket: Inherited) -> Result<Socket, String> {
    let broken = |error: std::io::Error| format!("page: the service manager's socket: {error}");
    match socket {
        Inherited::Unix(socket) => {
            socket.set_nonblocking(true).map_err(broken)?;
            let listener = tokio::net::UnixListener::from_std(socket).map_err(broken)?;
            // Its file is the service manager's.
            Ok(Socket::Unix { listener, file: None })
        }
        Inherited::Tcp(socket) => {
            let address = socket.local_addr().map_err(broken)?;
            let guarded = config.tls.is_some() && config.token.is_some();
            if !address.ip().is_loopback() && !guarded {
                return Err(format!(
                    "page: the service manager's socket listens on {address}: beyond loopback only \
                     with TLS and a token; set [http] cert_file, key_file and token_file, or mend \
                     ListenStream= of weir.socket"
                ));
            }
            socket.set_nonblocking(true).map_err(broken)?;
            tokio::net::TcpListener::from_std(socket).map(Socket::Tcp).map_err(broken)
        }
    }
}
