//! What tests of the engine share: readings by name through the real builder, batches where a test cuts
//! them, and checkpoints to go on from.

use std::collections::BTreeMap;

use crate::analytics::settings::{Layer, Patch};
use crate::analytics::vector::FilteredRow;
use crate::batch::builder::Builder;
use crate::engine::{CoreConfig, Engine, Meta, UnitChunk};
use crate::journal::frame::Frame;
use crate::output::Record;
use crate::reading::{AttendedTime, EventTime, Finite, ProcessingTime, SECOND, SeriesId};

/// SplitMix64.
pub(super) struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// Where worlds begin.
pub(super) const START: i64 = 1_700_000_040 * SECOND;

/// Settings for every metric of the devices that match.
pub(super) fn layer(device: &str, patch: Patch) -> Layer {
    let (device, metric) = (vec![device.to_owned()], vec!["*".to_owned()]);
    Layer { origin: "test".to_owned(), device, metric, patch }
}

/// A metric of device `one-1`, seconds after [`START`], value.
pub(super) type Given = (&'static str, i64, f64);

/// An engine with what it was given and what it gave.
pub(super) struct World {
    pub engine: Engine,
    builder: Builder,
    pub frames: Vec<Frame>,
    pub records: Vec<Record>,
    /// What was computed as `power`: time and value.
    pub computed: Vec<(EventTime, Finite)>,
    /// Rows of filters over several metrics.
    pub rows: Vec<FilteredRow>,
    pub now: i64,
}

impl World {
    pub fn new(config: CoreConfig) -> World {
        World {
            engine: Engine::new(config).unwrap(),
            builder: Builder::default(),
            frames: Vec::new(),
            records: Vec::new(),
            computed: Vec::new(),
            rows: Vec::new(),
            now: START,
        }
    }

    /// A reading of a device's main metric.
    pub fn push(&mut self, device: &str, seconds: i64, value: f64) {
        self.push_metric((device, "t"), seconds, value);
    }

    pub fn push_metric(&mut self, name: (&str, &str), seconds: i64, value: f64) {
        let time = EventTime::from_nanos(START + seconds * SECOND).unwrap();
        self.now = self.now.max(time.nanos());
        let value = Finite::new(value).unwrap();
        self.builder.reading(&self.engine, name, time, value, true);
    }

    /// Ends a batch.
    pub fn cut(&mut self, change: Option<&CoreConfig>) {
        let batch = self.engine.meta().batch + 1;
        let attended = AttendedTime(self.now - START);
        let mut frame = Frame::empty(batch, ProcessingTime(self.now), attended);
        frame.configuration = change.map(|config| serde_cbor::to_vec(config).unwrap());
        let (frame, _) = self.builder.close(&self.engine, frame);
        let frame = Frame::decode(&frame.encode()).unwrap();
        let output = self.engine.step(&frame).unwrap();
        self.records.extend(output.records);
        let computed = output.details.iter().filter(|detail| &*detail.name.metric == "power");
        let readings = computed.flat_map(|detail| &detail.details.readings);
        self.computed.extend(readings.map(|reading| (reading.0, reading.1)));
        let rows = output.details.iter().flat_map(|detail| detail.details.rows.iter().cloned());
        self.rows.extend(rows);
        self.frames.push(frame);
    }

    /// An hour without readings, more or less: all panes close.
    pub fn end(&mut self) {
        self.now += 1000 * SECOND;
        self.cut(None);
    }

    /// All of `readings` in batches of the sizes that `size` gives, with details, to the end.
    pub fn played(
        config: CoreConfig,
        readings: &[Given],
        size: &mut dyn FnMut() -> usize,
    ) -> World {
        let mut world = World::new(config);
        world.engine.keep_details();
        let mut rest = readings;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(size().min(rest.len()));
            rest = after;
            for &(metric, second, value) in batch {
                world.push_metric(("one-1", metric), second, value);
            }
            world.cut(None);
        }
        world.end();
        world
    }
}

/// What checkpoints left: the meta of the last whole one, the newest chunk of each slot.
pub(super) struct Stored {
    meta: Meta,
    chunks: BTreeMap<u32, (u64, UnitChunk)>,
    /// The oldest batch whose frame is still needed.
    first_needed: u64,
}

impl Stored {
    /// Of an engine that has seen nothing.
    pub fn new(config: CoreConfig) -> Stored {
        Stored { meta: Meta::new(config), chunks: BTreeMap::new(), first_needed: 1 }
    }

    /// A checkpoint of up to `limit` units; when it is not `whole`, the process dies before its meta.
    pub fn checkpoint(&mut self, engine: &mut Engine, limit: usize, whole: bool) {
        let dirty = engine.take_dirty(limit);
        for (series, chunk) in dirty.chunks {
            self.chunks.insert(series.0, (dirty.batch, crate::cbor::from_slice(&chunk).unwrap()));
        }
        if whole {
            for series in dirty.deleted {
                self.chunks.remove(&series.0);
            }
            self.meta = engine.meta().clone();
            self.first_needed = engine.oldest_dirty().unwrap_or(u64::MAX).min(self.meta.batch + 1);
        }
    }

    /// The frames that recovery needs.
    pub fn needed<'a>(&self, frames: &'a [Frame]) -> &'a [Frame] {
        &frames[frames.partition_point(|frame| frame.batch < self.first_needed)..]
    }

    /// An engine from what is stored, and these frames.
    pub fn recover(&self, frames: &[Frame]) -> Engine {
        let chunks =
            self.chunks.iter().map(|(&slot, (batch, c))| (SeriesId(slot), *batch, c.clone()));
        let mut engine = Engine::restore(self.meta.clone(), chunks).unwrap();
        for frame in frames {
            engine.step(frame).unwrap();
        }
        engine
    }
}
