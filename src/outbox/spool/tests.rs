use std::fs;
use std::sync::mpsc;

use proptest::prelude::*;

use super::*;

const MAX: u64 = 3_000;
const SEGMENT: u64 = 400;

fn header(batch: u64) -> EntryHeader {
    EntryHeader { records: batch as u32 % 5 + 1, readings: batch * 10 }
}

fn body(batch: u64) -> Vec<u8> {
    vec![batch as u8; 20 + batch as usize * 13 % 60]
}

fn open(dir: &Path) -> Spool {
    open_sized(dir, MAX)
}

fn open_sized(dir: &Path, max: u64) -> Spool {
    Spool::open_sized(dir, max, SEGMENT).unwrap().0
}

fn fill(spool: &mut Spool, batches: impl IntoIterator<Item = u64>) {
    for batch in batches {
        spool.append(batch, header(batch), &body(batch)).unwrap();
    }
}

fn batches(spool: &Spool) -> Vec<u64> {
    spool.read_from(spool.cursor().acknowledged).map(|entry| entry.unwrap().batch).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn seal(spool: &mut Spool, to: Position) {
    spool
        .update(|cursor| {
            let sealed = Sealed {
                sequence: cursor.next_sequence,
                from: cursor.sealed_to(),
                to,
                tombstone: cursor.tombstone.take(),
            };
            cursor.next_sequence += 1;
            cursor.sealed.push(sealed);
        })
        .unwrap();
}

#[test]
fn entries_come_back_as_appended_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    fill(&mut spool, [3, 4, 9]);
    assert_eq!(spool.append(9, header(1), b"other").unwrap(), Appended::Already);
    assert_eq!((spool.last_batch(), spool.durable_batch()), (Some(9), None));
    spool.sync().unwrap();
    assert_eq!(spool.durable_batch(), Some(9));
    drop(spool);
    let mut spool = open(dir.path());
    // Replay makes all of them again.
    fill(&mut spool, 1..=10);
    assert_eq!(batches(&spool), [3, 4, 9, 10]);
    let entry = spool.read(Position { batch: 4, record: 2 }).unwrap().unwrap();
    assert_eq!(entry, Entry { batch: 4, header: header(4), body: body(4) });
    assert_eq!(spool.read(Position::behind(4)).unwrap().unwrap().batch, 9);
    assert_eq!(spool.read(Position::behind(10)).unwrap(), None);
    assert_eq!((spool.entries(), spool.records()), (4, 4 + 5 + 5 + 1));
    assert_eq!(spool.oldest().unwrap(), Some(3));
}

#[test]
fn acknowledging_counts_down_and_trims() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    fill(&mut spool, 0..25);
    let (bytes, records) = (spool.bytes(), spool.records());
    assert_eq!(records, 25 * 3);
    spool.acknowledge(Position { batch: 3, record: 2 }).unwrap();
    assert_eq!((spool.records(), spool.entries()), (records - 1 - 2 - 3 - 2, 22));
    assert_eq!(spool.oldest().unwrap(), Some(3));
    spool.acknowledge(Position::behind(19)).unwrap();
    assert_eq!((spool.records(), spool.entries()), (15, 5));
    assert!(spool.bytes() < bytes / 2);
    // Going back changes nothing.
    spool.acknowledge(Position::behind(2)).unwrap();
    drop(spool);
    let mut spool = open(dir.path());
    assert_eq!((spool.records(), spool.entries()), (15, 5));
    assert_eq!(batches(&spool), [20, 21, 22, 23, 24]);
    spool.acknowledge(Position::behind(24)).unwrap();
    assert_eq!((spool.records(), spool.entries(), spool.oldest().unwrap()), (0, 0, None));
    assert_eq!(spool.last_batch(), Some(24));
}

#[test]
fn what_the_cursor_points_to_is_durable_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    fill(&mut spool, 1..4);
    assert_eq!(spool.durable_batch(), None);
    seal(&mut spool, Position { batch: 2, record: 1 });
    assert_eq!(spool.durable_batch(), Some(3));
}

#[test]
fn an_acknowledged_batch_is_not_appended_again_even_if_the_segments_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    fill(&mut spool, 1..10);
    spool.acknowledge(Position { batch: 6, record: 1 }).unwrap();
    drop(spool);
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some() {
            fs::remove_file(path).unwrap();
        }
    }
    let mut spool = open(dir.path());
    assert_eq!(spool.last_batch(), Some(5));
    fill(&mut spool, 1..10);
    assert_eq!(batches(&spool), [6, 7, 8, 9]);
    // The record of batch 6 that was acknowledged counts no more.
    let records: u32 = (6..10).map(|batch| header(batch).records).sum();
    assert_eq!(spool.records() + 1, u64::from(records));
}

#[test]
fn a_full_spool_drops_the_oldest_segments_behind_what_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    fill(&mut spool, 1..9);
    seal(&mut spool, Position { batch: 5, record: 1 });
    for batch in 9..200 {
        fill(&mut spool, [batch]);
        assert!(spool.bytes() <= MAX + SEGMENT);
    }
    let left = batches(&spool);
    assert_eq!(left[..5], [1, 2, 3, 4, 5]);
    assert_eq!(left.last(), Some(&199));
    let tombstone = spool.cursor().tombstone.unwrap();
    let gone: Vec<u64> = (1..200).filter(|batch| !left.contains(batch)).collect();
    let expected = Tombstone {
        records: gone.iter().map(|&batch| u64::from(header(batch).records)).sum(),
        readings: gone.iter().map(|&batch| header(batch).readings).sum(),
        first_batch: gone[0],
        last_batch: gone[gone.len() - 1],
    };
    assert_eq!(tombstone, expected);
    assert_eq!(
        spool.records() + tombstone.records,
        (1..200).map(|b| u64::from(header(b).records)).sum::<u64>()
    );
    drop(spool);
    let mut spool = open(dir.path());
    assert_eq!((batches(&spool), spool.cursor().tombstone), (left.clone(), Some(tombstone)));
    // Replay does not bring back what was dropped, even once that has been reported.
    seal(&mut spool, Position { batch: 5, record: 1 });
    assert_eq!(spool.cursor().tombstone, None);
    assert_eq!(spool.cursor().sealed[1].tombstone, Some(tombstone));
    fill(&mut spool, 1..200);
    assert_eq!(batches(&spool), left);
}

#[test]
fn with_everything_protected_the_newcomer_is_refused_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    spool.protect(Position::behind(u64::MAX));
    let mut refused = Vec::new();
    for batch in 1..100 {
        match spool.append(batch, header(batch), &body(batch)).unwrap() {
            Appended::Refused(_) => refused.push(batch),
            stored => assert_eq!(stored, Appended::Stored { dropped: None }),
        }
        assert!(spool.bytes() <= MAX + SEGMENT);
    }
    let tombstone = spool.cursor().tombstone.unwrap();
    assert_eq!(tombstone.readings, refused.iter().map(|batch| batch * 10).sum::<u64>());
    assert_eq!((tombstone.first_batch, tombstone.last_batch), (refused[0], 99));
    assert_eq!(spool.last_batch(), Some(99));
}

#[test]
fn a_damaged_cursor_is_said_and_starts_at_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    fill(&mut spool, 1..5);
    spool.update(|cursor| cursor.instance = "abc".to_owned()).unwrap();
    drop(spool);
    let (spool, opened) = Spool::open(dir.path(), MAX).unwrap();
    assert_eq!((opened.cursor, &spool.cursor().instance[..]), (CursorFound::Yes, "abc"));
    drop(spool);
    let path = dir.path().join(CURSOR_FILE);
    let good = fs::read(&path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).unwrap();
        assert!(matches!(Cursor::load(&path), Ok(Err(_))), "bit {bit}");
    }
    let (spool, opened) = Spool::open(dir.path(), MAX).unwrap();
    assert!(matches!(opened.cursor, CursorFound::Damaged(why) if why.contains("damaged")));
    assert_eq!(spool.cursor(), &Cursor::default());
}

#[test]
fn contradictory_cursors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    fill(&mut spool, 1..9);
    seal(&mut spool, Position::behind(3));
    seal(&mut spool, Position::behind(5));
    spool.acknowledge(Position::behind(3)).unwrap();
    assert_eq!(spool.cursor().sealed.len(), 1);
    let before = spool.cursor().clone();
    let mut refused = |change: fn(&mut Cursor)| {
        let error = spool.update(change).unwrap_err();
        assert!(matches!(error, SpoolError::Cursor { .. }), "{error}");
    };
    refused(|cursor| cursor.acknowledged = Position::default());
    refused(|cursor| cursor.next_sequence = 0);
    refused(|cursor| cursor.sealed[0].from.batch -= 1);
    refused(|cursor| cursor.sealed[0].to = Position::default());
    refused(|cursor| cursor.sealed[0].sequence = 7);
    refused(|cursor| cursor.sealed = vec![cursor.sealed[0].clone(); 2]);
    assert_eq!(spool.cursor(), &before);
}

#[test]
fn a_hole_is_cut_out_and_filled_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    fill(&mut spool, 1..30);
    spool.acknowledge(Position::behind(1)).unwrap();
    let whole = (batches(&spool), spool.records());
    drop(spool);
    let mut paths: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let mut bytes = fs::read(&paths[1]).unwrap();
    bytes[60] ^= 1;
    fs::write(&paths[1], bytes).unwrap();
    let (mut spool, opened) = Spool::open_sized(dir.path(), MAX, SEGMENT).unwrap();
    assert_eq!(opened.log.damaged, 1);
    let after = opened.log.damages[0].after.unwrap();
    spool.truncate_after(after).unwrap();
    assert_eq!(batches(&spool).last(), Some(&after));
    fill(&mut spool, 1..30);
    assert_eq!((batches(&spool), spool.records()), whole);
}

#[test]
fn a_spool_moves_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Spool>();
}

/// Readings waiting, in sealed tombstones and in the open one.
fn readings(spool: &Spool) -> u64 {
    let waiting: u64 = spool
        .read_from(spool.cursor().acknowledged)
        .map(|entry| entry.unwrap().header.readings)
        .sum();
    let sealed: u64 =
        spool.cursor().sealed.iter().filter_map(|s| s.tombstone).map(|t| t.readings).sum();
    waiting + sealed + spool.cursor().tombstone.map_or(0, |tombstone| tombstone.readings)
}

#[derive(Clone, Debug)]
enum Action {
    Append { gap: u64 },
    Sync,
    Seal,
    Acknowledge,
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (1u64..3).prop_map(|gap| Action::Append { gap }),
        1 => Just(Action::Sync),
        1 => Just(Action::Seal),
        1 => Just(Action::Acknowledge),
        1 => Just(Action::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The folder is copied after every durable step, as a crash would leave it (also with the
    /// last segment torn, as a power cut may): opened, and with the batches appended again from
    /// the journal, every reading counts once.
    #[test]
    fn no_crash_loses_or_doubles_a_reading(actions in prop::collection::vec(action(), 30..90)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool");
        let (copies, copied) = mpsc::channel();
        let watch = |spool: &mut Spool| {
            let (from, to, copies) = (path.clone(), dir.path().to_owned(), copies.clone());
            let mut count = fs::read_dir(&to).unwrap().count();
            spool.on_step = Some(Box::new(move |_| {
                let to = to.join(format!("copy-{count}"));
                count += 1;
                copy(&from, &to);
                copies.send(to).unwrap();
            }));
        };
        let mut spool = open(&path);
        watch(&mut spool);
        let mut appended: Vec<u64> = Vec::new();
        let mut reported = 0;
        for action in actions {
            // Readings that upstream has for good, before and after this action.
            let reported_before = reported;
            let durable = spool.durable_batch();
            match action {
                Action::Append { gap } => {
                    let batch = appended.last().map_or(1, |last| last + gap);
                    fill(&mut spool, [batch]);
                    appended.push(batch);
                }
                Action::Sync => spool.sync().unwrap(),
                Action::Seal => {
                    let to = spool.cursor().sealed_to();
                    let entry = spool.read(to).unwrap();
                    if let Some(entry) = entry {
                        seal(&mut spool, Position::behind(entry.batch));
                    }
                }
                Action::Acknowledge => {
                    if let Some(sealed) = spool.cursor().sealed.first().cloned() {
                        let tombstone = sealed.tombstone.map_or(0, |tombstone| tombstone.readings);
                        let sent: u64 = appended.iter()
                            .filter(|&&batch| sealed.from <= Position { batch, record: 0 })
                            .filter(|&&batch| Position::behind(batch) <= sealed.to)
                            .filter(|&&batch| spool.read(Position { batch, record: 0 })
                                .unwrap().is_some_and(|entry| entry.batch == batch))
                            .map(|&batch| header(batch).readings).sum();
                        spool.acknowledge(sealed.to).unwrap();
                        reported += tombstone + sent;
                    }
                }
                Action::Reopen => {
                    drop(spool);
                    spool = open(&path);
                    watch(&mut spool);
                }
            }
            let total: u64 = appended.iter().map(|&batch| header(batch).readings).sum();
            prop_assert_eq!(readings(&spool) + reported, total);
            let records: u64 = spool.read_from(spool.cursor().acknowledged)
                .map(|entry| u64::from(entry.unwrap().header.records)).sum();
            prop_assert_eq!(spool.records(), records);
            prop_assert!(spool.bytes() <= MAX + SEGMENT);
            for crashed in copied.try_iter() {
                let mut torn = open(&crashed);
                if torn.last_batch() > durable {
                    drop(torn);
                    let mut paths: Vec<_> = fs::read_dir(&crashed).unwrap()
                        .map(|entry| entry.unwrap().path())
                        .filter(|path| path.extension().is_some()).collect();
                    paths.sort();
                    // Nothing of the last segment that was not synced is sure to be there.
                    let last = paths.pop().unwrap();
                    let bytes = fs::read(&last).unwrap();
                    if spool.durable_batch() < torn_last(&bytes) {
                        fs::write(&last, &bytes[..bytes.len() - 7]).unwrap();
                    }
                    torn = open(&crashed);
                }
                fill(&mut torn, appended.iter().copied());
                let has = readings(&torn);
                let acknowledged = torn.cursor().acknowledged == spool.cursor().acknowledged;
                let theirs = if acknowledged { reported } else { reported_before };
                prop_assert_eq!(has + theirs, total, "{}", crashed.display());
            }
        }
    }
}

/// Number of the last entry whose marker is in these bytes.
fn torn_last(bytes: &[u8]) -> Option<u64> {
    let marker = bytes.windows(4).rposition(|window| window == [0xF5, 0x57, 0xE1, 0xB4])?;
    let number = bytes.get(marker + 4..marker + 12)?;
    Some(u64::from_le_bytes(number.try_into().unwrap()))
}
