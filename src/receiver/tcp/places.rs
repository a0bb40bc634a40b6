//! Who may be connected at a time.
//!
//! When all places are taken, an address that holds more of them than the newcomer's would gives
//! up the one that was silent longest; otherwise the newcomer is refused. So an address that opens
//! more and more connections, or leaves dead ones behind, keeps nobody else out, and one
//! connection from each of many addresses displaces nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use crate::socket::Peer;

/// The places of one input.
#[derive(Debug)]
pub struct Places {
    max: usize,
    taken: BTreeMap<u64, Taken>,
    next: u64,
}

#[derive(Debug)]
struct Taken {
    peer: Peer,
    heard: Instant,
    give_way: Arc<Notify>,
}

/// A place that is taken.
#[derive(Debug)]
pub struct Place {
    id: u64,
    give_way: Arc<Notify>,
}

impl Place {
    /// Resolves when the place is given to somebody else.
    pub async fn given_away(&self) {
        self.give_way.notified().await;
    }
}

impl Places {
    /// None taken.
    pub fn new(max: usize) -> Places {
        Places { max, taken: BTreeMap::new(), next: 0 }
    }

    /// How many are taken.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// A place, and whether somebody else had to give way; `None`: there is none.
    pub fn take(&mut self, peer: Peer, now: Instant) -> Option<(Place, bool)> {
        let full = self.taken.len() >= self.max;
        if full {
            let id = self.least_deserved(peer)?;
            if let Some(taken) = self.taken.remove(&id) {
                taken.give_way.notify_one();
            }
        }
        let (id, give_way) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.taken.insert(id, Taken { peer, heard: now, give_way: give_way.clone() });
        Some((Place { id, give_way }, full))
    }

    /// Of the address that holds most, if that is more than `peer` would, the place that was
    /// silent longest.
    fn least_deserved(&self, peer: Peer) -> Option<u64> {
        let mut held: BTreeMap<Peer, usize> = BTreeMap::new();
        for taken in self.taken.values() {
            *held.entry(taken.peer).or_default() += 1;
        }
        let (&most, &count) = held.iter().max_by_key(|(_, count)| **count)?;
        if count <= held.get(&peer).map_or(1, |own| own + 1) {
            return None;
        }
        let theirs = self.taken.iter().filter(|(_, taken)| taken.peer == most);
        theirs.min_by_key(|(_, taken)| taken.heard).map(|(&id, _)| id)
    }

    /// Something came from there.
    pub fn heard(&mut self, place: &Place, now: Instant) {
        if let Some(taken) = self.taken.get_mut(&place.id) {
            taken.heard = now;
        }
    }

    /// It is free again.
    pub fn leave(&mut self, place: &Place) {
        self.taken.remove(&place.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn from(last: u8) -> Peer {
        Peer::Remote(std::net::IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn whoever_holds_most_gives_way_with_the_one_silent_longest() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut places = Places::new(4);
        let mut first = Vec::new();
        for second in 0..3 {
            first.push(places.take(from(1), at(second)).unwrap().0);
        }
        places.heard(&first[0], at(10));
        let (other, displaced) = places.take(from(2), at(4)).unwrap();
        assert!(!displaced);
        assert!(places.take(from(1), at(5)).is_none(), "it holds most itself");
        let (_, displaced) = places.take(from(3), at(6)).unwrap();
        assert!(
            displaced && !places.taken.contains_key(&first[1].id),
            "the second was silent longest"
        );
        // 1, 1, 2, 3: another one would have as many as 1 has left.
        assert!(places.take(from(2), at(7)).is_none());
        assert!(places.take(from(4), at(8)).unwrap().1, "2 and 3 stay, 1 has two");
        assert!(places.take(from(5), at(9)).is_none(), "one each: nobody gives way");
        places.leave(&other);
        assert!(!places.take(from(5), at(9)).unwrap().1);
        places.leave(&first[1]);
        assert_eq!(places.len(), 4, "who gave way has nothing to leave");
    }
}
