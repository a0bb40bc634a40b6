//! Lines of readings over TCP or Unix sockets.
//!
//! Edge. One thread, a task for each listener and each connection. When the pipeline is busy the
//! hand-over blocks the thread: nothing is read meanwhile, and the senders' own sockets fill up;
//! nothing is buffered here but one unfinished line and one chunk for each connection. A
//! connection hands on one chunk and then waits for its next turn, so that whoever sends most is
//! served as often as everybody else.
//!
//! **Acknowledgement** (`ack = "line"`): `ok N` says that the connection's first N lines (all
//! lines: bad and blank ones as well, not the token's) are committed. It is written after the
//! journal is synced, at most once a batch, always the latest number: who does not read costs no
//! memory. What was not acknowledged when a connection ends may or may not have been committed.

mod places;

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use super::arrival::Arrivals;
use super::lines::{Cutter, End, Lines};
use super::now_or_pending;
use crate::clock::Clock;
use crate::config::access::Door;
use crate::config::{LineAcknowledge, Tcp};
use crate::reading::EventTime;
use crate::socket::{Peer, Socket, Stream, is_theirs};
use places::{Place, Places};

/// Bytes taken from a socket in one go.
const READ_BYTES: usize = 16 * 1024;
/// Bytes of lines handed on together at most (and one read more, and one line).
const CHUNK_BYTES: usize = 64 * 1024;
/// Lines handed on together at most (and those of one read more).
const CHUNK_LINES: u64 = 4096;
/// Chunks that are still taken from each connection when weir stops.
const LAST_CHUNKS: usize = 16;
/// Time for TLS handshake and token.
const WELCOME: Duration = Duration::from_secs(10);
/// How often a pause is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a sender that has said all may wait for its last acknowledgement: longer than any
/// `batch.interval`.
const LAST_ACKNOWLEDGEMENT: Duration = Duration::from_secs(120);
/// How long the last acknowledgement may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);
/// A pause between log lines about visitors, who could otherwise fill the log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Why connections were not let in or not kept; the label `reason` of `weir_tcp_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `max_connections` are there, and others have no more of them than this address.
    Full,
    /// It gave way to another address; of its own, the one that was silent longest.
    Displaced,
    /// The TLS handshake failed: no certificate, a wrong one, not TLS.
    Tls,
    /// A wrong token, or none in time.
    Token,
    /// Beyond this machine, and without TLS or token since a reload.
    Unguarded,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Refusal; 5] =
        [Refusal::Full, Refusal::Displaced, Refusal::Tls, Refusal::Token, Refusal::Unguarded];

    /// The value of the metric's label.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Full => "full",
            Refusal::Displaced => "displaced",
            Refusal::Tls => "tls",
            Refusal::Token => "token",
            Refusal::Unguarded => "unguarded",
        }
    }
}

/// What an input has seen since the process started.
#[derive(Debug, Default)]
pub struct Counts {
    connections: AtomicU64,
    lines: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
}

impl Counts {
    /// Connections at the moment.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Lines taken from sockets.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Connections refused or ended for this reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }
}

/// Lines of one connection.
#[derive(Debug)]
pub struct Received {
    /// Index of the input among the `[[tcp]]` tables.
    pub input: usize,
    /// Its name.
    pub name: Arc<str>,
    /// Of the connection, among all that there were.
    pub connection: u64,
    /// The lines.
    pub lines: Lines,
    /// To be told when they are durable.
    pub receipt: Receipt,
}

/// Tells a connection what is durable.
#[derive(Clone, Debug)]
pub struct Receipt {
    durable: watch::Sender<u64>,
    through: u64,
}

impl Receipt {
    /// All lines up to this one are on disk.
    pub fn durable(self) {
        self.durable.send_if_modified(|durable| {
            let grows = self.through > *durable;
            *durable = self.through.max(*durable);
            grows
        });
    }
}

/// Takes what connections read; blocks while the pipeline is busy, false when it is gone.
pub type HandOn = Arc<dyn Fn(Received) -> bool + Send + Sync>;

/// One input.
pub struct Input {
    /// Its table.
    pub config: Tcp,
    /// Where it listens.
    pub socket: Socket,
    /// Who is let in.
    pub door: watch::Receiver<Door>,
    /// What it has seen.
    pub counts: Arc<Counts>,
}

/// What all inputs share.
#[derive(Clone)]
pub struct Shared {
    /// While true nothing is read (disk full, clock awaited); the senders' sockets fill up.
    pub paused: Arc<AtomicBool>,
    /// Turns true when no more is to be read: what has come so far is handed on.
    pub stop: watch::Receiver<bool>,
    /// Turns true behind the last commit: connections end.
    pub end: watch::Receiver<bool>,
    /// The gateway's clock.
    pub clock: Clock,
}

/// Held by everybody who may still read a line.
pub type Reading = std::sync::mpsc::Sender<()>;

/// Listens until `end`. Clones of `reading` are dropped when the last line is handed on.
pub async fn run(inputs: Vec<Input>, shared: Shared, reading: Reading, hand_on: HandOn) {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for (index, input) in inputs.into_iter().enumerate() {
        let Input { config, socket, door, counts } = input;
        let (shared, hand_on) = (shared.clone(), hand_on.clone());
        let host = Host {
            index,
            name: config.name.as_str().into(),
            places: Mutex::new(Places::new(config.max_connections)),
            config,
            door,
            counts,
            shared,
            hand_on,
            arrivals: Mutex::default(),
            logged: Mutex::default(),
            next: next.clone(),
        };
        tasks.spawn(listen(Arc::new(host), socket, reading.clone()));
    }
    drop(reading);
    while tasks.join_next().await.is_some() {}
}

/// One input at work.
struct Host {
    index: usize,
    name: Arc<str>,
    config: Tcp,
    door: watch::Receiver<Door>,
    counts: Arc<Counts>,
    shared: Shared,
    hand_on: HandOn,
    places: Mutex<Places>,
    arrivals: Mutex<Arrivals>,
    logged: Mutex<Option<Instant>>,
    /// Number of the next connection of any input.
    next: Arc<AtomicU64>,
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn listen(host: Arc<Host>, socket: Socket, reading: Reading) {
    let beyond = socket.is_beyond_this_machine();
    let mut stop = host.shared.stop.clone();
    let mut guests = tokio::task::JoinSet::new();
    let let_in = async {
        loop {
            // Whoever connects during a pause waits in the kernel's backlog.
            while host.shared.paused.load(Ordering::Relaxed) {
                tokio::time::sleep(PAUSE).await;
            }
            while guests.try_join_next().is_some() {}
            match socket.accept().await {
                Ok((stream, peer)) => {
                    if let Some(place) = host.place(peer, beyond) {
                        guests.spawn(visit(host.clone(), stream, place, reading.clone()));
                    }
                }
                Err(error) if is_theirs(&error) => {}
                Err(error) => {
                    tracing::warn!(input = %host.name, %error, "nobody can be let in for a second");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    };
    tokio::select! {
        () = let_in => {}
        () = turns_true(&mut stop) => {}
    }
    drop((socket, reading));
    while guests.join_next().await.is_some() {}
}

impl Host {
    /// A place for somebody who comes from there.
    fn place(&self, peer: Peer, beyond: bool) -> Option<Guest> {
        if beyond && !self.door.borrow().is_guarded() {
            self.refuse(Refusal::Unguarded, "cert_file, token_file or client_ca_file is gone; restart weir for a configuration without them");
            return None;
        }
        let mut places = lock(&self.places);
        let Some((place, displaced)) = places.take(peer, now()) else {
            self.refuse(Refusal::Full, "max_connections are there");
            return None;
        };
        if displaced {
            let text =
                "max_connections are there: a connection of the address that holds most gave way";
            self.refuse(Refusal::Displaced, text);
        }
        self.counts.connections.store(places.len() as u64, Ordering::Relaxed);
        Some(Guest { place, number: self.next.fetch_add(1, Ordering::Relaxed) })
    }

    fn leave(&self, place: &Place) {
        let mut places = lock(&self.places);
        places.leave(place);
        self.counts.connections.store(places.len() as u64, Ordering::Relaxed);
    }

    /// Counts, and logs now and then.
    fn refuse(&self, reason: Refusal, why: &str) {
        self.counts.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
        let mut logged = lock(&self.logged);
        if logged.is_none_or(|at| at.elapsed() > LOG_EVERY) {
            *logged = Some(Instant::now());
            tracing::warn!(input = %self.name, reason = reason.name(), "connection refused: {why}");
        }
    }
}

struct Guest {
    place: Place,
    number: u64,
}

async fn visit(host: Arc<Host>, stream: Box<dyn Stream>, guest: Guest, reading: Reading) {
    let mut stop = host.shared.stop.clone();
    let welcomed = tokio::select! {
        welcomed = welcome(&host, stream) => welcomed,
        () = turns_true(&mut stop) => None,
    };
    match welcomed {
        Some((stream, first)) => serve(&host, &guest, stream, first, reading).await,
        None => drop(reading),
    }
    host.leave(&guest.place);
}

/// The stream behind TLS and token, and what came behind the token; `None`: refused.
async fn welcome(host: &Host, stream: Box<dyn Stream>) -> Option<(Box<dyn Stream>, Vec<u8>)> {
    let Door { tls, token } = host.door.borrow().clone();
    let deadline = Instant::now() + WELCOME;
    let mut stream = match tls {
        None => stream,
        Some(tls) => {
            let handshake = TlsAcceptor::from(tls.config).accept(stream);
            match tokio::time::timeout_at(deadline, handshake).await {
                Ok(Ok(stream)) => Box::new(stream),
                Ok(Err(error)) => {
                    host.refuse(Refusal::Tls, &error.to_string());
                    return None;
                }
                Err(_) => {
                    host.refuse(Refusal::Tls, "no handshake in 10 s");
                    return None;
                }
            }
        }
    };
    let Some(token) = token else { return Some((stream, Vec::new())) };
    let said = tokio::time::timeout_at(deadline, first_line(&mut stream)).await;
    if let Ok(Ok((line, rest))) = said
        && bool::from(line.as_slice().ct_eq(token.reveal().as_bytes()))
    {
        return Some((stream, rest));
    }
    host.refuse(Refusal::Token, "the first line is not the token in token_file");
    // It may be gone already.
    let _ =
        timeout(FAREWELL, stream.write_all(b"refused: the first line must be the token\n")).await;
    let _ = timeout(FAREWELL, stream.shutdown()).await;
    None
}

/// The first line without its end, and what came with it. A token has no more than a kibibyte.
async fn first_line(stream: &mut Box<dyn Stream>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(READ_BYTES);
    loop {
        if let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let rest = bytes.split_off(end + 1);
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
            return Ok((bytes, rest));
        }
        if bytes.len() > 1024 || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The sender has said all.
    Clean,
    /// weir stops.
    Stopped,
    /// The connection broke, was idle for too long or gave way; or the pipeline is gone.
    Broken,
}

/// Serves a connection that was let in to its end.
async fn serve(
    host: &Host,
    guest: &Guest,
    stream: Box<dyn Stream>,
    first: Vec<u8>,
    reading: Reading,
) {
    let (from, to) = tokio::io::split(stream);
    let durable = watch::Sender::new(0);
    let mut reader = Reader {
        host,
        guest,
        from,
        cutter: Cutter::new(host.config.lines.max_payload),
        lines: Lines::default(),
        bytes: first,
        handed_on: 0,
        durable: durable.clone(),
    };
    let (tell, told) = watch::channel(None);
    let read = async {
        let ended = reader.read().await;
        drop(reading);
        let _ = tell.send(Some((ended, reader.handed_on)));
    };
    let write = write(to, host, durable.subscribe(), told);
    tokio::join!(read, write);
}

/// Writes acknowledgements, and the end behind the last one.
async fn write(
    mut to: WriteHalf<Box<dyn Stream>>,
    host: &Host,
    mut durable: watch::Receiver<u64>,
    mut told: watch::Receiver<Option<(Ended, u64)>>,
) {
    let mut end = host.shared.end.clone();
    let mut told_too = told.clone();
    let acknowledge = async {
        if host.config.ack == LineAcknowledge::Off {
            return;
        }
        let all = loop {
            tokio::select! {
                biased;
                _ = durable.changed() => {
                    let through = *durable.borrow_and_update();
                    if say(&mut to, through).await.is_err() {
                        // It may have closed this direction alone: what it sent is still read.
                        return;
                    }
                }
                (ended, all) = end_of(&mut told) => match ended {
                    Ended::Clean | Ended::Stopped => break all,
                    Ended::Broken => return,
                },
            }
        };
        let said = *durable.borrow();
        tokio::select! {
            _ = durable.wait_for(|durable| *durable >= all) => {}
            () = turns_true(&mut end) => {}
        }
        let through = *durable.borrow_and_update();
        if through > said {
            let _ = say(&mut to, through).await;
        }
    };
    // Who does not read, or whose lines are not committed, is not waited for without end.
    let mut end = host.shared.end.clone();
    let patience = async {
        if end_of(&mut told_too).await.0 == Ended::Broken {
            return;
        }
        tokio::select! {
            () = turns_true(&mut end) => tokio::time::sleep(FAREWELL).await,
            () = tokio::time::sleep(LAST_ACKNOWLEDGEMENT) => {}
        }
    };
    tokio::select! {
        () = acknowledge => {}
        () = patience => {}
    }
    // The reader may not have ended where acknowledging has.
    end_of(&mut told_too).await;
    let _ = timeout(FAREWELL, to.shutdown()).await;
}

async fn turns_true(flag: &mut watch::Receiver<bool>) {
    // Without a sender nothing else comes.
    let _ = flag.wait_for(|flag| *flag).await;
}

/// How reading ended, and how many lines were handed on.
async fn end_of(told: &mut watch::Receiver<Option<(Ended, u64)>>) -> (Ended, u64) {
    match told.wait_for(Option::is_some).await {
        Ok(told) => told.unwrap_or((Ended::Broken, 0)),
        Err(_) => (Ended::Broken, 0),
    }
}

async fn say(to: &mut WriteHalf<Box<dyn Stream>>, through: u64) -> io::Result<()> {
    to.write_all(format!("ok {through}\n").as_bytes()).await?;
    to.flush().await
}

/// Reads one connection.
struct Reader<'h> {
    host: &'h Host,
    guest: &'h Guest,
    from: ReadHalf<Box<dyn Stream>>,
    cutter: Cutter,
    lines: Lines,
    bytes: Vec<u8>,
    /// Lines handed on.
    handed_on: u64,
    durable: watch::Sender<u64>,
}

impl Reader<'_> {
    /// Reads to the end, and hands on all that it took.
    async fn read(&mut self) -> Ended {
        let mut ended = self.wait().await;
        while ended.is_none() {
            ended = self.take_what_is_there().await;
            if !self.hand_on().await {
                return Ended::Broken;
            }
            if ended.is_none() {
                // The others' turn.
                tokio::task::yield_now().await;
                ended = self.wait().await;
            }
        }
        let ended = ended.unwrap_or(Ended::Broken);
        if ended == Ended::Stopped {
            // What reached this machine before the stop is taken, within bounds. Reading goes by what the
            // runtime was told of the socket when it last asked, which may be before that; it asks again
            // when all its tasks sleep, and before any timer ends.
            tokio::time::sleep(Duration::from_millis(1)).await;
            for _ in 0..LAST_CHUNKS {
                let before = self.handed_on;
                let over = self.take_what_is_there().await.is_some();
                if !self.hand_on().await || over || self.handed_on == before {
                    break;
                }
            }
        }
        let clean = if ended == Ended::Clean { End::Clean } else { End::Broken };
        self.cut(|cutter, lines, arrival| cutter.end(clean, lines, arrival));
        self.hand_on().await;
        ended
    }

    /// Waits until something came; `Some`: the end.
    async fn wait(&mut self) -> Option<Ended> {
        if !self.bytes.is_empty() {
            // Came with the token.
            return None;
        }
        let mut stop = self.host.shared.stop.clone();
        self.bytes.reserve(READ_BYTES);
        tokio::select! {
            biased;
            () = turns_true(&mut stop) => Some(Ended::Stopped),
            () = self.guest.place.given_away() => Some(Ended::Broken),
            read = timeout(self.host.config.idle_timeout, self.from.read_buf(&mut self.bytes)) => {
                match read {
                    Ok(Ok(0)) => Some(Ended::Clean),
                    Ok(Ok(_)) => None,
                    Ok(Err(_)) | Err(_) => Some(Ended::Broken),
                }
            }
        }
    }

    /// Cuts what was read, and reads on while there is something, up to a chunk; `Some`: the end.
    async fn take_what_is_there(&mut self) -> Option<Ended> {
        loop {
            if !self.bytes.is_empty() {
                lock(&self.host.places).heard(&self.guest.place, now());
                let bytes = std::mem::take(&mut self.bytes);
                self.cut(|cutter, lines, arrival| cutter.take(&bytes, lines, arrival));
                self.bytes = bytes;
                self.bytes.clear();
            }
            if self.lines.bytes() >= CHUNK_BYTES || self.lines.count >= CHUNK_LINES {
                return None;
            }
            self.bytes.reserve(READ_BYTES);
            let read = pin!(self.from.read_buf(&mut self.bytes));
            match now_or_pending(read).await {
                None => return None,
                Some(Ok(0)) => return Some(Ended::Clean),
                Some(Ok(_)) => {}
                Some(Err(_)) => return Some(Ended::Broken),
            }
        }
    }

    fn cut(&mut self, cut: impl FnOnce(&mut Cutter, &mut Lines, &mut dyn FnMut() -> EventTime)) {
        let mut arrivals = lock(&self.host.arrivals);
        let mut together = false;
        let mut arrival = || {
            let time = arrivals.next(&self.host.shared.clock, together);
            together = true;
            time
        };
        cut(&mut self.cutter, &mut self.lines, &mut arrival);
    }

    /// Hands on what was cut, when there is no pause; false: the pipeline is gone.
    async fn hand_on(&mut self) -> bool {
        if self.lines.is_empty() {
            return true;
        }
        let Host { shared, counts, .. } = self.host;
        while shared.paused.load(Ordering::Relaxed) && !*shared.stop.borrow() {
            tokio::time::sleep(PAUSE).await;
        }
        let lines = std::mem::take(&mut self.lines);
        self.handed_on += lines.count;
        counts.lines.fetch_add(lines.count, Ordering::Relaxed);
        (self.host.hand_on)(Received {
            input: self.host.index,
            name: self.host.name.clone(),
            connection: self.guest.number,
            lines,
            receipt: Receipt { durable: self.durable.clone(), through: self.handed_on },
        })
    }
}
