//! Listeners whose visitors cannot stay: so many at a time, so long each, so many bytes each.
//!
//! A connection carries one request (the routes answer `Connection: close`), so a deadline for the
//! whole connection, TLS handshake included, covers slow senders, slow readers and idlers by one
//! rule. On the loopback interface a new connection for each request costs some tens of
//! microseconds. Visitors of this machine have places of their own: whoever floods the page from
//! the network does not keep a local probe from asking for its health.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;

use crate::config::access::Door;
use crate::socket::{Peer, Socket, Stream, is_theirs};

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

/// Where a listener listens, for the check of `Host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// On this address.
    Ip(IpAddr),
    /// On a Unix socket.
    Unix,
}

impl Scope {
    /// Of this socket.
    ///
    /// # Errors
    /// When it has no local address.
    pub(super) fn of(socket: &Socket) -> io::Result<Scope> {
        match socket {
            Socket::Tcp(listener) => listener.local_addr().map(|address| Scope::Ip(address.ip())),
            Socket::Unix { .. } => Ok(Scope::Unix),
        }
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Peer {
        *stream.remote_addr()
    }
}

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
    let beyond = socket.is_beyond_this_machine();
    loop {
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_theirs(&error) {
                    tracing::warn!(%error, "page: no visitor can be taken in for a second");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                continue;
            }
        };
        if beyond && !door.borrow().is_guarded() {
            // A reload took the guard away, and the socket is not ours to close.
            continue;
        }
        let place = match peer {
            Peer::Local => Arc::clone(&local).acquire_owned().await.ok(),
            Peer::Remote(_) => match Arc::clone(&remote).try_acquire_owned() {
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
