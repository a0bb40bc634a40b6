//! Transport duplicates: deliveries whose PUBACK the broker has not provably received.
//!
//! Pure. MQTT redelivers an unacknowledged QoS 1 message after a reconnect, with the same packet
//! id and DUP set (MQTT 5.0 section 4.4). If its frame was already synced, counting it again would
//! count twice; so every delivery stays here until its acknowledgement is proven:
//!
//! - by the packet id coming again on a new message;
//! - by two ping round trips on the connection that carried the acknowledgement;
//! - in a resumed session, by not coming again: a broker first sends again all that was not
//!   acknowledged, then what is new (MQTT 5.0 sections 4.4 and 4.6). Two ping round trips after
//!   the first new message, what has not come again was acknowledged on an earlier connection.
//!   Without this a restart would leave every delivery of the journal unproven until its packet
//!   id comes again, perhaps never, and the journal could not be trimmed;
//! - by 65,534 later deliveries: acknowledgements leave in receive order, so what is
//!   unacknowledged is the latest of all, and no more than there are packet ids. Brokers that count
//!   ids up use one again exactly then; a sensor that repeats itself would be mistaken for its own
//!   redelivery.
//!
//! The frames hold the same pairs, so the table survives a crash; segments with unproven deliveries
//! are kept.
//!
//! Bound: packet ids are 16 bit, so at most 65,535 entries.

use std::collections::BTreeMap;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::journal::frame::{Delivery, HASH_BITS};

/// SipHash-1-3 of topic and payload, as much of it as frames keep ([`HASH_BITS`]): stable across
/// versions and machines, since it is stored.
pub fn hash_of(topic: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    // As u64: the same bytes on 32 and 64 bits.
    hasher.write(&(topic.len() as u64).to_le_bytes());
    hasher.write(topic);
    hasher.write(payload);
    hasher.finish() & ((1 << HASH_BITS) - 1)
}

/// Most deliveries that are under way together: one less than there are packet ids. (A receive
/// maximum of all 65,535 ids, used up, would go one beyond.)
const UNDER_WAY_MAX: u64 = 65_534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    hash: u64,
    batch: u64,
    /// The batch with which its latest acknowledgement leaves.
    owed_with: u64,
    /// Deliveries recorded before it.
    serial: u64,
    /// Pongs seen on the connection since the acknowledgement was handed over.
    pongs: u8,
    /// On the present connection; an older connection proves nothing any more.
    current: bool,
}

/// The table of unproven deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unproven {
    by_packet: BTreeMap<u16, Entry>,
    /// Deliveries recorded.
    recorded: u64,
    /// A message came on the present connection that was never sent before.
    new_seen: bool,
    /// Pongs since then.
    pongs: u8,
}

impl Unproven {
    /// True when this is a redelivery of a message that is already committed or gathered.
    pub fn is_redelivery(&self, packet_id: u16, dup: bool, hash: u64) -> bool {
        dup && self
            .by_packet
            .get(&packet_id)
            .is_some_and(|entry| entry.hash == hash && self.may_come_again(entry))
    }

    fn may_come_again(&self, entry: &Entry) -> bool {
        self.recorded - entry.serial <= UNDER_WAY_MAX
    }

    /// Notes a delivery that belongs to `batch`. A packet id that comes again proves the older one.
    pub fn record(&mut self, delivery: Delivery, batch: u64) {
        let entry = Entry {
            hash: delivery.hash,
            batch,
            owed_with: batch,
            serial: self.recorded,
            pongs: 0,
            current: true,
        };
        self.recorded += 1;
        self.by_packet.insert(delivery.packet_id, entry);
    }

    /// A message came that the broker says it never sent before (no DUP).
    pub fn new_message(&mut self) {
        self.new_seen = true;
    }

    /// A redelivery was recognised: it will be acknowledged on the present connection, after
    /// `batch`. Pongs before that prove nothing.
    pub fn renew(&mut self, packet_id: u16, batch: u64) {
        if let Some(entry) = self.by_packet.get_mut(&packet_id) {
            entry.owed_with = batch;
            entry.pongs = 0;
            entry.current = true;
        }
    }

    /// A connection came up. Without a resumed session packet ids mean nothing any more.
    pub fn connected(&mut self, session_present: bool) {
        self.new_seen = false;
        self.pongs = 0;
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
        if self.new_seen {
            self.pongs = self.pongs.saturating_add(1);
        }
        let all_came_again = self.pongs >= 2;
        self.by_packet.retain(|_, entry| {
            if entry.current && entry.owed_with <= committed {
                entry.pongs += 1;
            }
            entry.pongs < 2 && (entry.current || !all_came_again)
        });
    }

    /// The oldest batch that must stay in the journal for this table.
    pub fn oldest_batch(&self) -> Option<u64> {
        let unproven = self.by_packet.values().filter(|entry| self.may_come_again(entry));
        unproven.map(|entry| entry.batch).min()
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
        table.renew(1, 6);
        table.pong(5);
        table.pong(5);
        assert_eq!(table.oldest_batch(), Some(5), "it waits for the commit of batch 6");
        table.pong(6);
        table.pong(6);
        assert!(table.is_empty());
    }

    #[test]
    fn what_does_not_come_again_in_a_resumed_session_was_acknowledged() {
        let mut table = Unproven::default();
        table.record(delivery(1, "a"), 5);
        table.record(delivery(2, "b"), 6);
        table.connected(true);
        table.pong(6);
        table.pong(6);
        assert_eq!(table.len(), 2, "the broker may not have begun to send again");
        // The second one comes again, then something new.
        table.renew(2, 7);
        table.record(delivery(3, "c"), 7);
        table.new_message();
        table.pong(6);
        assert_eq!(table.len(), 3);
        table.pong(6);
        assert_eq!(table.oldest_batch(), Some(6), "only 1 did not come again");
        // The next connection begins anew.
        table.connected(true);
        table.pong(7);
        table.pong(7);
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_packet_id_that_comes_round_is_another_message() {
        let mut table = Unproven::default();
        let hash = delivery(1, "on").hash;
        table.record(delivery(1, "on"), 1);
        for id in 2..=65_534 {
            table.record(delivery(id, "else"), 2);
        }
        assert!(table.is_redelivery(1, true, hash), "all may be under way");
        assert_eq!(table.oldest_batch(), Some(1));
        // The next message has id 1 again and the same words; a crash lost it uncommitted, so it
        // comes as DUP.
        table.record(delivery(65_535, "else"), 3);
        assert!(!table.is_redelivery(1, true, hash));
        assert_eq!(table.oldest_batch(), Some(2));
    }

    #[test]
    fn topic_and_payload_do_not_run_together() {
        assert_ne!(hash_of(b"ab", b"c"), hash_of(b"a", b"bc"));
    }
}
