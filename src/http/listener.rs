//! Listeners whose visitors cannot stay: so many at a time, so long each, so many bytes each.
//!
//! A connection carries one request (the routes answer `Connection: close`), so a deadline for the
//! whole connection, TLS handshake included, covers slow senders, slow readers and idlers by one
//! rule. On the loopback interface a new connection for each request costs some tens of
//! microseconds. Visitors of this machine have places of their own: whoever floods the page from
//! the network does not keep a local probe from asking for its health.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;

use crate::config::Listen;
use crate::config::access::Door;

/// Connections at a time from this machine. Those beyond wait in the kernel's backlog.
pub const CONNECTIONS: usize = 16;

/// Connections at a time from elsewhere. Those beyond are closed.
pub const CONNECTIONS_REMOTE: usize = 16;

/// Life of a connection.
const LIFETIME: Duration = Duration::from_secs(10);

/// Time for the TLS handshake, part of the life.
const HANDSHAKE: Duration = Duration::from_secs(4);

/// Bytes a visitor may send: a request line and headers, no body is ever wanted.
pub const REQUEST_BYTES: usize = 16 * 1024;

/// Mode of a Unix socket: owner and group.
const SOCKET_MODE: u32 = 0o660;

/// Where visitors come in.
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

/// One that the service manager has opened.
impl TryFrom<std::net::TcpListener> for Socket {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<Socket> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Socket::Tcp)
    }
}

/// One that the service manager has opened; its file stays.
impl TryFrom<std::os::unix::net::UnixListener> for Socket {
    type Error = io::Error;

    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Socket> {
        listener.set_nonblocking(true)?;
        Ok(Socket::Unix { listener: UnixListener::from_std(listener)?, file: None })
    }
}

impl Socket {
    /// Whether others than this machine reach it: then it needs TLS and a token.
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

    /// The address in words: `https://192.0.2.7:9377/`, `unix:/run/weir/http.sock`.
    pub fn url(&self, tls: bool) -> String {
        match self {
            Socket::Tcp(listener) => {
                let scheme = if tls { "https" } else { "http" };
                listener.local_addr().map_or_else(
                    |error| format!("{scheme}://? ({error})"),
                    |address| format!("{scheme}://{address}/"),
                )
            }
            Socket::Unix { file, .. } => {
                let file = file.as_deref().unwrap_or(Path::new("(inherited)"));
                format!("unix:{}", file.display())
            }
        }
    }

    /// What its `Host` may be.
    pub(super) fn scope(&self) -> io::Result<Scope> {
        match self {
            Socket::Tcp(listener) => listener.local_addr().map(|address| Scope::Ip(address.ip())),
            Socket::Unix { .. } => Ok(Scope::Unix),
        }
    }

    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
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

/// Where a listener listens, for the check of `Host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// On this address.
    Ip(IpAddr),
    /// On a Unix socket.
    Unix,
}

/// Where a visitor comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This machine.
    Local,
    /// Elsewhere.
    Remote,
}

impl Peer {
    fn of(address: SocketAddr) -> Peer {
        let ip = address.ip().to_canonical();
        if ip.is_loopback() { Peer::Local } else { Peer::Remote }
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Peer {
        *stream.remote_addr()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// See the module.
pub struct Bounded {
    visits: mpsc::Receiver<(Visit, Peer)>,
    task: JoinHandle<()>,
}

impl Bounded {
    /// Takes visitors in, with TLS where `door` says so at that moment.
    pub fn new(socket: Socket, door: watch::Receiver<Door>) -> Bounded {
        // A visit in the channel has its place already: no bound of its own is needed.
        let (to, visits) = mpsc::channel(CONNECTIONS + CONNECTIONS_REMOTE);
        Bounded { visits, task: tokio::spawn(take_in(socket, door, to)) }
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take_in(socket: Socket, door: watch::Receiver<Door>, to: mpsc::Sender<(Visit, Peer)>) {
    let local = Arc::new(Semaphore::new(CONNECTIONS));
    let remote = Arc::new(Semaphore::new(CONNECTIONS_REMOTE));
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly file descriptors that have run out, or a visitor that is gone already.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) {
                    tracing::warn!(%error, "page: no visitor can be taken in for a second");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                continue;
            }
        };
        let place = match peer {
            Peer::Local => Arc::clone(&local).acquire_owned().await.ok(),
            Peer::Remote => match Arc::clone(&remote).try_acquire_owned() {
                Ok(place) => Some(place),
                Err(_) => continue,
            },
        };
        let deadline = Instant::now() + LIFETIME;
        let visit = move |stream| {
            let deadline = Box::pin(tokio::time::sleep_until(deadline));
            (Visit { stream, deadline, allowance: REQUEST_BYTES, _place: place }, peer)
        };
        let tls = match &socket {
            Socket::Tcp(_) => door.borrow().tls.clone(),
            Socket::Unix { .. } => None,
        };
        let Some(tls) = tls else {
            if to.send(visit(stream)).await.is_err() {
                return;
            }
            continue;
        };
        let to = to.clone();
        tokio::spawn(async move {
            let handshake = TlsAcceptor::from(tls.config).accept(stream);
            // Whoever fails here is told so by TLS itself; a log line would be theirs to write.
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, handshake).await {
                let _ = to.send(visit(Box::new(stream))).await;
            }
        });
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Visit;
    type Addr = Peer;

    async fn accept(&mut self) -> (Visit, Peer) {
        match self.visits.recv().await {
            Some(visit) => visit,
            // The task has ended: nobody comes any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer::Local)
    }
}

/// A bounded connection.
pub struct Visit {
    stream: Box<dyn Stream>,
    deadline: Pin<Box<Sleep>>,
    allowance: usize,
    _place: Option<OwnedSemaphorePermit>,
}

impl Visit {
    fn in_time(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        if self.allowance == 0 {
            return Poll::Ready(Err(io::Error::other("request larger than its allowance")));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let taken = buffer.filled().len() - before;
        self.allowance = self.allowance.saturating_sub(taken);
        polled
    }
}

impl AsyncWrite for Visit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.in_time(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
