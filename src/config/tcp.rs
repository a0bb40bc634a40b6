//! Reads `[[tcp]]`.

use super::broker::{identity, source};
use super::keys;
use super::listen::{Listener, Where};
use super::reader::{At, TableReader};
use super::sections::{LineAcknowledge, Tcp};
use super::stations::std_duration;
use super::subscribe::{self, Carrier};
use crate::decoder::settings::Subscription;
use crate::reading::SECOND;
use crate::tls;

/// Most `[[tcp]]` tables.
const INPUTS_MAX: usize = 16;

/// Name of the page's socket.
pub(super) const PAGE: &str = "http";

const INPUT: Listener = Listener {
    what: "an input",
    address: "127.0.0.1:9378",
    path: "/run/weir/tcp.sock",
    word: "systemd",
    guard: "TLS and a token or client certificates",
    keys: "cert_file, key_file, and token_file or client_ca_file",
    before: "",
};

pub(super) fn inputs(root: &TableReader<'_, '_>) -> Vec<Tcp> {
    let mut inputs: Vec<Tcp> = Vec::new();
    for r in root.sections("tcp", &keys::TCP) {
        if inputs.len() == INPUTS_MAX {
            r.cx.fault_bare(r.here(), "more than 16 [[tcp]] tables", "remove some");
        }
        let input = input(&r, &inputs);
        inputs.push(input);
    }
    inputs
}

fn input(r: &TableReader<'_, '_>, others: &[Tcp]) -> Tcp {
    let name = name(r, others);
    if !r.has("listen") {
        r.missing("listen", &format!("\"{}\"", INPUT.address));
    }
    let guarded = r.has("cert_file") && (r.has("token_file") || r.has("client_ca_file"));
    let listen = r.text("listen", &format!("\"{}\"", INPUT.address)).and_then(|at| {
        let spot = at.spot.clone();
        match INPUT.read(r, at, guarded)? {
            Where::Nowhere => None,
            Where::At(listen) => {
                if others.iter().any(|other| other.listen.as_ref() == Some(&listen)) {
                    let what = "another [[tcp]] listens there";
                    r.cx.fault(&spot, what, "give each an address of its own");
                }
                Some(listen)
            }
        }
    });
    let tls = identity(r, "tcp");
    let token = r.text("token_file", "\"/etc/weir/tcp.token\"").and_then(|at| source(r, at));
    let client_ca = r.text("client_ca_file", "\"/etc/weir/clients-ca.pem\"");
    if let Some(at) = &client_ca
        && !r.has("cert_file")
    {
        let what = "client certificates come with TLS alone";
        r.cx.fault(&at.spot, what, "write cert_file and key_file, or remove it");
    }
    let client_crl = r.text("client_crl_file", "\"/etc/weir/clients-ca.crl\"");
    if let (Some(at), None) = (&client_crl, &client_ca) {
        let what = "a list of revoked certificates is of no use without their authority";
        r.cx.fault(&at.spot, what, "write client_ca_file, or remove it");
    }
    let crl = client_crl.and_then(|at| source(r, at));
    let clients = client_ca.and_then(|at| source(r, at)).map(|ca| tls::Clients { ca, crl });
    let acks = [("off", LineAcknowledge::Off), ("line", LineAcknowledge::Line)];
    let ack = r.choice("ack", &acks, &[]);
    let max_line = r.size("max_line", 16..=1 << 20, "64KiB");
    let max_connections = r.integer("max_connections", 1..=1000, 16);
    let idle = r.duration("idle_timeout", SECOND..=7 * 86_400 * SECOND, "1h");
    Tcp {
        name,
        listen,
        tls,
        token,
        clients,
        ack: ack.map_or(LineAcknowledge::Off, |at| at.value),
        max_connections: max_connections.map_or(16, |at| at.value as usize),
        idle_timeout: std_duration(idle.map_or(3600 * SECOND, |at| at.value)),
        lines: Subscription {
            max_payload: max_line.map_or(64 << 10, |at| at.value as usize),
            ..subscribe::payload(r, &Carrier::Lines)
        },
    }
}

fn name(r: &TableReader<'_, '_>, others: &[Tcp]) -> String {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let good = |name: &str| (1..=32).contains(&name.len()) && name.chars().all(letter);
    let taken = |name: &str| others.iter().any(|other| other.name == name);
    match r.text("name", "\"tcp\"") {
        Some(At { value, spot }) if !good(&value) || value == PAGE => {
            let what =
                "must have 1 to 32 characters of a-z, 0-9, - and _, and not be the page's, http";
            r.cx.fault(&spot, what, "write e.g. \"tcp\"");
            value
        }
        Some(At { value, spot }) => {
            if taken(&value) {
                r.cx.fault(&spot, "another [[tcp]] has this name", "give each a name of its own");
            }
            value
        }
        None => {
            if !r.has("name") && taken("tcp") {
                let what = "another [[tcp]] is called tcp, which is the default";
                r.cx.fault_bare(r.here(), what, "give each a name of its own: name = \"plc\"");
            }
            "tcp".to_owned()
        }
    }
}
