//! Sockets that listen for the page's visitors and for senders of lines: TCP or Unix, opened here
//! or by the service manager.
//!
//! Edge.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::config::Listen;
use crate::systemd::activation::Inherited;

/// Mode of a Unix socket: owner and group.
const SOCKET_MODE: u32 = 0o660;

/// A socket that listens.
pub enum Socket {
    /// TCP, plain or with TLS.
    Tcp(TcpListener),
    /// A Unix socket; the kernel checks who may.
    Unix {
        /// It.
        listener: UnixListener,
        /// Its file, when it is ours to remove at the end.
        file: Option<PathBuf>,
    },
}

impl From<TcpListener> for Socket {
    fn from(listener: TcpListener) -> Socket {
        Socket::Tcp(listener)
    }
}

/// One that the service manager has opened; a file of it stays.
impl TryFrom<Inherited> for Socket {
    type Error = io::Error;

    fn try_from(inherited: Inherited) -> io::Result<Socket> {
        match inherited {
            Inherited::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Socket::Tcp)
            }
            Inherited::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Socket::Unix { listener: UnixListener::from_std(listener)?, file: None })
            }
        }
    }
}

impl Socket {
    /// Whether others than this machine reach it: then it needs TLS, and to know who comes.
    pub fn is_beyond_this_machine(&self) -> bool {
        match self {
            Socket::Tcp(listener) => {
                listener.local_addr().map_or(true, |address| !address.ip().is_loopback())
            }
            Socket::Unix { .. } => false,
        }
    }

    /// Listens there. A socket file that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// As the system has them; a file that is no socket is never removed.
    pub async fn open(listen: &Listen) -> io::Result<Socket> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Socket::Tcp),
            Listen::Unix(path) => {
                remove_leftover(path)?;
                let listener = UnixListener::bind(path)?;
                std::fs::set_permissions(path, PermissionsExt::from_mode(SOCKET_MODE))?;
                Ok(Socket::Unix { listener, file: Some(path.clone()) })
            }
        }
    }

    /// Its address: `192.0.2.7:9378`, `unix:/run/weir/http.sock`.
    pub fn address(&self) -> String {
        match self {
            Socket::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|error| format!("? ({error})"), |address| address.to_string()),
            Socket::Unix { file, .. } => {
                let file = file.as_deref().unwrap_or(Path::new("(inherited)"));
                format!("unix:{}", file.display())
            }
        }
    }

    /// The next who comes.
    ///
    /// # Errors
    /// As the system has them; [`is_theirs`] tells those that concern only whoever came.
    pub async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Box::new(stream), Peer::of(address)))
            }
            Socket::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Peer::Local))
            }
        }
    }
}

/// Whether [`Socket::accept`] failed because whoever came is gone already. Otherwise mostly file
/// descriptors have run out.
pub fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Socket::Unix { file: Some(file), .. } = self {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(file);
        }
    }
}

fn remove_leftover(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(data) if !data.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "a file that is no socket is in the way",
        )),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
            Err(_) => std::fs::remove_file(path),
        },
    }
}

/// Where somebody comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// This machine.
    Local,
    /// Elsewhere.
    Remote(IpAddr),
}

impl Peer {
    fn of(address: SocketAddr) -> Peer {
        let ip = address.ip().to_canonical();
        if ip.is_loopback() { Peer::Local } else { Peer::Remote(ip) }
    }
}

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
