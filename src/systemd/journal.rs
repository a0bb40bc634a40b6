//! Log events as journal entries with fields, where standard error is the journal.
//!
//! Edge. `MESSAGE` is the line that standard error would have had; each field of the event is also
//! a field of the entry, in capitals behind `WEIR_`, so that `journalctl WEIR_DEVICE=boiler-3`
//! finds it.

use std::fmt::{Debug, Write as _};
use std::io;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Name in front of each line of `journalctl`.
const IDENTIFIER: &str = "weir";

/// True when standard error is a stream to the journal: systemd then sets `$JOURNAL_STREAM` to its
/// device and inode, and whoever redirects standard error changes those (systemd.exec(5)).
pub fn is_standard_error() -> bool {
    let Some(variable) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| names(&variable, stat.st_dev, stat.st_ino))
}

/// `variable`: `device:inode`, decimal.
fn names(variable: &str, device: u64, inode: u64) -> bool {
    variable.split_once(':').is_some_and(|(named_device, named_inode)| {
        named_device.parse() == Ok(device) && named_inode.parse() == Ok(inode)
    })
}

/// Writes to the journal. What journald does not take is lost, as everywhere: a log must not stop
/// the daemon.
#[derive(Debug)]
pub struct Journal;

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let entry = entry(event);
        let fields: Vec<&str> = entry.iter().map(String::as_str).collect();
        let _ = systemd::journal::send(&fields);
    }
}

/// The entry's fields, `NAME=value`.
fn entry(event: &Event<'_>) -> Vec<String> {
    let mut words = Words { message: String::new(), tail: String::new(), fields: Vec::new() };
    event.record(&mut words);
    let metadata = event.metadata();
    let mut entry = vec![
        format!("MESSAGE={}{}", words.message, words.tail),
        format!("PRIORITY={}", priority(*metadata.level())),
        format!("SYSLOG_IDENTIFIER={IDENTIFIER}"),
        format!("WEIR_TARGET={}", metadata.target()),
    ];
    entry.append(&mut words.fields);
    entry
}

/// As syslog(3) numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

struct Words {
    message: String,
    /// ` name=value` for each field, as on standard error.
    tail: String,
    fields: Vec<String>,
}

impl Words {
    fn take(&mut self, field: &Field, value: &str, quoted: bool) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
            return;
        }
        // Writing to a string cannot fail.
        let _ = if quoted {
            write!(self.tail, " {}={value:?}", field.name())
        } else {
            write!(self.tail, " {}={value}", field.name())
        };
        let mut name: String = field
            .name()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
            .collect();
        name.insert_str(0, "WEIR_");
        // journald takes 64 characters.
        name.truncate(64);
        self.fields.push(format!("{name}={value}"));
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value, true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.take(field, &format!("{value:?}"), false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().extend(entry(event));
        }
    }

    #[test]
    fn an_event_becomes_an_entry_with_fields() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let log = tracing_subscriber::registry().with(Kept(kept.clone()));
        tracing::subscriber::with_default(log, || {
            tracing::warn!(
                device = %"boiler-3",
                reason = "two\nlines",
                wait.seconds = 3,
                "alarm {}",
                "begins"
            );
        });
        assert_eq!(
            *kept.lock().unwrap(),
            [
                "MESSAGE=alarm begins device=boiler-3 reason=\"two\\nlines\" wait.seconds=3",
                "PRIORITY=4",
                "SYSLOG_IDENTIFIER=weir",
                "WEIR_TARGET=weir::systemd::journal::tests",
                "WEIR_DEVICE=boiler-3",
                "WEIR_REASON=two\nlines",
                "WEIR_WAIT_SECONDS=3",
            ]
        );
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        for (variable, expected) in [
            ("8:1234", true),
            ("8:1235", false),
            ("9:1234", false),
            ("8", false),
            ("", false),
            ("8:x", false),
        ] {
            assert_eq!(names(variable, 8, 1234), expected, "{variable:?}");
        }
    }
}
