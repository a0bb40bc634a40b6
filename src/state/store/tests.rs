use std::fs;

use proptest::prelude::*;

use super::*;

type Units = BTreeMap<u32, Chunk>;

fn chunk(batch: u64, length: usize) -> Chunk {
    Chunk { batch, body: (0..length).map(|at| (at as u64 * 7 + batch) as u8).collect() }
}

fn commit(units: &[(u32, Option<Chunk>)], meta: Option<Chunk>) -> Commit {
    Commit { units: units.to_vec(), meta }
}

/// Opens and asserts that all is sound.
fn sound(dir: &Path) -> (Store, Option<Chunk>, Units) {
    let opened = Store::open(dir).unwrap();
    assert_eq!((opened.damaged, opened.moved_aside), (vec![], None));
    assert!(opened.suspect.is_empty());
    (opened.store, opened.meta, opened.units.into_iter().collect())
}

fn damage(opened: &Opened) -> Vec<Which> {
    opened.damaged.iter().map(|&(which, _)| which).collect()
}

#[test]
fn what_is_committed_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let (mut store, meta, units) = sound(&path);
    assert_eq!((meta, units.len()), (None, 0));
    let first = [(1, Some(chunk(1, 400))), (u32::MAX, Some(chunk(1, 20_000))), (7, None)];
    let bytes = store.commit(commit(&first, Some(chunk(1, 9_000)))).unwrap();
    assert!((29_400..33_000).contains(&bytes), "{bytes}");
    drop(store);
    let (mut store, meta, units) = sound(&path);
    assert_eq!(meta, Some(chunk(1, 9_000)));
    assert_eq!(units, [(1, chunk(1, 400)), (u32::MAX, chunk(1, 20_000))].into());
    // Grows, shrinks, is born, dies; meta stays.
    let second =
        [(1, Some(chunk(2, 4_000))), (u32::MAX, Some(chunk(2, 10))), (3, Some(chunk(2, 0)))];
    store.commit(commit(&second, None)).unwrap();
    store.commit(commit(&[(1, None)], None)).unwrap();
    drop(store);
    let (mut store, meta, units) = sound(&path);
    assert_eq!(meta, Some(chunk(1, 9_000)));
    assert_eq!(units, [(3, chunk(2, 0)), (u32::MAX, chunk(2, 10))].into());
    assert_eq!(store.units(), 2);
    store.commit(commit(&[(1, Some(chunk(5, 1)))], Some(chunk(5, 3)))).unwrap();
    drop(store);
    let (_, meta, units) = sound(&path);
    assert_eq!((meta, units.len()), (Some(chunk(5, 3)), 3));
}

#[test]
fn refused_commits_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ..) = sound(dir.path());
    let twice = commit(&[(1, None), (1, Some(chunk(1, 1)))], None);
    assert!(matches!(store.commit(twice), Err(StoreError::Duplicate(1))));
    let large = commit(&[(2, Some(chunk(1, format::MAX_SPLIT_BYTES + 1)))], None);
    assert!(matches!(store.commit(large), Err(StoreError::TooLarge { .. })));
    let large = commit(&[], Some(chunk(1, MAX_META_PIECES * format::MAX_PIECE_BYTES)));
    let error = store.commit(large).unwrap_err();
    assert!(error.to_string().starts_with("meta cannot be stored: exceeds"), "{error}");
    assert_eq!((store.units(), store.db.len()), (0, 0));
    store.commit(commit(&[(1, Some(chunk(1, 1)))], None)).unwrap();
}

#[test]
fn a_poisoned_store_refuses_commits_until_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ..) = sound(dir.path());
    store.poisoned = Some("flush failed".to_owned());
    let error = store.commit(Commit::default()).unwrap_err().to_string();
    assert!(error.contains("flush failed") && error.contains("restart weir"), "{error}");
    drop(store);
    sound(dir.path()).0.commit(Commit::default()).unwrap();
}

#[test]
fn ten_thousand_units_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ..) = sound(dir.path());
    let units: Vec<_> =
        (0..10_000).map(|unit| (unit * 3, Some(chunk(u64::from(unit), 120)))).collect();
    store.commit(commit(&units, Some(chunk(9, 50)))).unwrap();
    let dead: Vec<_> = (0..1_500).map(|unit| (unit * 9, None)).collect();
    let more: Vec<_> = (1..60).map(|unit| (unit * 3 + 1, Some(chunk(7, 20_000)))).collect();
    store.commit(commit(&[dead, more].concat(), None)).unwrap();
    drop(store);
    let (store, _, found) = sound(dir.path());
    assert_eq!(found.len(), 10_000 - 1_500 + 59);
    assert!(found.range(..13_500).all(|(unit, _)| unit % 9 != 0));
    assert_eq!(found[&28_500], chunk(9_500, 120));
    assert_eq!(found[&4], chunk(7, 20_000));
    assert!(store.debris.is_empty());
}

#[test]
fn no_value_leaves_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, ..) = sound(dir.path());
    for batch in 0..40u64 {
        // Full pages of large pieces, merged again by deletions.
        let units: Vec<_> = (0..60u32)
            .map(|unit| {
                let keep = (u64::from(unit) + batch) % 5 > 0;
                (unit, keep.then(|| chunk(batch, 1_467 * (1 + (unit as usize % 20)))))
            })
            .collect();
        store.commit(commit(&units, Some(chunk(batch, 60_000)))).unwrap();
        // sled writes large pages as files under blobs/, which it never syncs.
        assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0, "batch {batch}");
    }
}

/// A commit cut short after some of its steps: never damage, and the next commit mends it.
#[test]
fn a_commit_that_was_cut_short_is_no_damage() {
    let base: Vec<_> = (0..40).map(|unit| (unit, Some(chunk(1, 5_000)))).collect();
    let mut next: Vec<_> = (0..20).map(|unit| (unit, Some(chunk(2, 300)))).collect();
    next.extend((20..30).map(|unit| (unit, None)));
    next.extend((50..60).map(|unit| (unit, Some(chunk(2, 30)))));
    for steps in 0..=2 {
        for repeated in 1..=3 {
            let dir = tempfile::tempdir().unwrap();
            let (mut store, ..) = sound(dir.path());
            store.commit(commit(&base, Some(chunk(1, 10)))).unwrap();
            for _ in 0..repeated {
                let prepared = store.prepare(commit(&next, Some(chunk(2, 10)))).unwrap();
                let mut changes = Changes::default();
                store.write_units(&prepared, &mut changes).unwrap();
                if steps > 0 {
                    store.write_chain(&prepared, &mut changes).unwrap();
                }
                drop(store);
                let (opened, meta, units) = sound(dir.path());
                store = opened;
                let counts = steps > 0;
                assert_eq!(meta.unwrap().batch, 1 + u64::from(counts));
                assert_eq!(units.contains_key(&25), !counts);
                assert_eq!((&units[&5], &units[&35]), (&chunk(2, 300), &chunk(1, 5_000)));
            }
            if steps == 2 {
                store.commit(commit(&[(25, Some(chunk(3, 9)))], None)).unwrap();
            }
            store.commit(commit(&next, Some(chunk(3, 10)))).unwrap();
            drop(store);
            let (store, _, units) = sound(dir.path());
            assert_eq!((units.len(), store.debris.len()), (40, 0));
            assert!(!units.contains_key(&25));
        }
    }
}

/// Opens a store of units 0..600 and meta, spoils it, reopens.
fn spoiled(spoil: impl FnOnce(&Store)) -> (tempfile::TempDir, Opened) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let (mut store, ..) = sound(&path);
    let units: Vec<_> = (0..600).map(|unit| (unit, Some(chunk(1, 50)))).collect();
    store.commit(commit(&units, Some(chunk(1, 10)))).unwrap();
    let before = store.db.get(piece_key(&unit_key(5), 0)).unwrap().unwrap();
    store.commit(commit(&[(5, Some(chunk(2, 50)))], Some(chunk(2, 10)))).unwrap();
    store.db.insert(b"old", before).unwrap();
    spoil(&store);
    store.db.remove(b"old").unwrap();
    store.db.flush().unwrap();
    drop(store);
    let opened = Store::open(&path).unwrap();
    (dir, opened)
}

#[test]
fn a_value_that_vanished_is_noticed() {
    let (dir, mut opened) = spoiled(|store| {
        store.db.remove(piece_key(&unit_key(513), 0)).unwrap();
    });
    assert_eq!(damage(&opened), [Which::Bucket(1)]);
    assert_eq!((opened.units.len(), &opened.suspect[..]), (599, &[1][..]));
    // The next commit makes a new account of it.
    opened.store.commit(commit(&[(1, Some(chunk(4, 50)))], None)).unwrap();
    drop(opened);
    sound(&dir.path().join("state"));
}

#[test]
fn a_value_that_went_back_in_time_is_noticed() {
    let (_dir, opened) = spoiled(|store| {
        let old = store.db.get(b"old").unwrap().unwrap();
        store.db.insert(piece_key(&unit_key(5), 0), old).unwrap();
    });
    assert_eq!(damage(&opened), [Which::Bucket(5)]);
    assert_eq!(opened.suspect, [5, 517]);
}

#[test]
fn a_damaged_value_is_named_and_removed_by_the_next_commit() {
    let (dir, mut opened) = spoiled(|store| {
        let key = piece_key(&unit_key(70), 0);
        let mut piece = store.db.get(&key).unwrap().unwrap().to_vec();
        piece[40] ^= 4;
        store.db.insert(key, piece).unwrap();
    });
    assert_eq!(damage(&opened), [Which::Unit(70), Which::Bucket(70)]);
    opened.store.commit(commit(&[(70, Some(chunk(3, 5)))], None)).unwrap();
    drop(opened);
    assert_eq!(sound(&dir.path().join("state")).2[&70], chunk(3, 5));
}

#[test]
fn a_lost_meta_is_noticed() {
    let (dir, mut opened) = spoiled(|store| {
        store.db.remove(piece_key(META_KEY, 0)).unwrap();
    });
    assert_eq!((damage(&opened), &opened.meta), (vec![Which::Meta], &None));
    opened.store.commit(Commit::default()).unwrap();
    drop(opened);
    sound(&dir.path().join("state"));
}

#[test]
fn a_store_without_its_chain_is_moved_aside() {
    let (dir, opened) = spoiled(|store| {
        store.db.remove(piece_key(CHAIN_KEY, 0)).unwrap();
    });
    let (aside, why) = opened.moved_aside.unwrap();
    assert_eq!(aside, dir.path().join("state.damaged-1"));
    assert!(aside.join("db").is_file());
    assert!(why.contains("chain"), "{why}");
    assert!(opened.units.is_empty() && opened.meta.is_none());
}

#[test]
fn an_emptied_store_is_not_taken_for_a_new_one() {
    let (dir, opened) = spoiled(|store| store.db.clear().unwrap());
    assert!(opened.moved_aside.is_some());
    drop(opened);
    sound(&dir.path().join("state"));
}

#[test]
fn two_damaged_stores_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    for round in 1..=4 {
        let mut opened = Store::open(&path).unwrap();
        assert_eq!(opened.moved_aside.is_some(), round > 1);
        opened.store.commit(commit(&[(1, Some(chunk(1, 10)))], None)).unwrap();
        drop(opened);
        fs::write(path.join("db"), b"").unwrap();
    }
    let mut names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["state", "state.damaged-2", "state.damaged-3"]);
}

#[test]
fn a_held_lock_is_an_error_and_moves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let held = sound(&path);
    let error = Store::open_within(&path, std::time::Duration::ZERO).err().unwrap();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(held);
    sound(&path);
}

/// Whatever bit of sled's file flips: what is handed out without a warning is right.
#[test]
fn a_flipped_bit_never_gives_wrong_data_silently() {
    let source = tempfile::tempdir().unwrap();
    let (mut store, ..) = sound(source.path());
    let mut generations: Vec<(Option<Chunk>, Units)> = vec![(None, Units::new())];
    for generation in 1..=4u64 {
        let mut units = generations.last().unwrap().1.clone();
        let changed: Vec<_> = (0..30u32)
            .filter(|unit| generation == 1 || u64::from(unit % 4) == generation - 1)
            .map(|unit| (unit, Some(chunk(generation, if unit == 9 { 9_000 } else { 150 }))))
            .collect();
        units.extend(changed.iter().cloned().map(|(unit, chunk)| (unit, chunk.unwrap())));
        store.commit(commit(&changed, Some(chunk(generation, 60)))).unwrap();
        generations.push((Some(chunk(generation, 60)), units));
    }
    drop(store);
    let db = fs::read(source.path().join("db")).unwrap();
    let written = db.iter().rposition(|&byte| byte != 0).unwrap();
    let mut noticed = 0;
    for step in 0..120 {
        let bit = (step * 7919 * 61) % (written * 8);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::create_dir_all(path.join("blobs")).unwrap();
        for entry in fs::read_dir(source.path()).unwrap() {
            let from = entry.unwrap().path();
            if from.is_file() {
                fs::copy(&from, path.join(from.file_name().unwrap())).unwrap();
            }
        }
        let mut flipped = db.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(path.join("db"), flipped).unwrap();
        let opened = Store::open(&path).unwrap();
        let warned = !opened.damaged.is_empty() || opened.moved_aside.is_some();
        noticed += u32::from(warned);
        let found: Units =
            opened.units.into_iter().filter(|(unit, _)| !opened.suspect.contains(unit)).collect();
        if opened.moved_aside.is_some() {
            assert!(found.is_empty());
            continue;
        }
        // The store as of an earlier commit is in order: the journal tells.
        let at = generations.iter().position(|(meta, _)| *meta == opened.meta);
        let Some(at) = at.filter(|_| opened.meta.is_some() || !warned) else { continue };
        for (unit, chunk) in &found {
            let right = generations[at..].iter().any(|(_, units)| units.get(unit) == Some(chunk));
            assert!(right, "bit {bit}, unit {unit}");
        }
        if !warned {
            assert!(generations[at].1.keys().all(|unit| found.contains_key(unit)), "bit {bit}");
        }
    }
    assert!(noticed > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_map(
        commits in prop::collection::vec(
            (
                prop::collection::btree_map(0u32..40, prop::option::of(0usize..8_000), 0..20),
                prop::option::of(0usize..8_000),
                any::<bool>(),
            ),
            1..12,
        )
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, mut meta, mut units) = sound(dir.path());
        for (batch, (changes, new_meta, reopen)) in commits.into_iter().enumerate() {
            let changes: Vec<_> = changes
                .into_iter()
                .map(|(unit, length)| (unit, length.map(|length| chunk(batch as u64, length))))
                .collect();
            let new_meta = new_meta.map(|length| chunk(batch as u64, length));
            for (unit, change) in changes.clone() {
                match change {
                    Some(chunk) => units.insert(unit, chunk),
                    None => units.remove(&unit),
                };
            }
            store.commit(Commit { units: changes, meta: new_meta.clone() }).unwrap();
            meta = new_meta.or(meta);
            if reopen {
                drop(store);
                let found;
                (store, found) = { let (s, m, u) = sound(dir.path()); (s, (m, u)) };
                prop_assert_eq!(found, (meta.clone(), units.clone()));
            }
        }
    }
}

/// `write_bytes` of this process so far, and its resident set, in bytes.
fn process_figures() -> (u64, u64) {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    (field("/proc/self/io", "write_bytes"), field("/proc/self/status", "VmRSS") * 1024)
}

/// Run alone: `make slow`.
#[test]
#[ignore = "a measurement, not a check; make slow"]
fn store_costs() {
    for length in [300, 400] {
        let dir = tempfile::tempdir().unwrap();
        let (_, rss_before) = process_figures();
        let (mut store, ..) = sound(dir.path());
        let round = |batch: u64, units: &mut dyn Iterator<Item = u32>| {
            let units: Vec<_> = units.map(|unit| (unit, Some(chunk(batch, length)))).collect();
            commit(&units, Some(chunk(batch, 1_000)))
        };
        store.commit(round(0, &mut (0..10_000))).unwrap();
        let (_, rss_filled) = process_figures();
        for (name, stride) in [("neighbours", 1u32), ("scattered", 10)] {
            let (mut given, mut slowest) = (0, std::time::Duration::ZERO);
            let (written_before, _) = process_figures();
            for batch in 1..=20u32 {
                let start = if stride == 1 { (batch % 10) * 1000 } else { batch % 10 };
                let commit = round(batch.into(), &mut (0..1000).map(|at| start + at * stride));
                let begin = std::time::Instant::now();
                given += store.commit(commit).unwrap();
                slowest = slowest.max(begin.elapsed());
            }
            let (written, rss) = process_figures();
            let (written, state) = ((written - written_before) / 20, 1000 * length as u64);
            println!(
                "1000 chunks of {length} B, {name}: given {} kB, written {} kB ({:.2} x the state), slowest {slowest:?}, file {} MB, resident {} MB",
                given / 20_000,
                written / 1000,
                written as f64 / state as f64,
                store.size_on_disk().unwrap() / 1_000_000,
                rss / 1_000_000,
            );
        }
        drop(store);
        let begin = std::time::Instant::now();
        let opened = Store::open(dir.path()).unwrap();
        println!(
            "10,000 units of {length} B: resident {} MB more after filling; reopened in {:?}, {} units",
            (rss_filled.saturating_sub(rss_before)) / 1_000_000,
            begin.elapsed(),
            opened.units.len(),
        );
    }
}
