//! A broker with one persistent session: QoS 1, a window, redelivery with DUP after a reconnect.

use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub struct Published {
    pub topic: String,
    pub payload: String,
}

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    message: Published,
}

/// What goes over the wire to the client.
#[derive(Clone, Debug)]
pub struct Sent {
    pub packet_id: u16,
    pub dup: bool,
    pub message: Published,
}

#[derive(Default)]
pub struct Broker {
    waiting: VecDeque<Published>,
    in_flight: VecDeque<InFlight>,
    wire: VecDeque<Sent>,
    next_id: u16,
    connected: bool,
    window: usize,
}

impl Broker {
    pub fn new(window: usize) -> Broker {
        Broker { window, ..Broker::default() }
    }

    pub fn publish(&mut self, message: Published) {
        self.waiting.push_back(message);
        self.fill();
    }

    /// A connection ends; what was on the wire is lost.
    pub fn disconnect(&mut self) {
        self.connected = false;
        self.wire.clear();
    }

    /// The session resumes: everything not acknowledged comes again, in order, with DUP.
    pub fn connect(&mut self) {
        self.connected = true;
        self.wire = self
            .in_flight
            .iter()
            .map(|f| Sent { packet_id: f.packet_id, dup: true, message: f.message.clone() })
            .collect();
        self.fill();
    }

    pub fn receive(&mut self) -> Option<Sent> {
        self.wire.pop_front()
    }

    /// An acknowledgement arrived. One for an unknown id is what a stale one would be.
    pub fn acknowledge(&mut self, packet_id: u16) {
        let at = self.in_flight.iter().position(|f| f.packet_id == packet_id);
        let at = at.unwrap_or_else(|| panic!("acknowledgement of {packet_id}, which is not out"));
        assert!(!self.wire.iter().any(|s| s.packet_id == packet_id), "acknowledged before it came");
        self.in_flight.remove(at);
        self.fill();
    }

    pub fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    fn fill(&mut self) {
        while self.connected && self.in_flight.len() < self.window {
            let Some(message) = self.waiting.pop_front() else { return };
            // Few ids, so that they come again soon.
            loop {
                self.next_id = self.next_id % 500 + 1;
                if !self.in_flight.iter().any(|f| f.packet_id == self.next_id) {
                    break;
                }
            }
            let packet_id = self.next_id;
            self.wire.push_back(Sent { packet_id, dup: false, message: message.clone() });
            self.in_flight.push_back(InFlight { packet_id, message });
        }
    }
}
