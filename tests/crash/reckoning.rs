//! After the last kill: what came out against what went in, and the state against a replay of the
//! same journal without crashes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use weir::config::ForwardKind;
use weir::engine::{CoreConfig, Engine, Meta};
use weir::journal::frame::Frame;
use weir::output::{Kinded, Record};
use weir::pipeline::Pipeline;
use weir::reading::{DropReason, SeriesId};
use weir::receiver::router::Router;
use weir::seglog::{Options, SegmentLog};
use weir::state::disk::{Disk, DiskOptions, OpenedDisk};

use super::collector::{Identity, Results, Upstream, identity};
use super::daemon::{Home, Metrics, OUTBOX_BYTES, SEGMENT_BYTES};
use super::model::{FLOOD, Model, WINDOWS_MS};

/// A recovered engine, taken apart: what bit-equality is judged by.
#[derive(PartialEq)]
pub struct Image {
    pub meta: Meta,
    units: Vec<(SeriesId, Vec<u8>)>,
}

impl Image {
    fn of(engine: &Engine) -> Image {
        Image { meta: engine.meta().clone(), units: engine.image() }
    }
}

/// Recovers from a state folder as the daemon does. The folder is changed as by a start.
pub fn recover(state: &Path) -> (Image, Option<weir::reading::AttendedTime>) {
    let options = DiskOptions {
        path: state.to_owned(),
        segment_bytes: SEGMENT_BYTES,
        forwards: vec!["cloud".to_owned()],
        outbox_bytes: OUTBOX_BYTES,
        patience: Duration::ZERO,
    };
    let OpenedDisk { disk, stored, frames, notices, .. } =
        Disk::open(&options, |_| ()).expect("the state folder opens");
    assert!(notices.is_empty(), "{notices:?}");
    let frames = frames.map(|frame| frame.expect("the journal can be read"));
    let router = Router::new(&[]).expect("no subscriptions");
    let forwards = vec![ForwardKind::ALL.to_vec()];
    let (pipeline, recovery) =
        Pipeline::recover(stored, frames, disk, router, forwards, |_, _, _| ())
            .expect("the state recovers");
    assert!(recovery.unreadable.is_empty() && recovery.missing == 0, "{recovery:?}");
    assert_eq!(recovery.orphans, 0, "readings of unknown series");
    (Image::of(pipeline.engine()), pipeline.engine().next_deadline())
}

/// Copies a folder with its folders.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("the folder is ours");
    for entry in fs::read_dir(from).expect("the folder is ours") {
        let entry = entry.expect("the folder is ours");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("the folder is ours");
        }
    }
}

/// Compares what upstream and the metrics say with the model. Returns (lost, doubled) readings.
pub fn count(
    model: &Model,
    upstream: &Upstream,
    results: &Results,
    metrics: &Metrics,
) -> (u64, u64) {
    assert_eq!(upstream.faults, Vec::<String>::new(), "upstream");
    assert_eq!(results.faults, Vec::<String>::new(), "results");
    let refused = metrics.dropped(DropReason::SeriesLimit.name());
    let mut differences = Vec::new();
    for reason in DropReason::ALL {
        let (found, wanted) = (metrics.dropped(reason.name()), model.drops.get(reason));
        if found != wanted && reason != DropReason::SeriesLimit {
            differences.push(format!("dropped {}: {found} of {wanted}", reason.name()));
        }
    }
    let (found, wanted) = (metrics.get("weir_readings_total"), model.readings_total(refused));
    if found != wanted {
        differences.push(format!("weir_readings_total: {found} of {wanted}"));
    }
    let (mut lost, mut doubled) = (0, 0);
    for size in WINDOWS_MS {
        let mut account = |found: u64, wanted: u64| {
            lost += wanted.saturating_sub(found);
            doubled += found.saturating_sub(wanted);
        };
        for (series, wanted) in &model.accepted {
            let found = upstream.totals.get(&(series.clone(), size)).copied().unwrap_or_default();
            account(found.count, wanted.count);
            if found != *wanted {
                differences.push(format!("{series:?} in {size} ms: {found:?} of {wanted:?}"));
            }
        }
        let of_flood = upstream.totals.iter().filter(|((s, of), _)| s.0 == FLOOD && *of == size);
        let found: u64 = of_flood.map(|(_, totals)| totals.count).sum();
        account(found, model.flood - refused);
        if found + refused != model.flood {
            differences.push(format!("flood: {found} + {refused} of {}", model.flood));
        }
    }
    for (pane, wanted) in &model.panes {
        let found = upstream.panes.get(pane).copied().unwrap_or_default();
        if found != *wanted {
            differences.push(format!("{pane:?}: {found:?} of {wanted:?}"));
        }
    }
    let unseen = upstream.records.keys().filter(|id| !results.records.contains_key(*id)).count();
    if unseen > 0 {
        differences.push(format!("{unseen} records were never published as results"));
    }
    differences.truncate(20);
    assert!(differences.is_empty(), "{lost} lost, {doubled} doubled:\n{}", differences.join("\n"));
    (lost, doubled)
}

/// Steps a fresh engine through the whole journal, as if nothing had ever been killed, and
/// compares: its state with the recovered one, at the end and wherever a copy was taken; its
/// records with those that upstream got, byte by byte. Returns the number of frames.
pub fn replay(home: &Home, copies: &[Image], last: &Image, upstream: &Upstream) -> u64 {
    // What is still in the journal replaces older links of the same names.
    for entry in fs::read_dir(home.state().join("journal")).expect("the folder is ours") {
        let entry = entry.expect("the folder is ours");
        let link = home.archive().join(entry.file_name());
        let _ = fs::remove_file(&link);
        fs::copy(entry.path(), &link).expect("the folder is ours");
    }
    let options =
        Options { magic: *b"wJRN", segment_bytes: SEGMENT_BYTES, max_entry_bytes: 64 << 20 };
    let (journal, opened) =
        SegmentLog::open(&home.archive(), options).expect("the archive is a journal");
    assert_eq!((opened.damaged, opened.first), (0, Some(1)), "the whole journal");
    let mut engine = Engine::new(CoreConfig::default()).expect("UTC is known");
    let mut records: BTreeMap<Identity, String> = BTreeMap::new();
    let mut copies = copies.iter().peekable();
    for (at, frame) in (1..).zip(journal.read_from(0)) {
        let (number, bytes) = frame.expect("a frame");
        assert_eq!(number, at, "frames without gap");
        let frame = Frame::decode(&bytes).expect("a frame");
        let output = engine.step(&frame).expect("its configuration is usable");
        for record in &output.records {
            if let Record::Aggregate(aggregate) = record {
                let kinded = Kinded { kind: "aggregate", record: &**aggregate };
                let text = serde_json::to_string(&kinded).expect("JSON");
                records.insert(identity(aggregate), text);
            }
        }
        while let Some(copy) = copies.next_if(|copy| copy.meta.batch == number) {
            assert!(*copy == Image::of(&engine), "a copy taken at batch {number} differs");
        }
    }
    assert!(copies.peek().is_none(), "a copy has frames that the journal lacks");
    assert_eq!(engine.meta(), &last.meta);
    assert!(Image::of(&engine) == *last, "state differs from a replay without crashes");
    assert!(records == upstream.records, "records differ from a replay without crashes");
    engine.meta().batch
}
