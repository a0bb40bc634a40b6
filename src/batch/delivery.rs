//! Transport duplicates: deliveries whose PUBACK the broker has not provably received.
//!
//! Pure. MQTT redelivers an unacknowledged QoS 1 message after a reconnect, with the same packet
//! id and DUP set (MQTT 5.0 section 4.4). If its frame was already synced, counting it again would
//! count twice; so every delivery stays here until its acknowledgement is proven: by the packet id
//! coming again on a new message, or by two ping round trips on the connection that carried the
//! acknowledgement. The frames hold the same pairs, so the table survives a crash; segments with
//! unproven deliveries are kept.
//!
//! Bound: packet ids are 16 bit, so at most 65,535 entries.

use std::collections::BTreeMap;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::journal::frame::Delivery;

/// SipHash-1-3 of topic and payload: stable across versions and machines, since it is stored.
pub fn hash_of(topic: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    // As u64: the same bytes on 32 and 64 bits.
    hasher.write(&(topic.len() as u64).to_le_bytes());
    hasher.write(topic);
    hasher.write(payload);
    hasher.finish()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    hash: u64,
    batch: u64,
    /// Pongs seen on the connection since the acknowledgement was handed over.
    pongs: u8,
    /// On the present connection; an older connection proves nothing any more.
    current: bool,
}

/// The table of unproven deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unproven {
    by_packet: BTreeMap<u16, Entry>,
}

impl Unproven {
    /// True when this is a redelivery of a message that is already committed or gathered.
    pub fn is_redelivery(&self, packet_id: u16, dup: bool, hash: u64) -> bool {
        dup && self.by_packet.get(&packet_id).is_some_and(|entry| entry.hash == hash)
    }

    /// Notes a delivery that belongs to `batch`. A packet id that comes again proves the older one.
    pub fn record(&mut self, delivery: Delivery, batch: u64) {
        let entry = Entry { hash: delivery.hash, batch, pongs: 0, current: true };
        self.by_packet.insert(delivery.packet_id, entry);
    }

    /// A redelivery was recognised: it will be acknowledged on the present connection.
    pub fn renew(&mut self, packet_id: u16) {
        if let Some(entry) = self.by_packet.get_mut(&packet_id) {
            entry.pongs = 0;
            entry.current = true;
        }
    }

    /// A connection came up. Without a resumed session packet ids mean nothing any more.
    pub fn connected(&mut self, session_present: bool) {
        if session_present {
            self.by_packet.values_mut().for_each(|entry| entry.current = false);
        } else {
            self.by_packet.clear();
        }
    }

    /// A ping came back; `committed` is the newest batch whose acknowledgements were handed over.
    ///
    /// The first pong may answer a ping that overtook the acknowledgement inside the client, the
    /// second cannot: its ping left after the first pong, and a broker handles packets in order.
    pub fn pong(&mut self, committed: u64) {
        self.by_packet.retain(|_, entry| {
            if entry.current && entry.batch <= committed {
                entry.pongs += 1;
            }
            entry.pongs < 2
        });
    }

    /// The oldest batch that must stay in the journal for this table.
    pub fn oldest_batch(&self) -> Option<u64> {
        self.by_packet.values().map(|entry| entry.batch).min()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_packet.len()
    }

    /// True when all are proven.
    pub fn is_empty(&self) -> bool {
        self.by_packet.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(packet_id: u16, text: &str) -> Delivery {
        Delivery { packet_id, hash: hash_of(b"t", text.as_bytes()) }
    }

    #[test]
    fn only_a_dup_with_same_id_and_content_is_a_redelivery() {
        let mut table = Unproven::default();
        table.record(delivery(7, "a"), 1);
        let hash = delivery(7, "a").hash;
        assert!(table.is_redelivery(7, true, hash));
        assert!(!table.is_redelivery(7, false, hash));
        assert!(!table.is_redelivery(8, true, hash));
        assert!(!table.is_redelivery(7, true, delivery(7, "b").hash));
    }

    #[test]
    fn a_new_session_forgets_a_resumed_one_remembers() {
        let mut table = Unproven::default();
        table.record(delivery(7, "a"), 1);
        table.connected(true);
        assert!(table.is_redelivery(7, true, delivery(7, "a").hash));
        table.connected(false);
        assert!(table.is_empty());
    }

    #[test]
    fn two_pongs_after_the_acknowledgement_prove_it() {
        let mut table = Unproven::default();
        table.record(delivery(1, "a"), 5);
        table.pong(4);
        table.pong(4);
        assert_eq!(table.oldest_batch(), Some(5), "not yet acknowledged");
        table.pong(5);
        assert_eq!(table.len(), 1);
        table.pong(5);
        assert!(table.is_empty());
    }

    #[test]
    fn pongs_of_a_later_connection_prove_nothing() {
        let mut table = Unproven::default();
        table.record(delivery(1, "a"), 5);
        table.connected(true);
        table.pong(5);
        table.pong(5);
        assert_eq!(table.len(), 1);
        table.renew(1);
        table.pong(5);
        table.pong(5);
        assert!(table.is_empty());
    }

    #[test]
    fn topic_and_payload_do_not_run_together() {
        assert_ne!(hash_of(b"ab", b"c"), hash_of(b"a", b"bc"));
    }
}
