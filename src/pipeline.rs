//! From a delivered message to a committed batch: builder, journal, engine, outbox, checkpoints.
//!
//! No clock and no I/O of its own: times come in with each call, storage is a trait with two
//! users, the disk ([`crate::state::disk`]) and the simulated disk of the tests. The order of
//! steps is what exactness rests on:
//!
//! 1. a message is recognised as redelivery, or decoded into the open batch;
//! 2. [`Pipeline::commit`] writes the frame, durable on return: the only commit;
//! 3. then acknowledgements may leave, the engine steps, records go to the outbox (not yet durable:
//!    replay derives the same ones) and to the caller for the result topics;
//! 4. a checkpoint makes the outbox durable before it writes any chunk, so that a chunk never
//!    includes a batch whose records could be lost; it waits for the result topics likewise;
//! 5. the journal is trimmed up to what meta, dirty units and unproven deliveries still need.

use serde::{Deserialize, Serialize};

use crate::batch::builder::{Builder, Owed};
use crate::batch::close::Gathered;
use crate::batch::delivery::{Unproven, hash_of};
use crate::config::ForwardKind;
use crate::decoder::{Decoder, Fault};
use crate::engine::{ConfigError, CoreConfig, Dirty, Engine, Meta, StepOutput, UnitChunk};
use crate::journal::frame::{Delivery, Frame, FrameError, FrameFit};
use crate::output::{Kinded, Record};
use crate::reading::{
    AttendedTime, DropCounts, DropReason, EventTime, ProcessingTime, SECOND, SeriesId,
};
use crate::receiver::lines::Lines;
use crate::receiver::router::Router;
use crate::receiver::topic::Captures;

/// Units written by one checkpoint at most; more dirty ones follow in the next.
const SLICE_UNITS: usize = 4000;
/// A checkpoint is due when the journal has grown by this many times the bytes it would write.
const GROWTH: u64 = 4;
/// Beyond this many times that, a checkpoint no longer waits for the result topics: the journal must
/// not grow without bound while their broker is away.
const PATIENCE: u64 = 8;
/// … but not before it has grown by this.
const GROWTH_LEAST: u64 = 256 * 1024;
/// Results of background fits that wait for a frame; a frame comes with every batch.
const WAITING_FITS: usize = 1024;
/// A backward step of the clock smaller than this is evened out instead of announced.
const STEP_LEAST: i64 = SECOND;

/// What the pipeline needs of a disk.
pub trait Storage {
    /// Why the disk failed; the process then ends and recovers.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Appends a frame to the journal; durable on return.
    ///
    /// # Errors
    /// The frame is then not committed: nothing may be acknowledged.
    fn append_frame(&mut self, batch: u64, frame: &[u8]) -> Result<(), Self::Error>;

    /// Appends a batch's records for one forwarder, not yet durable. A batch that the spool
    /// already has is ignored (replay derives the same records again).
    ///
    /// # Errors
    /// As the disk says.
    fn append_outbox(&mut self, forward: usize, entry: OutboxEntry) -> Result<(), Self::Error>;

    /// Starts a checkpoint: outbox durable first, then chunks, then meta; durable as a whole when
    /// [`Pipeline::checkpointed`] is called with its batch.
    ///
    /// # Errors
    /// As the disk says.
    fn begin_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), Self::Error>;

    /// Frames before `first_needed` may go.
    ///
    /// # Errors
    /// As the disk says.
    fn trim_journal(&mut self, first_needed: u64) -> Result<(), Self::Error>;
}

/// One batch's records for one forwarder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The batch that made them.
    pub batch: u64,
    /// How many.
    pub records: u32,
    /// How many readings they aggregate.
    pub readings: u64,
    /// JSON lines, one a record.
    pub body: Vec<u8>,
}

/// What a checkpoint writes.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The batch that it includes.
    pub batch: u64,
    /// Unit chunks as CBOR, by slot.
    pub units: Vec<(SeriesId, Vec<u8>)>,
    /// Slots whose chunk goes.
    pub deleted: Vec<SeriesId>,
    /// [`StoredMeta`] as CBOR.
    pub meta: Vec<u8>,
}

impl Checkpoint {
    fn bytes(&self) -> u64 {
        let units: usize = self.units.iter().map(|(_, chunk)| chunk.len()).sum();
        (units + self.meta.len()) as u64
    }
}

/// The meta value as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredMeta {
    /// The engine's part.
    pub engine: Meta,
    /// Records of batches up to this one have been acknowledged by the result topics' broker.
    pub published_through: u64,
    /// Bytes of all frames up to the engine's batch.
    pub journal_bytes: u64,
    /// Bytes of all checkpoints before this one.
    pub checkpoint_bytes: u64,
}

/// A message as a receiver hands it on.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// The connection that delivered it.
    pub connection: u64,
    /// Topic.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// 0 or 1.
    pub qos: u8,
    /// Sent before by the broker.
    pub dup: bool,
    /// Replayed from retained messages.
    pub retain: bool,
    /// 0 for QoS 0.
    pub packet_id: u16,
    /// When it arrived, by the gateway's clock.
    pub arrival: EventTime,
    /// When it arrived, monotonic nanoseconds.
    pub now: i64,
}

/// The time of a commit.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The gateway's clock.
    pub now: ProcessingTime,
    /// Attended time.
    pub attended: AttendedTime,
    /// Whether the clock is trusted.
    pub clock_trusted: bool,
}

/// What a commit leaves for the caller.
#[derive(Debug, Default)]
pub struct Committed {
    /// The batch; `None` when there was nothing to write.
    pub batch: Option<u64>,
    /// Acknowledgements that may leave now, in receive order.
    pub owed: Vec<Owed>,
    /// Records, new estimates, and searches that units ask for; their results may come back
    /// through [`Pipeline::fitted`], late or never.
    pub output: StepOutput,
    /// Readings in the frame.
    pub readings: usize,
    /// Messages in the frame.
    pub messages: u64,
    /// Bytes of the frame.
    pub frame_bytes: usize,
}

/// Why the pipeline stops.
#[derive(Debug)]
pub enum PipelineError<E> {
    /// The disk failed.
    Storage(E),
    /// A frame cannot be read.
    Frame(FrameError),
    /// The journal's configuration cannot be used.
    Config(ConfigError),
}

impl<E: std::fmt::Display> std::fmt::Display for PipelineError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PipelineError::Storage(error) => error.fmt(f),
            PipelineError::Frame(error) => error.fmt(f),
            PipelineError::Config(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for PipelineError<E> {}

/// What was stored, for [`Pipeline::recover`].
#[derive(Debug, Default)]
pub struct Stored {
    /// The meta value.
    pub meta: Option<StoredMeta>,
    /// Without a meta value: the newest batch number that was ever used, as far as the outbox
    /// knows. Numbers must not come again.
    pub used_through: u64,
    /// Chunks with the batch that each includes.
    pub units: Vec<(SeriesId, u64, UnitChunk)>,
}

/// What recovery did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Frames read.
    pub frames: u64,
    /// Frames that could not be decoded, by their numbers (first ones).
    pub unreadable: Vec<u64>,
    /// Numbers missing between frames.
    pub missing: u64,
    /// Readings of series whose definition is lost.
    pub orphans: u64,
    /// Frames written by another engine version.
    pub foreign_version: u64,
}

/// The open batch, the engine, and the disk.
pub struct Pipeline<S> {
    engine: Engine,
    builder: Builder,
    unproven: Unproven,
    router: Router,
    storage: S,
    forwards: Vec<Vec<ForwardKind>>,
    next_config: Option<CoreConfig>,
    checkpoint: CheckpointState,
    /// Results of background fits, for the next frame.
    fits: Vec<FrameFit>,
    /// Messages recognised as redeliveries since start.
    redelivered: u64,
    journal_bytes: u64,
    checkpoint_bytes: u64,
}

#[derive(Debug)]
struct CheckpointState {
    running: Option<u64>,
    /// The batch of the durable meta value.
    durable: u64,
    /// Journal bytes since the last checkpoint began.
    grown: u64,
    /// Mean bytes of a unit's chunk, from the last checkpoint.
    chunk_bytes: u64,
    /// A configuration came since; the next checkpoint must take all dirty units, since meta
    /// holds one configuration only.
    all: bool,
}

impl<S: Storage> Pipeline<S> {
    /// Rebuilds the state from what was stored and the journal's frames, in order. `output` gets
    /// the records of each frame behind `published_through`, to be published again. `forwards`: what
    /// each forwarder sends.
    ///
    /// # Errors
    /// When the disk fails or the journal's configuration cannot be used.
    pub fn recover(
        stored: Stored,
        frames: impl Iterator<Item = (u64, Vec<u8>)>,
        mut storage: S,
        router: Router,
        forwards: Vec<Vec<ForwardKind>>,
        mut output: impl FnMut(u64, &Engine, StepOutput),
    ) -> Result<(Pipeline<S>, Recovery), PipelineError<S::Error>> {
        let meta = stored.meta.unwrap_or_else(|| StoredMeta {
            engine: Meta::new(CoreConfig::default()),
            published_through: 0,
            journal_bytes: 0,
            checkpoint_bytes: 0,
        });
        let StoredMeta { engine: meta, published_through, mut journal_bytes, checkpoint_bytes } =
            meta;
        let durable = meta.batch;
        let mut engine = Engine::restore(meta, stored.units).map_err(PipelineError::Config)?;
        let mut unproven = Unproven::default();
        let mut recovery = Recovery::default();
        // Before the first checkpoint the journal begins at 1; later it holds at least what
        // follows meta.
        let mut previous = None;
        // What came behind the last checkpoint counts towards the next: a process that is ended
        // again and again before the journal has grown enough would never make one.
        let mut grown = 0;
        for (batch, bytes) in frames {
            let frame = match Frame::decode(&bytes) {
                Ok(frame) if frame.batch == batch => frame,
                // Skipping it would lose what was acknowledged; the version that wrote it can
                // still take it.
                Err(error @ FrameError::Format(_)) => return Err(PipelineError::Frame(error)),
                _ => {
                    if recovery.unreadable.len() < 16 {
                        recovery.unreadable.push(batch);
                    }
                    continue;
                }
            };
            let expected = previous.map_or(batch.min(durable + 1), |previous| previous + 1);
            recovery.missing += batch.saturating_sub(expected);
            previous = Some(batch);
            if batch > durable {
                journal_bytes += bytes.len() as u64;
                grown += bytes.len() as u64;
            }
            recovery.frames += 1;
            recovery.foreign_version +=
                u64::from(frame.engine_version != crate::journal::frame::ENGINE_VERSION);
            for &delivery in &frame.deliveries {
                unproven.record(delivery, batch);
            }
            // The searches it asks for are dropped: what they found in time is in the frames.
            let step = engine.step(&frame).map_err(PipelineError::Config)?;
            for (forward, kinds) in forwards.iter().enumerate() {
                if let Some(entry) = outbox_entry(batch, &step.records, kinds) {
                    storage.append_outbox(forward, entry).map_err(PipelineError::Storage)?;
                }
            }
            if batch > published_through {
                output(batch, &engine, step);
            }
        }
        recovery.orphans = engine.orphans();
        engine.continue_after(stored.used_through);
        let pipeline = Pipeline {
            engine,
            builder: Builder::default(),
            unproven,
            router,
            storage,
            forwards,
            next_config: None,
            checkpoint: CheckpointState {
                running: None,
                durable,
                grown,
                chunk_bytes: 500,
                all: true,
            },
            fits: Vec::new(),
            redelivered: 0,
            journal_bytes,
            checkpoint_bytes,
        };
        Ok((pipeline, recovery))
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The disk.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// The disk, to be asked or closed.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }

    /// The subscriptions.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Messages recognised as redeliveries since start.
    pub fn redelivered(&self) -> u64 {
        self.redelivered
    }

    /// Bytes of all frames ever committed.
    pub fn journal_bytes(&self) -> u64 {
        self.journal_bytes
    }

    /// Bytes of all checkpoints ever finished.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.checkpoint_bytes
    }

    /// Other subscriptions and, if it differs, another configuration of the core with the next frame.
    pub fn configure(&mut self, router: Router, config: CoreConfig) {
        self.router = router;
        self.next_config = (config != self.engine.meta().config).then_some(config);
    }

    /// True when a frame is due whatever was gathered: a configuration waits.
    pub fn has_config(&self) -> bool {
        self.next_config.is_some()
    }

    /// What has been gathered for the open batch.
    pub fn gathered(&self) -> Option<Gathered> {
        self.builder.gathered()
    }

    /// A connection came up.
    pub fn connected(&mut self, session_present: bool) {
        self.unproven.connected(session_present);
    }

    /// A ping came back on the present connection.
    pub fn pong(&mut self) {
        self.unproven.pong(self.engine.meta().batch);
    }

    /// Takes a message into the open batch. Returns what was wrong with it, for the log.
    pub fn deliver(&mut self, message: &Delivered<'_>) -> Option<Fault> {
        self.builder.message(message.now, message.payload.len());
        if message.qos > 0 {
            let hash = hash_of(message.topic.as_bytes(), message.payload);
            let owed = Owed { connection: message.connection, packet_id: message.packet_id };
            self.builder.owe(owed);
            if self.unproven.is_redelivery(message.packet_id, message.dup, hash) {
                self.unproven.renew(message.packet_id, self.engine.meta().batch + 1);
                self.redelivered += 1;
                return None;
            }
            if !message.dup {
                self.unproven.new_message();
            }
            let delivery = Delivery { packet_id: message.packet_id, hash };
            self.unproven.record(delivery, self.engine.meta().batch + 1);
            self.builder.delivery(delivery);
        }
        self.builder.count_message();
        let Some(routed) = self.router.route(message.topic) else {
            self.drop_one(DropReason::Topic);
            return None;
        };
        if message.retain && !routed.retained {
            self.drop_one(DropReason::Retained);
            return None;
        }
        let (engine, builder) = (&self.engine, &mut self.builder);
        let payload = (message.payload, message.arrival);
        gather(engine, builder, routed.decoder, &routed.captures, payload)
    }

    /// Takes lines of the input with this index into the open batch; they came at monotonic `now`.
    /// Returns the first thing that was wrong with them, for the log.
    pub fn deliver_lines(&mut self, input: usize, lines: &Lines, now: i64) -> Option<Fault> {
        // Even where there is nothing to decode: what came before must be committed before
        // these may be called durable.
        self.builder.message(now, lines.bytes());
        self.builder.drops(&lines.drops);
        let mut fault = lines.fault.clone();
        let Some(decoder) = self.router.lines(input) else { return fault };
        for payload in lines.iter() {
            self.builder.count_message();
            let (engine, builder) = (&self.engine, &mut self.builder);
            let found = gather(engine, builder, decoder, &Captures::NONE, payload);
            fault = fault.or(found);
        }
        fault
    }

    /// Takes the result of a background fit, to go with the next frame. There is never a frame for
    /// fits alone: only readings bring a unit to where it adopts one, and they come in a frame.
    /// `false`: too many wait, it is dropped.
    pub fn fitted(&mut self, fit: FrameFit) -> bool {
        let room = self.fits.len() < WAITING_FITS;
        if room {
            self.fits.push(fit);
        }
        room
    }

    fn drop_one(&mut self, reason: DropReason) {
        let mut drops = DropCounts::default();
        drops.add(reason, 1);
        self.builder.drops(&drops);
    }

    /// Closes the open batch, commits it and steps the engine.
    ///
    /// # Errors
    /// The batch is then not committed; nothing of it may be acknowledged, the process must end.
    pub fn commit(&mut self, moment: Moment) -> Result<Committed, PipelineError<S::Error>> {
        let timers_due = self.engine.next_deadline().is_some_and(|d| d <= moment.attended);
        if !self.builder.has_content() && !timers_due && self.next_config.is_none() {
            return Ok(Committed { owed: self.builder.take_owed(), ..Committed::default() });
        }
        let (frame, owed) = self.close(moment);
        let bytes = frame.encode();
        self.storage.append_frame(frame.batch, &bytes).map_err(PipelineError::Storage)?;
        self.checkpoint.grown += bytes.len() as u64;
        self.journal_bytes += bytes.len() as u64;
        self.checkpoint.all |= frame.configuration.is_some();
        let output = self.engine.step(&frame).map_err(PipelineError::Config)?;
        for (forward, kinds) in self.forwards.iter().enumerate() {
            if let Some(entry) = outbox_entry(frame.batch, &output.records, kinds) {
                self.storage.append_outbox(forward, entry).map_err(PipelineError::Storage)?;
            }
        }
        Ok(Committed {
            batch: Some(frame.batch),
            owed,
            output,
            readings: frame.readings.len(),
            messages: frame.messages,
            frame_bytes: bytes.len(),
        })
    }

    fn close(&mut self, moment: Moment) -> (Frame, Vec<Owed>) {
        let meta = self.engine.meta();
        let stepped_back =
            meta.batch > 0 && moment.now.0 < meta.processing_time.0.saturating_sub(STEP_LEAST);
        let now = if stepped_back { moment.now } else { moment.now.max(meta.processing_time) };
        let mut frame = Frame::empty(meta.batch + 1, now, moment.attended.max(meta.attended));
        frame.clock_trusted = moment.clock_trusted;
        frame.clock_stepped_back = stepped_back;
        frame.configuration =
            self.next_config.take().map(|config| serde_cbor::to_vec(&config).unwrap_or_default());
        frame.fits = std::mem::take(&mut self.fits);
        frame.fits.sort_unstable();
        self.builder.close(&self.engine, frame)
    }

    /// Whether a checkpoint is due: the journal has grown by four times what it would write, the
    /// last one is done, and the result topics have taken all up to here (or will not for long:
    /// what they have not taken by then is not published again after a crash).
    pub fn checkpoint_due(&self, published_through: u64) -> bool {
        let units = self.engine.dirty_units().min(SLICE_UNITS) as u64;
        let due = crate::failpoint::checkpoint_growth()
            .unwrap_or((GROWTH * units * self.checkpoint.chunk_bytes).max(GROWTH_LEAST));
        units > 0
            && self.checkpoint.running.is_none()
            && self.checkpoint.grown >= due
            && (published_through >= self.engine.meta().batch
                || self.checkpoint.grown >= PATIENCE * due)
    }

    /// About as many bytes as the next checkpoint will write.
    pub fn checkpoint_estimate(&self) -> u64 {
        let limit = if self.checkpoint.all { usize::MAX } else { SLICE_UNITS };
        self.engine.dirty_units().min(limit) as u64 * self.checkpoint.chunk_bytes
    }

    /// Starts a checkpoint of the units that have been dirty longest (of `all` of them at a clean
    /// stop). Returns its bytes.
    ///
    /// # Errors
    /// As the disk says.
    pub fn begin_checkpoint(
        &mut self,
        published_through: u64,
        all: bool,
    ) -> Result<u64, PipelineError<S::Error>> {
        let all = all || self.checkpoint.all;
        let Dirty { batch, chunks, deleted } =
            self.engine.take_dirty(if all { usize::MAX } else { SLICE_UNITS });
        let meta = StoredMeta {
            engine: self.engine.meta().clone(),
            published_through,
            journal_bytes: self.journal_bytes,
            checkpoint_bytes: self.checkpoint_bytes,
        };
        let checkpoint = Checkpoint {
            batch,
            units: chunks,
            deleted,
            meta: serde_cbor::to_vec(&meta).unwrap_or_default(),
        };
        let bytes = checkpoint.bytes();
        if !checkpoint.units.is_empty() {
            self.checkpoint.chunk_bytes = bytes / checkpoint.units.len() as u64;
        }
        self.checkpoint.grown = 0;
        self.checkpoint.all = false;
        self.checkpoint.running = Some(batch);
        self.checkpoint_bytes += bytes;
        self.storage.begin_checkpoint(checkpoint).map_err(PipelineError::Storage)?;
        Ok(bytes)
    }

    /// The checkpoint of `batch` is durable: frames that nothing needs may go.
    ///
    /// # Errors
    /// As the disk says.
    pub fn checkpointed(&mut self, batch: u64) -> Result<(), PipelineError<S::Error>> {
        self.checkpoint.running = None;
        self.checkpoint.durable = batch;
        let first_needed = [self.engine.oldest_dirty(), self.unproven.oldest_batch()]
            .into_iter()
            .flatten()
            .fold(batch + 1, u64::min);
        self.storage.trim_journal(first_needed).map_err(PipelineError::Storage)
    }

    /// True while a checkpoint is being written.
    pub fn is_checkpointing(&self) -> bool {
        self.checkpoint.running.is_some()
    }
}

/// Decodes a payload that came at a time into the open batch.
fn gather(
    engine: &Engine,
    builder: &mut Builder,
    decoder: &Decoder,
    captures: &Captures<'_>,
    (payload, arrival): (&[u8], EventTime),
) -> Option<Fault> {
    let outcome = decoder.decode(captures, payload, arrival, &mut |d| {
        builder.reading(engine, (d.device, d.metric), d.time, d.value, d.dedup);
    });
    if !outcome.drops.is_empty() {
        builder.drops(&outcome.drops);
    }
    outcome.fault
}

/// A batch's records that go upstream, as JSON lines; `None` when there are none.
fn outbox_entry(batch: u64, records: &[Record], kinds: &[ForwardKind]) -> Option<OutboxEntry> {
    let mut entry = OutboxEntry { batch, records: 0, readings: 0, body: Vec::new() };
    for record in records {
        let (kind, before) = (record.kind(), entry.body.len());
        let (written, readings) = match record {
            Record::Aggregate(aggregate) if kinds.contains(&ForwardKind::Aggregate) => {
                let line = Kinded { kind, record: &**aggregate };
                // A group's are its members'.
                let readings = if aggregate.source.is_series() { aggregate.count } else { 0 };
                (serde_json::to_writer(&mut entry.body, &line), readings)
            }
            Record::Alarm(alarm) if kinds.contains(&ForwardKind::Alarm) => {
                let line = Kinded { kind, record: &**alarm };
                (serde_json::to_writer(&mut entry.body, &line), 0)
            }
            // Views never: they repeat what panes hold.
            Record::Aggregate(_) | Record::Alarm(_) | Record::View(_) | Record::Forecast(_) => {
                continue;
            }
        };
        // Numbers are finite and texts are texts: encoding cannot fail.
        if written.is_err() {
            entry.body.truncate(before);
            continue;
        }
        entry.body.push(b'\n');
        entry.records += 1;
        entry.readings += readings;
    }
    (entry.records > 0).then_some(entry)
}
