//! The window into a running weir: a page, JSON, health and metrics, for this machine or, with TLS
//! and a token, for others.
//!
//! | path | answer |
//! |---|---|
//! | `/` | the page (with `/page.js`, `/page.css`, `/icon.svg`) |
//! | `/metrics` | OpenMetrics, or Prometheus text 0.0.4 to whom does not ask for it |
//! | `/healthz` | 200 while the pipeline makes progress, else 503 and the reason |
//! | `/readyz` | 200 while readings are being taken, else 503 and the reason |
//! | `/api/status` | [`Status`] as JSON, and `stalled_s`: seconds since the pipeline's last progress |
//! | `/api/series?search=&limit=&after=&points=` | `{"series": [DeviceRow …], "next"}`; `next` is the `after` of the following page or null |
//! | `/api/series/{device}/{metric}` | one [`DeviceRow`], or 404 |
//! | `/api/alarms?limit=` | [`Alarms`]: the active ones, the worst first, among equals the newest |
//!
//! It only reads. Invariants:
//!
//! - The pipeline is never waited for while it works: the status is a snapshot behind a lock held
//!   for microseconds; rows are asked for over a queue ([`Handle::ask`]) and waited for at most
//!   [`PATIENCE`].
//! - One connection carries one request, has a fixed time and may send a fixed number of bytes, and
//!   there is a fixed number of connections (`listener`): nobody can hold the endpoint for long.
//! - Requests under a foreign host name are refused: a page elsewhere must not reach this one by
//!   rebinding its name (`guard`, with all other checks). Names of devices are never part of markup.

mod guard;
mod listener;
mod metrics;
mod process;
mod routes;
pub mod status;

use std::future::{Future, IntoFuture};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::config::access::Door;
use crate::socket::{Peer, Socket};

pub use status::{
    AlarmRow, Alarms, BatchInfo, CertificateInfo, ComponentRow, DeviceRow, FitsInfo, ForecastRow,
    ForwardInfo, Histogram, InputInfo, NoiseRow, ResultsInfo, Status, VectorRow,
};

/// Longest wait for the pipeline's answer to a [`Query`].
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Without progress for this long the daemon is not healthy.
pub const STALLED: Duration = Duration::from_secs(30);

/// How long requests that are under way may take to finish at shutdown.
const GRACE: Duration = Duration::from_secs(1);

/// A question to the pipeline, which holds the series. Whoever asked may have gone: a failed send
/// on `reply` is nothing to report.
#[derive(Debug)]
pub enum Query {
    /// Rows in the order (device, metric).
    Series {
        /// Only series whose `device/metric` contains this text, whatever its case; empty: all.
        search: String,
        /// Only series behind this one.
        after: Option<(String, String)>,
        /// Most rows to return.
        limit: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<DeviceRow>>,
    },
    /// The active alarms of all series.
    Alarms {
        /// Most rows to return.
        limit: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<Alarms>,
    },
    /// One row.
    One {
        /// Its device.
        device: String,
        /// Its metric.
        metric: String,
        /// Where the answer goes; `None`: no such series.
        reply: oneshot::Sender<Option<DeviceRow>>,
    },
}

/// When the pipeline last got on with its work. Clones share the stamp.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    /// Stamped now.
    pub fn new() -> Progress {
        Progress::since(Instant::now())
    }

    /// Stamped at `at`.
    pub fn since(at: Instant) -> Progress {
        Progress(Arc::new(Mutex::new(at)))
    }

    /// The pipeline got on. To be called with every turn of its loop, idle turns and each frame of
    /// a recovery too.
    pub fn stamp(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago the last stamp was.
    pub fn stalled_for(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

/// What the endpoint knows of the daemon.
#[derive(Clone)]
pub struct Handle {
    /// The last snapshot; the pipeline replaces it after each batch.
    pub status: Arc<RwLock<Status>>,
    /// Hands a question to the pipeline without waiting; false when its queue is full or it has
    /// stopped. The queue must be bounded.
    pub ask: Arc<dyn Fn(Query) -> bool + Send + Sync>,
    /// The pipeline's stamp.
    pub progress: Progress,
    patience: Duration,
}

impl Handle {
    /// A handle with a fresh [`Progress`], to be cloned to the pipeline.
    pub fn new(
        status: Arc<RwLock<Status>>,
        ask: impl Fn(Query) -> bool + Send + Sync + 'static,
    ) -> Handle {
        Handle { status, ask: Arc::new(ask), progress: Progress::new(), patience: PATIENCE }
    }
}

/// Serves until `shutdown` resolves; requests under way then get one second. `door` may change: a
/// new certificate or token holds for the next visitor.
///
/// # Errors
/// When the listener has no local address. Errors of single connections end only those.
pub async fn serve(
    socket: impl Into<Socket>,
    door: watch::Receiver<Door>,
    handle: Handle,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let socket = socket.into();
    let router = routes::router(handle, listener::Scope::of(&socket)?, door.clone());
    let service = router.into_make_service_with_connect_info::<Peer>();
    let (stopping, stopped) = oneshot::channel();
    let serving = axum::serve(listener::Bounded::new(socket, door), service)
        .with_graceful_shutdown(async move {
            shutdown.await;
            let _ = stopping.send(());
        })
        .into_future();
    let grace = async move {
        let _ = stopped.await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        done = serving => done,
        () = grace => Ok(()),
    }
}

#[cfg(test)]
mod tests;
