//! The state folder: shared, foreign, newer, damaged, not writable.

use std::fs;
use std::path::{Path, PathBuf};

use crate::client::{Publish, Subscriber, publish};
use crate::daemon::{Settings, Site, Weir, until};
use crate::mosquitto::Mosquitto;

fn seconds(seconds: std::ops::Range<i32>) -> impl Iterator<Item = Publish> {
    seconds.map(|s| Publish::reading("d", "m", f64::from(s), f64::from(s)))
}

fn instance(weir: &Weir) -> String {
    weir.status()["instance"].as_str().expect("an instance").to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let weir = site.start();
    let pid = weir.pid().to_string();
    let log = site.spawn().ends_with(1);
    assert!(log.contains("in use by another weir") && log.contains(&pid), "{log}");
    publish(broker.port(), seconds(0..3));
    weir.takes(3);
    weir.stop();
}

#[test]
fn a_foreign_folder_is_refused_and_left_untouched() {
    let site = Site::new(&Settings::new(1));
    fs::create_dir(&site.state).unwrap();
    fs::write(site.state.join("thesis.txt"), "precious").unwrap();
    let log = site.spawn().ends_with(1);
    assert!(log.contains("is not a weir state folder") && log.contains("thesis.txt"), "{log}");
    assert_eq!(files(&site.state), [site.state.join("thesis.txt")]);
}

#[test]
fn a_folder_of_a_newer_weir_is_refused() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    site.start().stop();
    let text = "weir state folder, layout version 99\n";
    let marker = format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()));
    fs::write(site.state.join("WEIR"), marker).unwrap();
    let log = site.spawn().ends_with(1);
    assert!(log.contains("layout version 99 is newer"), "{log}");
}

#[test]
fn a_state_path_that_cannot_be_made_ends_with_1_and_says_where() {
    let site = Site::new(&Settings::new(1));
    fs::write(&site.state, "a file").unwrap();
    let log = site.spawn().ends_with(1);
    assert!(log.contains(&site.state.display().to_string()), "{log}");
    assert!(log.contains("is not a folder"), "{log}");
}

#[test]
fn with_its_folder_everything_that_it_knew_is_gone() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let weir = site.start();
    publish(broker.port(), seconds(0..3));
    weir.takes(3);
    let before = instance(&weir);
    weir.stop();
    // It wrote nowhere else.
    assert_eq!(files(site.folder()), [site.state.clone(), site.file()]);
    fs::remove_dir_all(&site.state).unwrap();
    let weir = site.start();
    assert_eq!((weir.metric("weir_readings_total"), weir.metric("weir_series")), (0.0, 0.0));
    assert_ne!(instance(&weir), before);
    weir.stop();
}

/// Flips bytes all over a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let step = (bytes.len() / 200).max(1);
    for at in (0..bytes.len()).step_by(step) {
        bytes[at] ^= 0x5a;
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_store_is_said_and_starts_under_a_new_instance() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let weir = site.start();
    publish(broker.port(), seconds(0..20));
    weir.takes(20);
    let before = instance(&weir);
    // A clean stop writes a checkpoint.
    weir.stop();
    damage(&site.state.join("state").join("db"));
    let weir = site.start();
    let after = instance(&weir);
    assert_ne!(after, before, "{}", weir.log());
    let notices = weir.status()["notices"].to_string();
    assert!(notices.contains(&format!("new instance {after}")), "{notices}");
    weir.says("new instance");
    publish(broker.port(), seconds(20..30));
    until("new readings", || (weir.metric("weir_readings_total") >= 10.0).then_some(()));
    // Said once: the next start has nothing to say, and the instance stays.
    weir.stop();
    let weir = site.start();
    assert_eq!(instance(&weir), after);
    assert_eq!(weir.status()["notices"].to_string(), "[]");
    weir.stop();
}

/// The newest journal segment.
fn segment(site: &Site) -> PathBuf {
    files(&site.state.join("journal")).pop().expect("a segment")
}

#[test]
fn a_torn_end_of_the_journal_is_cut_off_and_nothing_acknowledged_is_lost() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let seen = Subscriber::new(broker.port(), &["weir/+/+/+/aggregate"]);
    let mut weir = site.start();
    publish(broker.port(), seconds(0..10));
    weir.takes(10);
    let before = instance(&weir);
    weir.kill();
    // What a power cut leaves of a frame that was never synced.
    let segment = segment(&site);
    let mut bytes = fs::read(&segment).unwrap();
    let torn = bytes[bytes.len() - 60..bytes.len() - 10].to_vec();
    bytes.extend(torn);
    fs::write(&segment, bytes).unwrap();
    let weir = site.start();
    weir.takes(10);
    assert_eq!(instance(&weir), before);
    publish(broker.port(), seconds(10..20));
    seen.wait_aggregates("weir/gw/d/m/aggregate", 20);
    weir.stop();
}

#[test]
fn damage_in_the_middle_of_the_journal_is_counted_and_the_rest_is_used() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let mut weir = site.start();
    for i in 0..5 {
        publish(broker.port(), seconds(i * 10..(i + 1) * 10));
        weir.takes((i as u64 + 1) * 10);
    }
    weir.kill();
    let segment = segment(&site);
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 20] {
        *byte ^= 0xff;
    }
    fs::write(&segment, bytes).unwrap();
    let weir = site.start();
    assert!(weir.metric("weir_journal_damaged_frames_total") >= 1.0);
    let left = weir.metric("weir_readings_total");
    assert!((20.0..50.0).contains(&left), "{left}");
    let notices = weir.status()["notices"].to_string();
    assert!(notices.contains("damaged regions"), "{notices}");
    publish(broker.port(), seconds(50..60));
    weir.takes(left as u64 + 10);
    weir.stop();
}

#[test]
fn a_lost_identity_is_said() {
    let broker = Mosquitto::start();
    let site = Site::new(&Settings::new(broker.port()));
    let weir = site.start();
    publish(broker.port(), seconds(0..10));
    weir.takes(10);
    let before = instance(&weir);
    weir.stop();
    damage(&site.state.join("identity"));
    let weir = site.start();
    assert_ne!(instance(&weir), before);
    weir.says("the instance id could not be read");
    weir.takes(10);
    weir.stop();
}
