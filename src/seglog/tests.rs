use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::*;

const OPTIONS: Options = Options { magic: *b"TEST", segment_bytes: 200, max_entry_bytes: 1000 };

type Entries = Vec<(u64, Vec<u8>)>;

fn payload(number: u64, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number as usize * 31 + at * 7) as u8).collect()
}

fn all(log: &SegmentLog) -> Entries {
    log.read_from(0).map(Result::unwrap).collect()
}

fn filled(dir: &Path, options: Options, lengths: &[usize]) -> (SegmentLog, Entries) {
    let (mut log, _) = SegmentLog::open(dir, options).unwrap();
    let mut entries = Entries::new();
    for (at, &length) in lengths.iter().enumerate() {
        let number = at as u64 * 3 + 5;
        let bytes = payload(number, length);
        log.append(number, &bytes).unwrap();
        entries.push((number, bytes));
    }
    log.sync().unwrap();
    (log, entries)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in files(from) {
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn entries_come_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (log, entries) = filled(dir.path(), OPTIONS, &[0, 10, 150, 90, 1000, 1, 170]);
    assert!(files(dir.path()).len() >= 5);
    assert_eq!(all(&log), entries);
    drop(log);
    let (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    assert_eq!(all(&log), entries);
    let expected = Opened { entries: 7, first: Some(5), last: Some(23), ..Opened::default() };
    assert_eq!(opened, expected);
    let on_disk: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!(log.bytes(), on_disk);
    let tail: Entries = log.read_from(9).map(Result::unwrap).collect();
    assert_eq!(tail, entries[2..]);
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_off() {
    let source = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 10_000, ..OPTIONS };
    let (log, entries) = filled(source.path(), options, &[4, 30, 0, 17]);
    drop(log);
    let path = files(source.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    let ends: Vec<usize> = entries
        .iter()
        .scan(SEGMENT_HEADER_BYTES, |end, (_, payload)| {
            *end += ENTRY_HEADER_BYTES + payload.len();
            Some(*end)
        })
        .collect();
    for cut in 0..=bytes.len() {
        for zeros in [0, 1, 40] {
            let dir = tempfile::tempdir().unwrap();
            let mut torn = bytes[..cut].to_vec();
            torn.resize(cut + zeros, 0);
            fs::write(dir.path().join(path.file_name().unwrap()), &torn).unwrap();
            let (mut log, opened) = SegmentLog::open(dir.path(), options).unwrap();
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            assert_eq!(all(&log), entries[..whole], "cut at {cut}");
            assert_eq!(opened.damaged, 0);
            if whole > 0 {
                assert_eq!(opened.truncated_bytes as usize, torn.len() - ends[whole - 1]);
            }
            log.append(100, b"next").unwrap();
            drop(log);
            let (log, opened) = SegmentLog::open(dir.path(), options).unwrap();
            assert_eq!(opened.truncated_bytes + opened.damaged, 0, "cut at {cut}");
            assert_eq!(all(&log).last().unwrap(), &(100, b"next".to_vec()));
            assert_eq!(log.entries(), whole as u64 + 1);
        }
    }
}

#[test]
fn a_flipped_bit_costs_at_most_its_entry_and_is_reported() {
    let source = tempfile::tempdir().unwrap();
    let (log, entries) = filled(source.path(), OPTIONS, &[20, 33, 60, 0, 41, 150, 9, 50]);
    drop(log);
    let segments = files(source.path());
    assert!(segments.len() >= 3);
    for path in &segments {
        let bytes = fs::read(path).unwrap();
        for bit in (0..bytes.len()).map(|byte| byte * 8 + byte % 8) {
            let dir = tempfile::tempdir().unwrap();
            copy(source.path(), dir.path());
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join(path.file_name().unwrap()), &flipped).unwrap();
            let (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
            let found = all(&log);
            let missing: Vec<_> = entries.iter().filter(|entry| !found.contains(entry)).collect();
            assert_eq!(found.len() + missing.len(), entries.len(), "wrong data: bit {bit}");
            let lost = usize::from(bit / 8 >= SEGMENT_HEADER_BYTES);
            assert_eq!(missing.len(), lost, "{} bit {bit}", path.display());
            assert_eq!(opened.damaged + opened.truncated_bytes.min(1), 1);
            for damage in &opened.damages {
                if let [(number, _)] = missing[..] {
                    assert!(damage.after < Some(*number) && damage.before > Some(*number));
                }
            }
        }
    }
}

#[test]
fn a_payload_that_contains_an_entry_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 10_000, ..OPTIONS };
    let (mut log, _) = filled(dir.path(), options, &[12]);
    // A perfect entry, as it would stand elsewhere in this very segment.
    let mut inner = Vec::new();
    let place = format::Place { first: 5, offset: 52 };
    format::encode_entry(place, 7, b"forged", &mut inner);
    log.append(6, &inner).unwrap();
    log.append(9, b"last").unwrap();
    drop(log);
    let path = files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[53] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (log, opened) = SegmentLog::open(dir.path(), options).unwrap();
    let numbers: Vec<u64> = all(&log).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [5, 9]);
    assert_eq!(opened.damaged, 1);
}

#[test]
fn a_damaged_end_of_an_earlier_segment_does_not_hide_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (log, entries) = filled(dir.path(), OPTIONS, &[60, 60, 60, 60, 60]);
    drop(log);
    let path = files(dir.path()).remove(0);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    let (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    assert_eq!(all(&log), [&entries[..1], &entries[2..]].concat());
    assert_eq!(opened.damages.len(), 1);
    assert_eq!((opened.damages[0].after, opened.damages[0].before), (Some(5), Some(11)));
    assert_eq!(opened.truncated_bytes, 0);
}

#[test]
fn foreign_and_newer_segments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), OPTIONS, &[1]));
    let other = Options { magic: *b"ELSE", ..OPTIONS };
    let error = SegmentLog::open(dir.path(), other).err().unwrap().to_string();
    assert!(error.contains("begins with \"TEST\", expected \"ELSE\""), "{error}");
    let path = files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4] = 2;
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = SegmentLog::open(dir.path(), OPTIONS).err().unwrap();
    assert!(matches!(error, LogError::Newer { found: 2, .. }), "{error}");
}

#[test]
fn refused_appends_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, entries) = filled(dir.path(), OPTIONS, &[10]);
    let bytes = log.bytes();
    assert!(matches!(log.append(9, &[0; 1001]), Err(LogError::TooLarge { bytes: 1001, .. })));
    assert!(matches!(log.append(5, b""), Err(LogError::NotIncreasing { last: 5, .. })));
    assert_eq!((log.bytes(), all(&log)), (bytes, entries));
}

#[test]
fn a_write_that_fails_midway_is_rolled_back_and_may_be_tried_again() {
    for part in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, mut entries) = filled(dir.path(), OPTIONS, &[10]);
        log.fail_write_after = Some(part);
        let error = log.append(9, &[7; 20]).unwrap_err();
        assert!(error.is_full());
        assert!(error.to_string().contains("free space"), "{error}");
        assert_eq!(files(dir.path())[0].metadata().unwrap().len(), log.bytes());
        log.append(9, &[7; 20]).unwrap();
        entries.push((9, vec![7; 20]));
        assert_eq!(all(&log), entries);
        drop(log);
        let (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
        assert_eq!((all(&log), opened.truncated_bytes), (entries, 0));
    }
}

#[test]
fn after_a_failed_first_append_a_lower_number_may_come() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = filled(dir.path(), OPTIONS, &[160]);
    for number in [50, 40, 45] {
        log.fail_write_after = Some(3);
        log.append(number, &[1; 100]).unwrap_err();
    }
    log.append(44, &[1; 10]).unwrap();
    log.append(50, &[1; 170]).unwrap();
    drop(log);
    let (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    let numbers: Vec<u64> = all(&log).into_iter().map(|(number, _)| number).collect();
    assert_eq!((numbers, opened.damaged), (vec![5, 44, 50], 0));
}

#[test]
fn a_failed_sync_poisons_log_and_handles_until_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = filled(dir.path(), OPTIONS, &[10]);
    let handle = log.sync_handle();
    log.append(9, b"x").unwrap();
    assert_eq!(log.durable_number(), Some(5));
    log.fail_syncs();
    assert!(matches!(handle.sync(), Err(LogError::Io { action: "sync", .. })));
    assert!(matches!(handle.sync(), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.sync(), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.append(10, b"y"), Err(LogError::Poisoned { .. })));
    assert!(matches!(log.trim_before(10), Ok(0) | Err(LogError::Poisoned { .. })));
    drop(log);
    let (mut log, _) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    log.append(10, b"y").unwrap();
    assert_eq!(log.sync().unwrap(), Some(10));
}

#[test]
fn a_full_segment_is_synced_before_the_next_is_created() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = filled(dir.path(), OPTIONS, &[100]);
    log.append(9, &[1; 20]).unwrap();
    log.fail_syncs();
    assert!(log.append(10, &[1; 100]).is_err());
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn a_handle_syncs_what_was_appended() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    let handle = log.sync_handle();
    assert_eq!(handle.sync().unwrap(), None);
    for number in 1..50 {
        log.append(number, &[0; 30]).unwrap();
        let handle = handle.clone();
        let durable = std::thread::spawn(move || handle.sync().unwrap()).join().unwrap();
        assert_eq!((durable, log.durable_number()), (Some(number), Some(number)));
    }
}

#[test]
fn a_reader_goes_on_while_its_log_is_appended_to_and_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, entries) = filled(dir.path(), OPTIONS, &[60; 6]);
    let mut reader = log.read_from(0);
    assert_eq!(reader.next().unwrap().unwrap(), entries[0]);
    log.append(100, b"later").unwrap();
    // Two segments of a header and two entries each.
    assert_eq!(log.trim_before(15).unwrap(), 2 * (20 + 2 * 80));
    let rest: Entries = reader.map(Result::unwrap).collect();
    // The first segment was open already; the second is gone.
    assert_eq!(rest, [&entries[1..2], &entries[4..]].concat());
}

#[test]
fn an_empty_last_segment_is_removed_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let (log, entries) = filled(dir.path(), OPTIONS, &[60, 60]);
    drop(log);
    let header = format::segment_header(OPTIONS.magic, 50);
    for length in [0, 7, SEGMENT_HEADER_BYTES] {
        fs::write(dir.path().join(format!("{:016x}.log", 50)), &header[..length]).unwrap();
        let (log, _) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
        assert_eq!(all(&log), entries);
        assert_eq!(files(dir.path()).len(), 1);
    }
    let (mut log, _) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    log.append(40, &[0; 150]).unwrap();
    log.append(50, &[0; 150]).unwrap();
    assert_eq!(log.entries(), 4);
}

#[test]
fn truncation_takes_what_follows_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (log, entries) = filled(dir.path(), OPTIONS, &[30, 30, 30, 30, 30, 30, 30]);
    drop(log);
    for keep in [0, 5, 7, 11, 12, 22, 23, 99] {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let (mut log, _) = SegmentLog::open(copied.path(), OPTIONS).unwrap();
        let mut expected: Entries =
            entries.iter().filter(|(number, _)| *number <= keep).cloned().collect();
        let gone = log.truncate_after(keep).unwrap();
        assert_eq!((all(&log), gone as usize), (expected.clone(), 7 - expected.len()));
        log.append(keep + 1, b"again").unwrap();
        log.sync().unwrap();
        expected.push((keep + 1, b"again".to_vec()));
        drop(log);
        let (log, opened) = SegmentLog::open(copied.path(), OPTIONS).unwrap();
        assert_eq!((all(&log), opened.damaged, opened.truncated_bytes), (expected, 0, 0));
    }
}

#[test]
fn whole_segments_go_from_the_middle_but_never_the_last() {
    let dir = tempfile::tempdir().unwrap();
    // Two entries in each segment.
    let (mut log, entries) = filled(dir.path(), OPTIONS, &[60; 8]);
    assert_eq!(log.delete_between(9, 19).unwrap(), 180);
    let mut expected = [&entries[..2], &entries[4..]].concat();
    assert_eq!(all(&log), expected);
    assert_eq!(log.delete_between(12, 99).unwrap(), 180);
    expected.drain(2..4);
    drop(log);
    let (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    assert_eq!((all(&log), opened.damaged), (expected, 0));
    let spans: Vec<_> = log.segments().map(|s| (s.first, s.last, s.bytes)).collect();
    assert_eq!(spans, [(Some(5), Some(8), 180), (Some(23), Some(26), 180)]);
}

#[test]
fn reading_from_the_middle_uses_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 10 << 20, max_entry_bytes: 1 << 20, ..OPTIONS };
    let lengths: Vec<usize> = (0..400).map(|at| at * 97 % 5000).collect();
    let (log, entries) = filled(dir.path(), options, &lengths);
    for at in (0..400).step_by(7) {
        let from = entries[at].0;
        let found: Entries = log.read_from(from).take(3).map(Result::unwrap).collect();
        assert_eq!(found, entries[at..(at + 3).min(400)]);
        let before: Entries = log.read_from(from - 1).take(1).map(Result::unwrap).collect();
        assert_eq!(before, entries[at..=at]);
    }
}

#[test]
fn a_segment_that_comes_twice_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let (log, entries) = filled(dir.path(), OPTIONS, &[60; 6]);
    drop(log);
    for name in [6, 99] {
        let first = files(dir.path()).remove(0);
        fs::copy(first, dir.path().join(format!("{name:016x}.log"))).unwrap();
    }
    let (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    assert_eq!((all(&log), opened.entries), (entries, 6));
    assert_eq!((opened.damaged, opened.truncated_bytes), (1, 160));
}

#[test]
fn files_that_are_no_segments_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["cursor", "1.log", "000000000000000G.log", "0000000000000001.tmp"] {
        fs::write(dir.path().join(name), b"mine").unwrap();
    }
    let (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
    assert_eq!((opened, log.bytes()), (Opened::default(), 0));
    assert_eq!(files(dir.path()).len(), 4);
}

#[derive(Clone, Debug)]
enum Action {
    Append { gap: u64, length: usize },
    FailAppend { part: usize },
    Sync,
    TrimBefore(u64),
    TruncateAfter(u64),
    Read(u64),
    Reopen { garbage: usize },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1u64..4, 0usize..260).prop_map(|(gap, length)| Action::Append { gap, length }),
        1 => (0usize..50).prop_map(|part| Action::FailAppend { part }),
        1 => Just(Action::Sync),
        1 => (0u64..120).prop_map(Action::TrimBefore),
        1 => (0u64..120).prop_map(Action::TruncateAfter),
        1 => (0u64..120).prop_map(Action::Read),
        2 => (0usize..30).prop_map(|garbage| Action::Reopen { garbage }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_map_with_whole_segments(actions in prop::collection::vec(action(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, _) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
        let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut trimmed_to = 0;
        for action in actions {
            match action {
                Action::Append { gap, length } => {
                    let number = log.last_number().map_or(1, |last| last + gap);
                    log.append(number, &payload(number, length)).unwrap();
                    model.insert(number, payload(number, length));
                }
                Action::FailAppend { part } => {
                    log.fail_write_after = Some(part);
                    let number = log.last_number().map_or(1, |last| last + 1);
                    prop_assert!(log.append(number, &[1; 60]).is_err());
                }
                Action::Sync => {
                    prop_assert_eq!(log.sync().unwrap(), log.last_number());
                }
                Action::TrimBefore(number) => {
                    let before = log.bytes();
                    let freed = log.trim_before(number).unwrap();
                    prop_assert_eq!(log.bytes() + freed, before);
                    trimmed_to = trimmed_to.max(number);
                }
                Action::TruncateAfter(number) => {
                    log.truncate_after(number).unwrap();
                    model.retain(|&entry, _| entry <= number);
                }
                Action::Read(from) => {
                    let found: Vec<u64> = log.read_from(from).map(|entry| entry.unwrap().0).collect();
                    let expected: Vec<u64> = all(&log).into_iter()
                        .map(|(number, _)| number).filter(|&number| number >= from).collect();
                    prop_assert_eq!(found, expected);
                }
                Action::Reopen { garbage } => {
                    drop(log);
                    if let Some(last) = files(dir.path()).pop() {
                        let mut bytes = fs::read(&last).unwrap();
                        bytes.extend(payload(99, garbage));
                        fs::write(&last, bytes).unwrap();
                    }
                    let opened;
                    (log, opened) = SegmentLog::open(dir.path(), OPTIONS).unwrap();
                    prop_assert_eq!(opened.damaged, 0);
                    prop_assert_eq!(opened.entries, log.entries());
                }
            }
            // Only whole segments below the trim point may be missing, and only at the front.
            let found: BTreeMap<u64, Vec<u8>> = all(&log).into_iter().collect();
            let first = found.keys().next().copied().unwrap_or(u64::MAX);
            prop_assert!(model.range(..first).all(|(&number, _)| number < trimmed_to) || found.is_empty());
            model = model.split_off(&first);
            prop_assert_eq!(&found, &model);
            prop_assert_eq!(log.first_number(), found.keys().next().copied());
            prop_assert_eq!(log.last_number(), found.keys().next_back().copied());
            let on_disk: u64 = files(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
            prop_assert_eq!(log.bytes(), on_disk);
            prop_assert!(files(dir.path()).len() <= model.len() + 1);
        }
    }
}
