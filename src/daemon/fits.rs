//! The thread that runs background fits, with at most [`SHARE`] of one core.
//!
//! Edge. A job that took t of CPU time is followed by a rest of 19·t, so however many units want a
//! fit, the stream keeps the board. Results go to the pipeline, which journals them. The queue is
//! bounded: a job that finds it full, or that comes back too late, was in vain, and its unit keeps
//! the parameters it has until it asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use crate::engine::FitRequest;
use crate::journal::frame::FrameFit;

/// One part in this many of one core's time.
const SHARE: u32 = 20;
/// Jobs that wait at most. One holds a copy of its unit's recent past: some kilobytes.
pub const QUEUE: usize = 256;
/// Added to the thread's niceness: everything else goes first.
const NICENESS: i32 = 10;

/// What became of the jobs since the process started.
#[derive(Debug, Default)]
pub struct Counts {
    found: AtomicU64,
    kept: AtomicU64,
    late: AtomicU64,
    dropped: AtomicU64,
    nanos: AtomicU64,
}

impl Counts {
    /// As the page and the metrics take it.
    pub fn info(&self) -> crate::http::FitsInfo {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        crate::http::FitsInfo {
            found: read(&self.found),
            kept: read(&self.kept),
            late: read(&self.late),
            dropped: read(&self.dropped),
            seconds: read(&self.nanos) as f64 / 1e9,
        }
    }
}

/// The pipeline's end of the queue. Dropping it ends the thread at once, resting or not, as soon as
/// the job at hand is done.
#[derive(Debug)]
pub struct Fits {
    jobs: SyncSender<FitRequest>,
    counts: Arc<Counts>,
    /// Nothing is ever sent: the worker sees when it goes.
    _running: SyncSender<()>,
}

impl Fits {
    /// The queue's two ends.
    pub fn new() -> (Fits, Worker) {
        let (jobs, waiting) = sync_channel(QUEUE);
        let (_running, running) = sync_channel(0);
        let counts = Arc::new(Counts::default());
        let worker = Worker { jobs: waiting, running, counts: counts.clone() };
        (Fits { jobs, counts, _running }, worker)
    }

    /// Queues a job, or counts it as dropped.
    pub fn ask(&self, job: FitRequest) {
        if self.jobs.try_send(job).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Results that reached a frame when their units no longer waited for them.
    pub fn late(&self, count: u64) {
        self.counts.late.fetch_add(count, Ordering::Relaxed);
    }

    /// A result that did not fit into the pipeline.
    pub fn dropped(&self) {
        self.counts.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// What became of the jobs.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// The thread's end of the queue.
#[derive(Debug)]
pub struct Worker {
    jobs: Receiver<FitRequest>,
    running: Receiver<()>,
    counts: Arc<Counts>,
}

impl Worker {
    /// Runs jobs until the other end goes or `found` returns false.
    pub fn run(self, found: impl FnMut(FrameFit) -> bool) {
        // Where it is not allowed the budget alone must do.
        let _ = rustix::process::nice(NICENESS);
        let rest = |time| self.running.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        self.work(cpu_time, rest, found);
    }

    /// `cpu`: CPU time that this thread has taken; `rest`: waits so long, false: it is over.
    fn work(
        &self,
        mut cpu: impl FnMut() -> Duration,
        mut rest: impl FnMut(Duration) -> bool,
        mut found: impl FnMut(FrameFit) -> bool,
    ) {
        let mut before = cpu();
        while let Ok(job) = self.jobs.recv() {
            if self.running.try_recv() == Err(TryRecvError::Disconnected) {
                return;
            }
            match job.run() {
                Some(fit) => {
                    self.counts.found.fetch_add(1, Ordering::Relaxed);
                    if !found(fit) {
                        return;
                    }
                }
                None => {
                    self.counts.kept.fetch_add(1, Ordering::Relaxed);
                }
            }
            // From the end of the last one: what handing on costs counts too.
            let now = cpu();
            let took = now.saturating_sub(before);
            before = now;
            self.counts.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
            if !rest(took * (SHARE - 1)) {
                return;
            }
        }
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::analytics::fit::FitMode;
    use crate::engine::{CoreConfig, Engine};
    use crate::journal::frame::{Define, Frame, FrameReading};
    use crate::reading::{AttendedTime, EventTime, Finite, ProcessingTime, SECOND, SeriesId};

    /// A job of a series whose level moves: `after` that many readings it begins to.
    fn job(after: usize) -> FitRequest {
        assert_eq!(FitMode::default(), FitMode::Background);
        let mut engine = Engine::new(CoreConfig::default()).unwrap();
        let mut frame = Frame::empty(1, ProcessingTime(0), AttendedTime(0));
        let series = SeriesId(0);
        let (device, metric) = ("d".to_owned(), "m".to_owned());
        frame.define = vec![Define { series, device, metric, kind: Default::default() }];
        let mut level = 0.0;
        frame.readings = (0..200)
            .map(|i| {
                let noise = f64::from((i * 7919 + i * i * 31) % 101) / 50.0 - 1.0;
                if i as usize > after {
                    level += 5.0 * noise;
                }
                let value = Finite::new(level + f64::from(i * 37 % 17) / 10.0).unwrap();
                let time = EventTime::clamped(i64::from(i) * SECOND);
                FrameReading { series, time, value, dedup: true }
            })
            .collect();
        frame.clock_trusted = false;
        engine.step(&frame).unwrap().fits.pop().expect("a fit begins within 200 readings")
    }

    #[test]
    fn rests_leave_a_twentieth_of_a_core() {
        let (fits, worker) = Fits::new();
        let job = job(60);
        for _ in 0..QUEUE + 3 {
            fits.ask(job.clone());
        }
        assert_eq!(fits.counts().info().dropped, 3, "the queue is bounded");
        // A clock by which each job takes as long as the next entry says.
        let times = [3u64, 15, 0, 40, 1].map(Duration::from_millis);
        let (taken, rested) = (RefCell::new(Duration::ZERO), RefCell::new(Duration::ZERO));
        let mut calls = 0;
        let cpu = || {
            if calls > 0 {
                *taken.borrow_mut() += times[calls % times.len()];
            }
            calls += 1;
            *taken.borrow()
        };
        let mut jobs = 0;
        let rest = |time| {
            *rested.borrow_mut() += time;
            let share = *taken.borrow() * SHARE;
            assert!(share <= *taken.borrow() + *rested.borrow(), "within the budget at any time");
            jobs += 1;
            jobs < QUEUE
        };
        worker.work(cpu, rest, |_| true);
        let (taken, rested) = (*taken.borrow(), *rested.borrow());
        assert_eq!(taken * SHARE, taken + rested);
        let info = fits.counts().info();
        assert_eq!((info.found + info.kept, info.seconds), (QUEUE as u64, taken.as_secs_f64()));
    }

    #[test]
    fn results_are_handed_on_and_what_finds_nothing_is_counted() {
        let (fits, worker) = Fits::new();
        let job = job(60);
        let expected = job.run();
        assert!(expected.is_some(), "it finds something");
        fits.ask(job);
        let mut results = Vec::new();
        worker.work(
            || Duration::ZERO,
            |_| false,
            |fit| {
                results.push(fit);
                true
            },
        );
        assert_eq!(results, Vec::from_iter(expected));
        let info = fits.counts().info();
        assert_eq!((info.found, info.kept, info.dropped), (1, 0, 0));
    }

    #[test]
    fn ends_at_once_although_jobs_wait_or_a_rest_is_long() {
        // The other end is gone: no job is begun.
        let (fits, worker) = Fits::new();
        let job = job(60);
        fits.ask(job.clone());
        drop(fits);
        worker.run(|_| panic!("a job was run"));
        // It goes during the rest, which would take hours.
        let (fits, worker) = Fits::new();
        fits.ask(job.clone());
        fits.ask(job);
        let (done, seen) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let mut seconds = 0;
            let cpu = || {
                seconds += 3600;
                Duration::from_secs(seconds)
            };
            let rest = |time| worker.running.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            worker.work(cpu, rest, |_| done.send(()).is_ok());
        });
        seen.recv().unwrap();
        drop(fits);
        thread.join().unwrap();
    }
}
