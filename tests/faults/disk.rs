//! Disks that are full, read-only, or fail to sync.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::client::{Publish, Subscriber, publish};
use crate::daemon::{Settings, Site, until};
use crate::mosquitto::Mosquitto;

fn seconds(seconds: std::ops::Range<i32>) -> impl Iterator<Item = Publish> {
    seconds.map(|s| Publish::reading("d", "m", f64::from(s), f64::from(s)))
}

/// A small file system of our own, unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None`, with the reason printed, where mounting is not permitted.
    fn mount(path: &Path, mebibytes: u32) -> Option<Tmpfs> {
        fs::create_dir_all(path).unwrap();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(path)
            .output();
        match output {
            Ok(output) if output.status.success() => Some(Tmpfs(path.to_owned())),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                println!("skipped: a tmpfs cannot be mounted here: {why}");
                None
            }
            Err(error) => {
                println!("skipped: mount cannot be run: {error}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "remount,{options}");
    }

    /// Leaves about this much free.
    fn fill(&self, leave: u64) -> PathBuf {
        let path = self.0.join("filler");
        let free = weir::state::folder::free_bytes(&self.0).unwrap();
        let file = File::create(&path).unwrap();
        let size = free - leave;
        let block = vec![1; 1 << 20];
        let mut written = 0;
        while written < size {
            use std::io::Write;
            let part = (size - written).min(block.len() as u64) as usize;
            (&file).write_all(&block[..part]).unwrap();
            written += part as u64;
        }
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A site whose state is on a small file system (in the folder `disk/state`).
fn on_tmpfs(broker: u16) -> Option<(Site, Tmpfs, Settings)> {
    let settings = Settings::new(broker);
    let mut site = Site::new(&settings);
    let disk = site.folder().join("disk");
    let tmpfs = Tmpfs::mount(&disk, 48)?;
    site.state = disk.join("state");
    site.configure(&settings);
    Some((site, tmpfs, settings))
}

#[test]
fn a_full_disk_pauses_readings_says_so_and_resumes_without_loss() {
    let broker = Mosquitto::start();
    let Some((site, tmpfs, _)) = on_tmpfs(broker.port()) else { return };
    let seen = Subscriber::new(broker.port(), &["weir/+/+/+/aggregate"]);
    let weir = site.start();
    publish(broker.port(), seconds(0..10));
    weir.takes(10);
    let filler = tmpfs.fill(8 << 20);
    weir.unready("disk full");
    assert_eq!(weir.get("/healthz").0, 200, "it lives, it only waits");
    assert!(weir.status()["notices"].to_string().contains("disk full"));
    weir.says("disk full");
    until("the receiver to let go", || (weir.metric("weir_mqtt_connected") == 0.0).then_some(()));
    publish(broker.port(), seconds(10..40));
    assert_eq!(weir.metric("weir_readings_total"), 10.0);
    fs::remove_file(filler).unwrap();
    weir.ready();
    weir.takes(40);
    seen.wait_aggregates("weir/gw/d/m/aggregate", 40);
    assert_eq!(weir.status()["notices"].to_string(), "[]");
    assert!(weir.stop().contains("disk has space again"));
}

#[test]
fn a_disk_that_is_full_at_start_is_waited_for_and_a_stop_is_heard() {
    let broker = Mosquitto::start();
    let Some((site, tmpfs, _)) = on_tmpfs(broker.port()) else { return };
    let filler = tmpfs.fill(4 << 20);
    let weir = site.spawn();
    weir.unready("disk full");
    weir.says("waiting for space");
    weir.stop();
    let weir = site.spawn();
    weir.unready("disk full");
    fs::remove_file(filler).unwrap();
    weir.ready();
    publish(broker.port(), seconds(0..3));
    weir.takes(3);
    weir.stop();
}

#[test]
fn a_disk_that_fills_up_under_way_ends_with_1_and_loses_nothing() {
    let broker = Mosquitto::start();
    let Some((site, tmpfs, _)) = on_tmpfs(broker.port()) else { return };
    let seen = Subscriber::new(broker.port(), &["weir/+/+/+/aggregate"]);
    let weir = site.start();
    publish(broker.port(), seconds(0..10));
    weir.takes(10);
    // Faster than it looks: a frame soon finds no room at all.
    let filler = tmpfs.fill(0);
    publish(broker.port(), seconds(10..3000));
    let mut weir = weir;
    let status = weir.ends();
    assert_eq!(status.code(), Some(1), "{}", weir.log());
    assert!(weir.log().contains("No space left"), "{}", weir.log());
    fs::remove_file(filler).unwrap();
    let weir = site.start();
    weir.takes(3000);
    seen.wait_aggregates("weir/gw/d/m/aggregate", 3000);
    weir.stop();
}

#[test]
fn a_read_only_disk_ends_with_1_and_says_where() {
    let broker = Mosquitto::start();
    let Some((site, tmpfs, _)) = on_tmpfs(broker.port()) else { return };
    let weir = site.start();
    publish(broker.port(), seconds(0..3));
    weir.takes(3);
    weir.stop();
    tmpfs.remount("ro");
    let log = site.spawn().ends_with(1);
    assert!(log.contains(&site.state.display().to_string()), "{log}");
    assert!(log.contains("Read-only file system"), "{log}");
    tmpfs.remount("rw");
    let weir = site.start();
    weir.takes(3);
    weir.stop();
}

/// True if `strace` may trace here.
fn strace() -> bool {
    let status = Command::new("strace")
        .args(["-f", "-e", "trace=fdatasync", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let works = status.is_ok_and(|status| status.success());
    if !works {
        println!("skipped: strace is not there or not permitted");
    }
    works
}

#[test]
fn a_failed_sync_ends_with_1_and_nothing_acknowledged_is_lost() {
    if !strace() {
        return;
    }
    for (call, when) in [("fdatasync", 3), ("fdatasync", 6)] {
        let broker = Mosquitto::start();
        let settings = Settings::new(broker.port());
        let mut site = Site::new(&settings);
        let seen = Subscriber::new(broker.port(), &["weir/+/+/+/aggregate"]);
        // A first run, so that the folder stands.
        site.start().stop();
        let inject = format!("inject={call}:error=EIO:when={when}+");
        let trace = format!("trace={call}");
        site.under = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]
            .map(str::to_owned)
            .to_vec();
        let mut weir = site.spawn();
        let mut published = 0;
        while weir.runs() && published < 200 {
            publish(broker.port(), seconds(published..published + 5));
            published += 5;
        }
        let status = weir.ends();
        assert_eq!(status.code(), Some(1), "{call} {when}: {status}\n{}", weir.log());
        let log = weir.log();
        assert!(log.contains("Input/output error"), "{log}");
        site.under.clear();
        let weir = site.start();
        weir.takes(published as u64);
        seen.wait_aggregates("weir/gw/d/m/aggregate", published as u64);
        weir.stop();
    }
}
