//! TLS, secrets and the guarded page, against a real broker with certificates made here.

#[path = "tls/authority.rs"]
mod authority;
#[path = "support/client.rs"]
mod client;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mosquitto.rs"]
mod mosquitto;

#[path = "tls/check.rs"]
mod check;
#[path = "tls/handshake.rs"]
mod handshake;
#[path = "tls/lines.rs"]
mod lines;
#[path = "tls/map.rs"]
mod map;
#[path = "tls/page.rs"]
mod page;
#[path = "tls/peer.rs"]
mod peer;
#[path = "tls/rotation.rs"]
mod rotation;
#[path = "tls/secure.rs"]
mod secure;
