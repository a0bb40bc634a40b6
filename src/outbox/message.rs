//! Upstream messages: which records go into one, and its bytes.
//!
//! Pure. A message is sealed (its sequence and its records fixed and durable) before it is first
//! sent, and its bytes follow from that alone, so that sending it again sends the same bytes.

use serde::Serialize;

use super::spool::{Entry, Position, Sealed, Tombstone};

/// Version of the upstream message's schema.
pub const SCHEMA: &str = "weir/1";

/// A record is not larger than this, in bytes: two names of 256 bytes, escaped, and a sketch of
/// 20 KiB in hexadecimal.
pub const RECORD_MAX: usize = 64 * 1024;

/// What is the same in all messages of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// `gateway.id`.
    pub gateway: String,
    /// `gateway.tags`.
    pub tags: std::collections::BTreeMap<String, String>,
}

/// What the outbox lost, as a record.
#[derive(Serialize)]
struct TombstoneRecord {
    kind: &'static str,
    records: u64,
    readings: u64,
    first_batch: u64,
    last_batch: u64,
}

/// The lines of an entry's body, one a record.
pub fn lines(entry: &Entry) -> impl Iterator<Item = &[u8]> {
    entry.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// The bytes of a message: `records` are its lines, as they are in the spool.
pub fn compose<'a>(
    sender: &Sender,
    instance: &str,
    sealed: &Sealed,
    records: impl Iterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut bytes = header(sender, instance, sealed.sequence);
    let tombstone = sealed.tombstone.as_ref().map(tombstone_line);
    let mut first = true;
    let mut put = |line: &[u8]| {
        if !std::mem::take(&mut first) {
            bytes.push(b',');
        }
        bytes.extend_from_slice(line);
    };
    if let Some(line) = &tombstone {
        put(line);
    }
    records.for_each(put);
    bytes.extend_from_slice(b"]}");
    bytes
}

fn header(sender: &Sender, instance: &str, sequence: u64) -> Vec<u8> {
    #[derive(Serialize)]
    struct Header<'a> {
        schema: &'a str,
        gateway: &'a str,
        #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
        tags: &'a std::collections::BTreeMap<String, String>,
        instance: &'a str,
        sequence: u64,
    }
    let header =
        Header { schema: SCHEMA, gateway: &sender.gateway, tags: &sender.tags, instance, sequence };
    // Texts and numbers: encoding cannot fail.
    let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
    bytes.pop();
    bytes.extend_from_slice(b",\"records\":[");
    bytes
}

fn tombstone_line(tombstone: &Tombstone) -> Vec<u8> {
    let record = TombstoneRecord {
        kind: "tombstone",
        records: tombstone.records,
        readings: tombstone.readings,
        first_batch: tombstone.first_batch,
        last_batch: tombstone.last_batch,
    };
    serde_json::to_vec(&record).unwrap_or_default()
}

/// Where the message ends that takes records from `from` on and stays within `max_bytes`; `None`
/// when there is nothing to send. It takes one record at least, however large: a record that never
/// left would hold up everything behind it. (Names are at most 256 bytes and a sketch 20 KiB, so
/// 64 KiB always do.)
///
/// # Errors
/// Those of `entries`.
pub fn take<E>(
    sender: &Sender,
    instance: &str,
    tombstone: Option<&Tombstone>,
    from: Position,
    entries: impl Iterator<Item = Result<Entry, E>>,
    max_bytes: usize,
) -> Result<Option<Position>, E> {
    // The longest sequence number there is, so that the header cannot outgrow the count.
    let mut size = header(sender, instance, u64::MAX).len()
        + b"]}".len()
        + tombstone.map_or(0, |t| tombstone_line(t).len() + 1);
    let mut to = from;
    let mut something = tombstone.is_some();
    for entry in entries {
        let entry = entry?;
        let skip = if entry.batch == from.batch { from.record } else { 0 };
        for (index, line) in lines(&entry).enumerate().skip(skip as usize) {
            size += line.len() + 1;
            if something && size > max_bytes {
                return Ok(Some(to));
            }
            something = true;
            to = Position { batch: entry.batch, record: index as u32 + 1 };
        }
        to = Position::behind(entry.batch);
    }
    Ok(something.then_some(to))
}

/// The record lines of a sealed message, from the entries that it touches.
pub fn sealed_lines<'a>(
    sealed: &'a Sealed,
    entries: &'a [Entry],
) -> impl Iterator<Item = &'a [u8]> {
    entries.iter().flat_map(move |entry| {
        lines(entry)
            .enumerate()
            .filter(move |(index, _)| {
                let at = Position { batch: entry.batch, record: *index as u32 };
                sealed.from <= at && at < sealed.to
            })
            .map(|(_, line)| line)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::spool::EntryHeader;
    use super::*;

    fn sender() -> Sender {
        Sender { gateway: "gw-01".into(), tags: [("site".into(), "ber".into())].into() }
    }

    fn entry(batch: u64, records: u32) -> Entry {
        let body: String =
            (0..records).map(|i| format!("{{\"batch\":{batch},\"i\":{i}}}\n")).collect();
        Entry {
            batch,
            header: EntryHeader { records, readings: u64::from(records) },
            body: body.into_bytes(),
        }
    }

    proptest! {
        /// Whatever the cut, all records leave once and in order, and each message is valid JSON
        /// within its limit.
        #[test]
        fn messages_cover_the_records_without_gap(sizes in prop::collection::vec(1u32..8, 1..12), max in 150usize..600) {
            let entries: Vec<Entry> = sizes.iter().enumerate().map(|(i, &n)| entry(i as u64 * 3 + 1, n)).collect();
            let (mut from, mut sequence, mut seen) = (Position::default(), 0, Vec::new());
            loop {
                let rest = entries.iter().filter(|e| e.batch >= from.batch).cloned().map(Ok::<_, ()>);
                let Some(to) = take(&sender(), "i", None, from, rest, max).unwrap() else { break };
                sequence += 1;
                let sealed = Sealed { sequence, from, to, tombstone: None };
                let bytes = compose(&sender(), "i", &sealed, sealed_lines(&sealed, &entries));
                let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                prop_assert!(bytes.len() <= max || value["records"].as_array().unwrap().len() == 1);
                prop_assert_eq!(value["sequence"].as_u64(), Some(sequence));
                for record in value["records"].as_array().unwrap() {
                    seen.push((record["batch"].as_u64().unwrap(), record["i"].as_u64().unwrap()));
                }
                from = to;
            }
            let expected: Vec<(u64, u64)> = entries.iter().flat_map(|e| (0..u64::from(e.header.records)).map(|i| (e.batch, i))).collect();
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn the_message_reads_as_the_contract_says() {
        let tombstone = Tombstone { records: 3, readings: 40, first_batch: 1, last_batch: 2 };
        let sealed = Sealed {
            sequence: 7,
            from: Position { batch: 3, record: 1 },
            to: Position::behind(3),
            tombstone: Some(tombstone),
        };
        let bytes = compose(&sender(), "abc", &sealed, sealed_lines(&sealed, &[entry(3, 2)]));
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"schema":"weir/1","gateway":"gw-01","tags":{"site":"ber"},"instance":"abc","sequence":7,"records":[{"kind":"tombstone","records":3,"readings":40,"first_batch":1,"last_batch":2},{"batch":3,"i":1}]}"#
        );
    }
}
