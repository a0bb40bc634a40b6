//! A listener whose visitors cannot stay: so many at a time, so long each, so many bytes each.
//!
//! A connection carries one request (the routes answer `Connection: close`), so a deadline for the
//! whole connection covers slow senders, slow readers and idlers by one rule. On the loopback
//! interface a new connection for each request costs some tens of microseconds.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Connections at a time. Those beyond wait in the kernel's backlog.
pub const CONNECTIONS: usize = 16;

/// Life of a connection.
const LIFETIME: Duration = Duration::from_secs(10);

/// Bytes a visitor may send: a request line and headers, no body is ever wanted.
pub const REQUEST_BYTES: usize = 16 * 1024;

/// See the module.
pub struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Bounded {
    /// Takes [`CONNECTIONS`] at a time from `listener`.
    pub fn new(listener: TcpListener) -> Bounded {
        Bounded { listener, places: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        // The semaphore is never closed; were it, an unbounded visitor is better than a panic.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        // axum's accept for TCP, which retries when file descriptors have run out.
        let (stream, address) = axum::serve::Listener::accept(&mut self.listener).await;
        let visit = Visit {
            stream,
            deadline: Box::pin(tokio::time::sleep(LIFETIME)),
            allowance: REQUEST_BYTES,
            _place: place,
        };
        (visit, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A bounded connection.
pub struct Visit {
    stream: TcpStream,
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
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
