//! The journal frame: one micro-batch with every input that the step needs, as bytes.
//!
//! Pure. A frame written and synced is the only commit; state and outputs are functions of the
//! frames. The layout is made for flash: readings lie in canonical order, grouped by series, times
//! as differences on the coarsest exact scale, values as short decimals where that is exact
//! (sensors send decimals, so most take two or three bytes instead of eight).
//!
//! Layout (integers are LEB128 varints, `z` marks zigzag):
//!
//! ```text
//! version u8 | flags u8 | batch | z processing_time | attended | engine_version | messages
//! drops: n, n × (reason u8, count)
//! [configuration: length, bytes]                                   flag CONFIGURATION
//! evict: n, n × series | define: n, n × (series, device text, metric text, kind u8)
//! [gates: n, n × (scale f64, offset f64, z lateness, has valid u8, [low f64, high f64])
//!  joins: n, n × (unit, member, input u8, gate index)]             flag JOINS
//! [fits: n, n × (series, defined, epoch, length, bytes)]           flag FITS
//! deliveries: n, runs of consecutive packet ids until n: z difference of the first to the last id
//!   of the run before, count − 1; then n × hash (6 bytes LE)
//! readings: runs; if any: scale u8, z base time, then per run:
//!   head u8 = dedup | exponent << 1 | (count − 1, or 7) << 5 ; [count − 8] ; series difference
//!   count × time difference ; count × value (z mantissa, or f64 LE when exponent = 15)
//! ```

use crate::analytics::members::{Gate, UnitKind};
use crate::reading::{
    AttendedTime, DropCounts, DropReason, EventTime, Finite, ProcessingTime, SeriesId,
};

/// Raised whenever the same frame would give other state or outputs; replay of frames of another
/// version is announced (the state then comes from the new rules).
pub const ENGINE_VERSION: u32 = 1;

const FORMAT: u8 = 2;
const FLAG_CLOCK_TRUSTED: u8 = 1;
const FLAG_CONFIGURATION: u8 = 2;
const FLAG_CLOCK_BACK: u8 = 4;
const FLAG_FITS: u8 = 8;
const FLAG_JOINS: u8 = 16;
const RAW: u8 = 15;
const MAX_EXPONENT: u8 = 9;
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const SCALES: [i64; 4] = [1_000_000_000, 1_000_000, 1_000, 1];

/// A unit that gets a slot in the registry with this frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Define {
    /// The slot.
    pub series: SeriesId,
    /// Device name.
    pub device: String,
    /// Metric name.
    pub metric: String,
    /// What it is.
    pub kind: UnitKind,
}

/// From this frame on a series' readings also go to another unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Join {
    /// The unit.
    pub unit: SeriesId,
    /// The series.
    pub member: SeriesId,
    /// Which input of the unit it is; 0 in a group.
    pub input: u8,
    /// How its values are to be read.
    pub gate: Gate,
}

/// The result of a background fit, for the unit that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameFit {
    /// The unit's slot.
    pub series: SeriesId,
    /// The batch that defined the unit: another one in the same slot does not take it.
    pub defined: u64,
    /// The unit's fit epoch: with other settings, or after the clock stepped back, it does not
    /// take what was fitted before.
    pub epoch: u32,
    /// [`Fit`](crate::analytics::fit::Fit) as CBOR.
    pub fit: Vec<u8>,
}

/// A QoS 1 delivery whose PUBACK is unproven when the frame is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// MQTT packet identifier.
    pub packet_id: u16,
    /// SipHash of topic and payload, its low [`HASH_BITS`] bits.
    pub hash: u64,
}

/// How much of a delivery's hash is kept. The hash only tells a redelivery from a new message that
/// took the same packet id while the older one was unproven, and that arrives with DUP because
/// the connection broke once more: even when that holds for all 65,535 ids, some pair is taken
/// for the same with a probability of 2.3e-10. Two bytes more would be a fifth of what a reading
/// takes in the journal.
pub const HASH_BITS: u32 = 48;
const HASH_BYTES: usize = HASH_BITS as usize / 8;

/// One reading in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameReading {
    /// Series slot.
    pub series: SeriesId,
    /// Event time.
    pub time: EventTime,
    /// Value.
    pub value: Finite,
    /// Whether the same (series, time, value) above the watermark counts once.
    pub dedup: bool,
}

impl FrameReading {
    /// The canonical order inside a batch: unit, event time, value, never arrival.
    pub fn canonical(&self) -> (SeriesId, EventTime, u64, bool) {
        (self.series, self.time, self.value.ordered_bits(), self.dedup)
    }
}

/// One micro-batch: everything the step depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Batch number, from 1, without gaps.
    pub batch: u64,
    /// The gateway's clock when the batch closed.
    pub processing_time: ProcessingTime,
    /// Attended time when the batch closed.
    pub attended: AttendedTime,
    /// Whether the clock was trusted.
    pub clock_trusted: bool,
    /// Whether the clock stepped back since the batch before.
    pub clock_stepped_back: bool,
    /// [`ENGINE_VERSION`] of the writer.
    pub engine_version: u32,
    /// Messages gathered (for counting only).
    pub messages: u64,
    /// Drops of receiver, decoder and registry.
    pub drops: DropCounts,
    /// The resolved configuration of the core, when it changed with this frame.
    pub configuration: Option<Vec<u8>>,
    /// Series that leave, before the newcomers come.
    pub evict: Vec<SeriesId>,
    /// Units that come.
    pub define: Vec<Define>,
    /// Members that units get, sorted by unit and member; with a configuration, all that they have.
    pub joins: Vec<Join>,
    /// Results of background fits, handed to their units before the readings; sorted.
    pub fits: Vec<FrameFit>,
    /// QoS 1 deliveries, in receive order.
    pub deliveries: Vec<Delivery>,
    /// Readings in canonical order.
    pub readings: Vec<FrameReading>,
}

impl Frame {
    /// An empty frame.
    pub fn empty(batch: u64, processing_time: ProcessingTime, attended: AttendedTime) -> Frame {
        Frame {
            batch,
            processing_time,
            attended,
            clock_trusted: true,
            clock_stepped_back: false,
            engine_version: ENGINE_VERSION,
            messages: 0,
            drops: DropCounts::default(),
            configuration: None,
            evict: Vec::new(),
            define: Vec::new(),
            joins: Vec::new(),
            fits: Vec::new(),
            deliveries: Vec::new(),
            readings: Vec::new(),
        }
    }

    /// The frame as bytes. Readings must be in canonical order.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.readings.len() * 8 + self.deliveries.len() * 9);
        let mut flags = 0;
        if self.clock_trusted {
            flags |= FLAG_CLOCK_TRUSTED;
        }
        if self.clock_stepped_back {
            flags |= FLAG_CLOCK_BACK;
        }
        if self.configuration.is_some() {
            flags |= FLAG_CONFIGURATION;
        }
        if !self.fits.is_empty() {
            flags |= FLAG_FITS;
        }
        if !self.joins.is_empty() {
            flags |= FLAG_JOINS;
        }
        out.extend([FORMAT, flags]);
        put(&mut out, self.batch);
        put_signed(&mut out, self.processing_time.0);
        put(&mut out, self.attended.0 as u64);
        put(&mut out, u64::from(self.engine_version));
        put(&mut out, self.messages);
        put(&mut out, self.drops.iter().count() as u64);
        for (reason, count) in self.drops.iter() {
            out.push(reason as u8);
            put(&mut out, count);
        }
        if let Some(configuration) = &self.configuration {
            put_bytes(&mut out, configuration);
        }
        put(&mut out, self.evict.len() as u64);
        for series in &self.evict {
            put(&mut out, u64::from(series.0));
        }
        put(&mut out, self.define.len() as u64);
        for define in &self.define {
            put(&mut out, u64::from(define.series.0));
            put_bytes(&mut out, define.device.as_bytes());
            put_bytes(&mut out, define.metric.as_bytes());
            out.push(define.kind as u8);
        }
        if !self.joins.is_empty() {
            encode_joins(&mut out, &self.joins);
        }
        if !self.fits.is_empty() {
            put(&mut out, self.fits.len() as u64);
            for fit in &self.fits {
                put(&mut out, u64::from(fit.series.0));
                put(&mut out, fit.defined);
                put(&mut out, u64::from(fit.epoch));
                put_bytes(&mut out, &fit.fit);
            }
        }
        encode_deliveries(&mut out, &self.deliveries);
        encode_readings(&mut out, &self.readings);
        out
    }

    /// The frame in `bytes`.
    ///
    /// # Errors
    /// Says what is wrong; never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
        let mut input = Input { bytes, at: 0 };
        let format = input.byte()?;
        if format != FORMAT {
            return Err(FrameError::Format(format));
        }
        let flags = input.byte()?;
        let mut frame = Frame::empty(
            input.varint()?,
            ProcessingTime(input.signed()?),
            AttendedTime(input.varint()? as i64),
        );
        frame.clock_trusted = flags & FLAG_CLOCK_TRUSTED != 0;
        frame.clock_stepped_back = flags & FLAG_CLOCK_BACK != 0;
        frame.engine_version = input.varint()? as u32;
        frame.messages = input.varint()?;
        for _ in 0..input.count(2)? {
            let reason = input.byte()?;
            let reason = *DropReason::ALL.get(usize::from(reason)).ok_or(FrameError::Content)?;
            frame.drops.add(reason, input.varint()?);
        }
        if flags & FLAG_CONFIGURATION != 0 {
            frame.configuration = Some(input.slice()?.to_vec());
        }
        for _ in 0..input.count(1)? {
            frame.evict.push(input.series()?);
        }
        for _ in 0..input.count(4)? {
            frame.define.push(Define {
                series: input.series()?,
                device: input.text()?,
                metric: input.text()?,
                kind: input.kind()?,
            });
        }
        if flags & FLAG_JOINS != 0 {
            frame.joins = decode_joins(&mut input)?;
        }
        if flags & FLAG_FITS != 0 {
            for _ in 0..input.count(4)? {
                frame.fits.push(FrameFit {
                    series: input.series()?,
                    defined: input.varint()?,
                    epoch: u32::try_from(input.varint()?).map_err(|_| FrameError::Content)?,
                    fit: input.slice()?.to_vec(),
                });
            }
        }
        frame.deliveries = decode_deliveries(&mut input)?;
        decode_readings(&mut input, &mut frame.readings)?;
        if input.at == bytes.len() { Ok(frame) } else { Err(FrameError::Content) }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Written by another version of the format.
    Format(u8),
    /// Shorter than its content says.
    Short,
    /// Content that no writer makes.
    Content,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::Format(found) => write!(
                f,
                "journal frame of format {found}, this version reads {FORMAT}: start the version that wrote it once and stop it cleanly"
            ),
            FrameError::Short => write!(f, "journal frame is shorter than its content says"),
            FrameError::Content => write!(f, "journal frame has impossible content"),
        }
    }
}

impl std::error::Error for FrameError {}

fn encode_joins(out: &mut Vec<u8>, joins: &[Join]) {
    let mut gates: Vec<Gate> = Vec::new();
    let indices: Vec<usize> = joins
        .iter()
        .map(|join| {
            gates.iter().position(|&gate| gate == join.gate).unwrap_or_else(|| {
                gates.push(join.gate);
                gates.len() - 1
            })
        })
        .collect();
    put(out, gates.len() as u64);
    for gate in gates {
        put_f64(out, gate.scale);
        put_f64(out, gate.offset);
        put_signed(out, gate.lateness);
        out.push(u8::from(gate.valid.is_some()));
        for bound in gate.valid.iter().flat_map(|&(low, high)| [low, high]) {
            put_f64(out, bound);
        }
    }
    put(out, joins.len() as u64);
    for (join, index) in joins.iter().zip(indices) {
        put(out, u64::from(join.unit.0));
        put(out, u64::from(join.member.0));
        out.push(join.input);
        put(out, index as u64);
    }
}

fn decode_joins(input: &mut Input<'_>) -> Result<Vec<Join>, FrameError> {
    let mut gates = Vec::new();
    for _ in 0..input.count(18)? {
        let (scale, offset, lateness) = (input.f64()?, input.f64()?, input.signed()?);
        let valid = match input.byte()? {
            0 => None,
            1 => Some((input.f64()?, input.f64()?)),
            _ => return Err(FrameError::Content),
        };
        gates.push(Gate { scale, offset, valid, lateness });
    }
    let mut joins = Vec::new();
    for _ in 0..input.count(4)? {
        let (unit, member, number) = (input.series()?, input.series()?, input.byte()?);
        let index = usize::try_from(input.varint()?).map_err(|_| FrameError::Content)?;
        let gate = *gates.get(index).ok_or(FrameError::Content)?;
        joins.push(Join { unit, member, input: number, gate });
    }
    Ok(joins)
}

fn encode_deliveries(out: &mut Vec<u8>, deliveries: &[Delivery]) {
    put(out, deliveries.len() as u64);
    let mut previous = 0;
    for run in deliveries.chunk_by(|a, b| a.packet_id.checked_add(1) == Some(b.packet_id)) {
        put_signed(out, i64::from(run[0].packet_id) - previous);
        put(out, run.len() as u64 - 1);
        previous = i64::from(run[run.len() - 1].packet_id);
    }
    for delivery in deliveries {
        out.extend(&delivery.hash.to_le_bytes()[..HASH_BYTES]);
    }
}

fn decode_deliveries(input: &mut Input<'_>) -> Result<Vec<Delivery>, FrameError> {
    let count = input.count(HASH_BYTES)?;
    let mut deliveries = Vec::with_capacity(count);
    let mut previous = 0i64;
    while deliveries.len() < count {
        let first = input.signed()?.wrapping_add(previous);
        let beyond = input.varint()?;
        if beyond >= (count - deliveries.len()) as u64 {
            return Err(FrameError::Content);
        }
        previous = first.checked_add(beyond as i64).ok_or(FrameError::Content)?;
        for packet_id in first..=previous {
            let packet_id = u16::try_from(packet_id).map_err(|_| FrameError::Content)?;
            deliveries.push(Delivery { packet_id, hash: 0 });
        }
    }
    for delivery in &mut deliveries {
        let mut bytes = [0; 8];
        bytes[..HASH_BYTES].copy_from_slice(input.array::<HASH_BYTES>()?);
        delivery.hash = u64::from_le_bytes(bytes);
    }
    Ok(deliveries)
}

fn encode_readings(out: &mut Vec<u8>, readings: &[FrameReading]) {
    let runs = || readings.chunk_by(|a, b| a.series == b.series && a.dedup == b.dedup);
    put(out, runs().count() as u64);
    let Some(base) = readings.iter().map(|r| r.time.nanos()).min() else { return };
    let (scale_index, scale) = scale_of(readings, base);
    out.push(scale_index);
    put_signed(out, base);
    let mut previous_series = 0;
    let mut exponent = 0;
    for run in runs() {
        exponent = exponent_of(run, exponent);
        let count = run.len() as u64;
        out.push(u8::from(run[0].dedup) | exponent << 1 | ((count - 1).min(7) as u8) << 5);
        if count > 7 {
            put(out, count - 8);
        }
        let series = i64::from(run[0].series.0);
        put_signed(out, series - previous_series);
        previous_series = series;
        let mut previous = base;
        for reading in run {
            put(out, ((reading.time.nanos() - previous) / scale) as u64);
            previous = reading.time.nanos();
        }
        for reading in run {
            match exponent {
                RAW => out.extend(reading.value.get().to_bits().to_le_bytes()),
                _ => put_signed(out, mantissa(reading.value.get(), exponent).unwrap_or(0)),
            }
        }
        if exponent == RAW {
            exponent = 0;
        }
    }
}

fn decode_readings(
    input: &mut Input<'_>,
    readings: &mut Vec<FrameReading>,
) -> Result<(), FrameError> {
    let runs = input.count(4)?;
    if runs == 0 {
        return Ok(());
    }
    let scale = *SCALES.get(usize::from(input.byte()?)).ok_or(FrameError::Content)?;
    let base = input.signed()?;
    let mut series = 0i64;
    for _ in 0..runs {
        let head = input.byte()?;
        let exponent = head >> 1 & 15;
        if exponent > MAX_EXPONENT && exponent != RAW {
            return Err(FrameError::Content);
        }
        let mut count = u64::from(head >> 5) + 1;
        if count == 8 {
            count = input.varint()?.checked_add(8).ok_or(FrameError::Content)?;
        }
        // A reading takes at least two bytes; this bounds the allocation by the input.
        if count > (input.bytes.len() - input.at) as u64 {
            return Err(FrameError::Short);
        }
        series = series.checked_add(input.signed()?).ok_or(FrameError::Content)?;
        let id = SeriesId(u32::try_from(series).map_err(|_| FrameError::Content)?);
        let first = readings.len();
        let mut nanos = base;
        for _ in 0..count {
            let difference = i64::try_from(input.varint()?).map_err(|_| FrameError::Content)?;
            nanos = difference
                .checked_mul(scale)
                .and_then(|d| nanos.checked_add(d))
                .ok_or(FrameError::Content)?;
            readings.push(FrameReading {
                series: id,
                time: EventTime::from_nanos(nanos).ok_or(FrameError::Content)?,
                value: Finite::new(0.0).ok_or(FrameError::Content)?,
                dedup: head & 1 == 1,
            });
        }
        for reading in &mut readings[first..] {
            let value = match exponent {
                RAW => f64::from_bits(u64::from_le_bytes(*input.array()?)),
                _ => input.signed()? as f64 / POWERS[usize::from(exponent)],
            };
            reading.value = Finite::new(value).ok_or(FrameError::Content)?;
        }
    }
    Ok(())
}

/// The coarsest scale on which all times are whole.
fn scale_of(readings: &[FrameReading], base: i64) -> (u8, i64) {
    let mut index = 0;
    for reading in readings {
        while (reading.time.nanos() - base) % SCALES[index] != 0 {
            index += 1;
        }
    }
    (index as u8, SCALES[index])
}

/// The decimal exponent that writes all values of the run exactly, trying `guess` first.
fn exponent_of(run: &[FrameReading], guess: u8) -> u8 {
    let fits = |exponent: u8| run.iter().all(|r| mantissa(r.value.get(), exponent).is_some());
    if fits(guess) {
        return guess;
    }
    (0..=MAX_EXPONENT).find(|&exponent| fits(exponent)).unwrap_or(RAW)
}

/// `m` with `m / 10^exponent` equal to `value` in all bits. The division of two exact doubles is
/// correctly rounded, as is parsing the decimal text, hence the equality for what sensors send.
fn mantissa(value: f64, exponent: u8) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let power = POWERS[usize::from(exponent)];
    let scaled = (value * power).round_ties_even();
    (scaled.abs() < EXACT && (scaled + 0.0) / power == value).then_some(scaled as i64)
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend(value.to_bits().to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend(bytes);
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, FrameError> {
        let byte = *self.bytes.get(self.at).ok_or(FrameError::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, FrameError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(FrameError::Content);
            }
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(FrameError::Content)
    }

    fn signed(&mut self) -> Result<i64, FrameError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of things of at least `least` bytes each, so that a lie cannot allocate.
    fn count(&mut self, least: usize) -> Result<usize, FrameError> {
        let count = self.varint()?;
        let left = (self.bytes.len() - self.at) as u64;
        if count.saturating_mul(least as u64) > left {
            return Err(FrameError::Short);
        }
        Ok(count as usize)
    }

    fn slice(&mut self) -> Result<&'a [u8], FrameError> {
        let length = self.count(1)?;
        let slice = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(slice)
    }

    fn text(&mut self) -> Result<String, FrameError> {
        let text = std::str::from_utf8(self.slice()?).map_err(|_| FrameError::Content)?;
        Ok(text.to_owned())
    }

    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], FrameError> {
        let rest = self.bytes.get(self.at..).ok_or(FrameError::Short)?;
        let array = rest.first_chunk().ok_or(FrameError::Short)?;
        self.at += N;
        Ok(array)
    }

    /// A finite number.
    fn f64(&mut self) -> Result<f64, FrameError> {
        let value = f64::from_bits(u64::from_le_bytes(*self.array()?));
        if value.is_finite() { Ok(value) } else { Err(FrameError::Content) }
    }

    fn kind(&mut self) -> Result<UnitKind, FrameError> {
        UnitKind::ALL.get(usize::from(self.byte()?)).copied().ok_or(FrameError::Content)
    }

    fn series(&mut self) -> Result<SeriesId, FrameError> {
        u32::try_from(self.varint()?).map(SeriesId).map_err(|_| FrameError::Content)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |v| v.is_finite()),
            (-1_000_000i64..1_000_000, 0usize..6).prop_map(|(m, e)| m as f64 / POWERS[e]),
            Just(0.0),
            Just(f64::MAX),
            Just(5e-324),
        ]
    }

    fn time() -> impl Strategy<Value = i64> {
        prop_oneof![
            1_700_000_000i64..1_700_000_100,
            EventTime::EARLIEST.nanos() / 1_000_000_000..EventTime::LATEST.nanos() / 1_000_000_000,
        ]
        .prop_flat_map(|s| {
            prop_oneof![
                Just(s * 1_000_000_000),
                (0i64..1000).prop_map(move |ms| s * 1_000_000_000 + ms * 1_000_000),
                (0i64..1_000_000_000).prop_map(move |ns| s * 1_000_000_000 + ns)
            ]
        })
        .prop_map(|ns| ns.clamp(EventTime::EARLIEST.nanos(), EventTime::LATEST.nanos()))
    }

    prop_compose! {
        fn frames()(
            batch in any::<u64>(), processing in any::<i64>(), attended in 0..i64::MAX, trusted in any::<bool>(),
            readings in prop::collection::vec((0u32..40, time(), value(), any::<bool>()), 0..80),
            deliveries in prop::collection::vec((prop_oneof![any::<u16>(), 1u16..5], 0u64..1 << HASH_BITS), 0..20),
            drops in prop::collection::vec((0usize..12, 0u64..1000), 0..4),
            define in prop::collection::vec((any::<u32>(), ".{0,9}", "\\PC{0,9}", 0..UnitKind::ALL.len()), 0..3),
            joins in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u8>(), value(), value(), prop::option::of((value(), value())), any::<i64>()), 0..4),
            evict in prop::collection::vec(any::<u32>(), 0..3),
            configuration in prop::option::of(prop::collection::vec(any::<u8>(), 0..50)),
            fits in prop::collection::vec((any::<u32>(), any::<u64>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..30)), 0..3),
        ) -> Frame {
            let mut frame = Frame::empty(batch, ProcessingTime(processing), AttendedTime(attended));
            frame.clock_trusted = trusted;
            frame.clock_stepped_back = !trusted;
            frame.configuration = configuration;
            frame.fits = fits.into_iter().map(|(s, defined, epoch, fit)| FrameFit { series: SeriesId(s), defined, epoch, fit }).collect();
            frame.evict = evict.into_iter().map(SeriesId).collect();
            frame.define = define.into_iter().map(|(s, device, metric, kind)| Define { series: SeriesId(s), device, metric, kind: UnitKind::ALL[kind] }).collect();
            frame.joins = joins.into_iter().map(|(unit, member, input, scale, offset, valid, lateness)| Join {
                unit: SeriesId(unit), member: SeriesId(member), input, gate: Gate { scale, offset, valid, lateness },
            }).collect();
            for (reason, n) in drops { frame.drops.add(DropReason::ALL[reason], n); }
            frame.deliveries = deliveries.into_iter().map(|(packet_id, hash)| Delivery { packet_id, hash }).collect();
            frame.readings = readings.into_iter().map(|(s, t, v, dedup)| FrameReading {
                series: SeriesId(s), time: EventTime::from_nanos(t).unwrap(), value: Finite::new(v).unwrap(), dedup,
            }).collect();
            frame.readings.sort_by_key(FrameReading::canonical);
            frame
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frame in frames()) {
            let bytes = frame.encode();
            let read = Frame::decode(&bytes).unwrap();
            for (a, b) in frame.readings.iter().zip(&read.readings) {
                prop_assert_eq!(a.value.get().to_bits(), b.value.get().to_bits());
            }
            prop_assert_eq!(read, frame);
        }

        #[test]
        fn hostile_bytes_are_an_error_not_a_panic(frame in frames(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = frame.encode();
            prop_assert!(Frame::decode(&bytes[..cut.index(bytes.len())]).is_err());
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Frame::decode(&bytes);
        }
    }

    #[test]
    fn another_format_is_refused_with_what_to_do() {
        let mut bytes = Frame::empty(1, ProcessingTime(0), AttendedTime(0)).encode();
        bytes[0] = FORMAT - 1;
        let error = Frame::decode(&bytes).unwrap_err();
        assert_eq!(error, FrameError::Format(FORMAT - 1));
        assert!(error.to_string().contains("start the version that wrote it"), "{error}");
    }

    #[test]
    fn a_typical_reading_takes_few_bytes() {
        let mut frame = Frame::empty(1, ProcessingTime(0), AttendedTime(0));
        for i in 0..1000u32 {
            frame.readings.push(FrameReading {
                series: SeriesId(i),
                time: EventTime::from_nanos(1_700_000_000_000_000_000 + i64::from(i) * 1_000_000)
                    .unwrap(),
                value: Finite::new(2000.0 + f64::from(i) / 100.0).unwrap(),
                dedup: true,
            });
        }
        let bytes = frame.encode().len();
        assert!(bytes < 8 * 1000, "{bytes}");
    }
}
