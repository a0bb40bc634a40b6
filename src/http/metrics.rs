//! `/metrics`: the status in Prometheus' words.
//!
//! `prometheus-client` writes OpenMetrics: a counter's family is `weir_readings`, its sample
//! `weir_readings_total`. Scrapers that do not ask for OpenMetrics get the older text format
//! ([`classic`]), whose families are named as their samples are.

use std::fmt::{self, Write as _};
use std::sync::{Arc, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::process::Process;
use super::status::{CertificateInfo, ForwardInfo, Histogram, InputInfo, Status};
use crate::reading::DropReason;
use crate::receiver::tcp::Refusal;

/// Content type of what [`open_metrics`] returns.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Content type of what [`classic`] returns.
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A registry that reads `status` at each scrape.
pub fn registry(status: Arc<RwLock<Status>>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(StatusCollector(status)));
    registry
}

/// The metrics in OpenMetrics 1.0 text.
///
/// # Errors
/// Only what formatting into memory can give.
pub fn open_metrics(registry: &Registry) -> Result<String, fmt::Error> {
    let mut page = String::with_capacity(8 * 1024);
    text::encode(&mut page, registry)?;
    Ok(page)
}

/// The metrics in Prometheus' text format 0.0.4, made from OpenMetrics text: a counter's HELP and
/// TYPE lines get the suffix `_total`; an info becomes a gauge with the suffix `_info`.
///
/// # Errors
/// Only what formatting into memory can give.
pub fn classic(open_metrics: &str) -> Result<String, fmt::Error> {
    let mut page = String::with_capacity(open_metrics.len() + 512);
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            let kind = lines
                .next_if(|next| next.starts_with("# TYPE "))
                .and_then(|next| next.rsplit(' ').next())
                .unwrap_or("untyped");
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            write!(page, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n")?;
        } else if line != "# EOF" {
            writeln!(page, "{line}")?;
        }
    }
    Ok(page)
}

#[derive(Debug)]
struct StatusCollector(Arc<RwLock<Status>>);

impl Collector for StatusCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A panic elsewhere while it held the lock leaves numbers that are still worth reading.
        let status = self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut families = Families(encoder);
        daemon(&status, &mut families)?;
        forwards(&status.forwards, &mut families)?;
        process(Process::read(), &mut families)
    }
}

fn daemon(status: &Status, families: &mut Families<'_>) -> fmt::Result {
    families.info(
        "weir_build",
        "Version of the program",
        &[("version", status.version.as_str()), ("gateway", status.gateway.as_str())],
    )?;
    families.counter("weir_readings", "Readings committed", status.readings_total)?;
    families.counters(
        "weir_readings_dropped",
        "Readings (or messages that could not be read) dropped, by reason",
        "reason",
        DropReason::ALL.iter().map(|&reason| (reason.name(), status.drops.get(reason))),
    )?;
    families.histogram(
        "weir_batch_duration_seconds",
        "Time to commit and step a batch",
        &status.batch_duration,
    )?;
    families.histogram(
        "weir_batch_delay_seconds",
        "Time that the oldest reading of a batch waited for its commit",
        &status.batch_delay,
    )?;
    families.counter(
        "weir_journal_bytes",
        "Bytes written to the journal",
        status.journal_bytes_total,
    )?;
    families.gauge(
        "weir_journal_size_bytes",
        "Bytes held by the journal",
        status.journal_bytes_now,
    )?;
    families.counter(
        "weir_checkpoint_bytes",
        "Bytes written to sled by checkpoints",
        status.checkpoint_bytes_total,
    )?;
    families.counter("weir_checkpoints", "Checkpoints finished", status.checkpoints_total)?;
    families.gauge("weir_series", "Series held", status.series)?;
    families.gauge(
        "weir_noise_misfit_series",
        "Series, and filters over several metrics, whose noise does not fit their readings",
        status.noise_misfit_series,
    )?;
    families.gauges(
        "weir_units_unmade",
        "Groups, derived metrics and filters over several metrics that are not made, by reason",
        "reason",
        status.unmade_total.iter().copied(),
    )?;
    families.gauge("weir_series_max", "Most series that may be held", status.max_series)?;
    families.gauge(
        "weir_mqtt_connected",
        "1 while the site's broker is connected",
        u64::from(status.mqtt_connected),
    )?;
    families.counter("weir_mqtt_reconnects", "Connections made again", status.reconnects)?;
    inputs(&status.inputs, families)?;
    families.counter(
        "weir_transport_duplicates",
        "Redelivered messages recognised and only acknowledged",
        status.duplicates_transport,
    )?;
    families.counter(
        "weir_journal_damaged_frames",
        "Journal frames found damaged",
        status.damaged_frames,
    )?;
    families.counters(
        "weir_fits",
        "Background searches for better parameters, by result",
        "result",
        [
            ("found", status.fits.found),
            ("kept", status.fits.kept),
            ("late", status.fits.late),
            ("dropped", status.fits.dropped),
        ]
        .into_iter(),
    )?;
    families.counter(
        "weir_fit_seconds",
        "CPU time that background searches took",
        status.fits.seconds,
    )?;
    families.counter("weir_results_published", "Results published", status.results.published)?;
    families.counter(
        "weir_results_dropped",
        "Results given up because their queue was full",
        status.results.dropped,
    )?;
    families.gauge(
        "weir_clock_trusted",
        "1 while the wall clock is trusted",
        u64::from(status.clock_trusted),
    )?;
    families.certificates(&status.certificates)?;
    families.gauge("weir_alarms_active", "Alarms active", status.alarms_active)
}

fn inputs(inputs: &[InputInfo], families: &mut Families<'_>) -> fmt::Result {
    let each = |value: fn(&InputInfo) -> u64| {
        inputs.iter().map(move |input| (input.name.as_str(), value(input)))
    };
    families.gauges(
        "weir_tcp_connections",
        "Connections that may send lines",
        "input",
        each(|i| i.connections),
    )?;
    families.counters(
        "weir_tcp_lines",
        "Lines taken since the process started",
        "input",
        each(|i| i.lines),
    )?;
    let refused = Refusal::ALL.into_iter().map(|reason| {
        let of_reason = |input: &InputInfo| {
            input
                .refused
                .iter()
                .filter(|(name, _)| *name == reason.name())
                .map(|(_, n)| *n)
                .sum::<u64>()
        };
        (reason.name(), inputs.iter().map(of_reason).sum::<u64>())
    });
    families.counters(
        "weir_tcp_refused",
        "Connections refused or ended since the process started, by reason",
        "reason",
        refused.filter(|_| !inputs.is_empty()),
    )
}

fn forwards(forwards: &[ForwardInfo], families: &mut Families<'_>) -> fmt::Result {
    let each = |value: fn(&ForwardInfo) -> u64| {
        forwards.iter().map(move |forward| (forward.name.as_str(), value(forward)))
    };
    families.gauges("weir_outbox_bytes", "Bytes waiting", "forward", each(|f| f.outbox_bytes))?;
    families.gauges(
        "weir_outbox_records",
        "Records waiting",
        "forward",
        each(|f| f.outbox_records),
    )?;
    families.gauges(
        "weir_outbox_oldest_seconds",
        "Age of the oldest waiting record, 0 when none waits",
        "forward",
        forwards.iter().map(|f| (f.name.as_str(), f.oldest_seconds.unwrap_or(0.0))),
    )?;
    // No sample before the first success: 0 would read as 1970, and alerts on age would fire.
    families.gauges(
        "weir_forward_last_success_timestamp_seconds",
        "Unix time of the last acknowledgement by upstream",
        "forward",
        forwards.iter().filter_map(|f| Some((f.name.as_str(), f.last_success?))),
    )?;
    families.gauges(
        "weir_forward_connected",
        "1 while upstream is connected",
        "forward",
        each(|f| u64::from(f.connected)),
    )?;
    families.counters(
        "weir_forward_messages",
        "Messages acknowledged by upstream",
        "forward",
        each(|f| f.acknowledged_messages),
    )?;
    families.counters(
        "weir_outbox_dropped_records",
        "Records lost because the outbox was full",
        "forward",
        each(|f| f.dropped_records),
    )?;
    families.counters(
        "weir_outbox_dropped_readings",
        "Readings counted by records lost because the outbox was full",
        "forward",
        each(|f| f.dropped_readings),
    )
}

fn process(process: Process, families: &mut Families<'_>) -> fmt::Result {
    if let Some(bytes) = process.resident_bytes {
        families.gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
    }
    if let Some(seconds) = process.cpu_seconds {
        families.counter("process_cpu_seconds", "User and system CPU time", seconds)?;
    }
    if let Some(count) = process.open_fds {
        families.gauge("process_open_fds", "Open file descriptors", count)?;
    }
    if let Some(seconds) = process.start_seconds {
        families.gauge("process_start_time_seconds", "Unix time of the start", seconds)?;
    }
    Ok(())
}

/// The encoder, one call per family.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    fn counter(&mut self, name: &str, help: &str, value: impl EncodeCounterValue) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&value, None)
    }

    fn counters<'n>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'n str, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (text, value) in values {
            family
                .encode_family(&[(label, text)])?
                .encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<'n, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (&'n str, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (text, value) in values {
            family.encode_family(&[(label, text)])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn certificates(&mut self, certificates: &[CertificateInfo]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(
            "weir_tls_certificate_expiry_timestamp_seconds",
            "End of a certificate in use: our own, the one of the broker last connected to, or the list of revoked ones",
            None,
            MetricType::Gauge,
        )?;
        for CertificateInfo { used_by, whose, not_after } in certificates {
            let labels = [("used_by", used_by.as_str()), ("certificate", whose)];
            family.encode_family(&labels)?.encode_gauge(not_after)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, value: &Histogram) -> fmt::Result {
        self.0
            .encode_descriptor(name, help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(value.sum(), value.count(), &value.buckets(), None)
    }
}
