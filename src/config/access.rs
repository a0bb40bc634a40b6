//! Passwords, certificates and keys that the configuration names, read and checked.
//!
//! Edge: reads files. Everything that is wrong with them is found here, so `weir check`, the start
//! and a reload say the same.

use super::{Config, Login};
use crate::mqtt::Access;
use crate::secret::{Fault, Source};
use crate::tls::certificate::moment;
use crate::tls::{self, Certificate, Validity};

/// Shortest token for the page, in bytes: 16 of a random generator's characters cannot be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// What a visitor of the page meets, or who sends lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Door {
    /// TLS.
    pub tls: Option<tls::Server>,
    /// What visitors must know.
    pub token: Option<Token>,
}

impl Door {
    /// Whether it may stand open beyond this machine: nobody reads along, and it is known who
    /// comes.
    pub fn is_guarded(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.knows_clients || self.token.is_some())
    }
}

/// A token that does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// This text.
    pub fn new(text: String) -> Token {
        Token(text)
    }

    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Everything that the configuration names, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The site's broker.
    pub mqtt: Access,
    /// Each `[[forward]]`, in order.
    pub forwards: Vec<Access>,
    /// The page.
    pub http: Door,
    /// Each `[[tcp]]`, in order.
    pub tcp: Vec<Door>,
}

/// One of our own certificates: what it is used for, and where it is named.
pub struct Own<'a> {
    /// `mqtt`, the forward's or input's name, or `http`.
    pub used_by: &'a str,
    /// `weir.toml:3:12: [mqtt] cert_file`.
    pub place: &'a str,
    /// It.
    pub certificate: &'a Certificate,
}

impl Loaded {
    /// Reads all files.
    ///
    /// # Errors
    /// All faults.
    pub fn read(config: &Config) -> Result<Loaded, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut take = |login: &Login| {
            login_access(login).unwrap_or_else(|found| {
                faults.extend(found);
                Access::default()
            })
        };
        let mqtt = take(&config.mqtt.login);
        let forwards = config.forwards.iter().map(|forward| take(&forward.login)).collect();
        let mut open = |door: Result<Door, Vec<Fault>>| {
            door.unwrap_or_else(|found| {
                faults.extend(found);
                Door::default()
            })
        };
        let page = &config.http;
        // Even where `listen` is "off": the service manager's socket takes its place.
        let http = open(door(&page.tls, &None, &page.token, tls::Protocol::Http));
        let inputs = config.tcp.iter();
        let tcp = inputs
            .map(|input| open(door(&input.tls, &input.clients, &input.token, tls::Protocol::Lines)))
            .collect();
        if faults.is_empty() { Ok(Loaded { mqtt, forwards, http, tcp }) } else { Err(faults) }
    }

    /// Lists of revoked certificates that have an end: where each is named, and its end in Unix
    /// seconds. `config`: what this was read from.
    pub fn lists<'a>(&'a self, config: &'a Config) -> Vec<(&'a str, i64)> {
        let logins = std::iter::once((&config.mqtt.login, &self.mqtt))
            .chain(config.forwards.iter().map(|forward| &forward.login).zip(&self.forwards));
        let brokers = logins.filter_map(|(login, access)| {
            Some((login.files.crl.as_ref()?, access.tls.as_ref()?.list_end?))
        });
        let clients = config.tcp.iter().zip(&self.tcp).filter_map(|(input, door)| {
            let list = input.clients.as_ref()?.crl.as_ref()?;
            Some((list, door.tls.as_ref()?.list_end?))
        });
        brokers.chain(clients).map(|(list, end)| (list.place.as_str(), end)).collect()
    }

    /// Lists of revoked certificates that have ended at `now` (Unix seconds), in words.
    pub fn ended_lists(&self, config: &Config, now: i64) -> Vec<String> {
        let ended = self.lists(config).into_iter().filter(|(_, end)| *end < now);
        ended
            .map(|(place, end)| {
                format!(
                    "{place}: this list of revoked certificates ended on {}, the clock says {}; get a \
                     new one from the authority and reload weir (SIGHUP), or set the clock",
                    moment(end),
                    moment(now)
                )
            })
            .collect()
    }

    /// Our own certificates. `config`: what this was read from.
    pub fn own<'a>(&'a self, config: &'a Config) -> Vec<Own<'a>> {
        let logins = std::iter::once(("mqtt", &config.mqtt.login, &self.mqtt)).chain(
            config.forwards.iter().zip(&self.forwards).map(|(f, a)| (f.name.as_str(), &f.login, a)),
        );
        let mut found: Vec<Own<'a>> = logins
            .filter_map(|(used_by, login, access)| {
                let place = &login.files.identity.as_ref()?.0.place;
                let certificate = access.tls.as_ref()?.own.as_ref()?;
                Some(Own { used_by, place, certificate })
            })
            .collect();
        if let (Some(server), Some((cert, _))) = (&self.http.tls, &config.http.tls) {
            let certificate = &server.certificate;
            found.push(Own { used_by: "http", place: &cert.place, certificate });
        }
        for (input, door) in config.tcp.iter().zip(&self.tcp) {
            if let (Some(server), Some((cert, _))) = (&door.tls, &input.tls) {
                let (used_by, certificate) = (input.name.as_str(), &server.certificate);
                found.push(Own { used_by, place: &cert.place, certificate });
            }
        }
        found
    }
}

fn login_access(login: &Login) -> Result<Access, Vec<Fault>> {
    let mut faults = Vec::new();
    let password = login
        .password_file
        .as_ref()
        .and_then(|source| source.read_line().map_err(|fault| faults.push(fault)).ok());
    let tls = if login.url.tls {
        let client = tls::Client::load(&login.files, &login.place.0);
        client.map_err(|fault| faults.push(fault)).ok()
    } else {
        None
    };
    if faults.is_empty() {
        Ok(Access { username: login.username.clone(), password, tls })
    } else {
        Err(faults)
    }
}

fn door(
    tls: &Option<(Source, Source)>,
    clients: &Option<tls::Clients>,
    token: &Option<Source>,
    protocol: tls::Protocol,
) -> Result<Door, Vec<Fault>> {
    let mut faults = Vec::new();
    let tls = tls.as_ref().and_then(|(cert, key)| {
        let server = tls::Server::load((cert, key), clients.as_ref(), protocol);
        server.map_err(|fault| faults.push(fault)).ok()
    });
    let token = token.as_ref().and_then(|source| {
        let text = source.read_line().map_err(|fault| faults.push(fault)).ok()?;
        // What a header can carry, and what nobody guesses.
        let good = text.len() >= TOKEN_BYTES_MIN && text.bytes().all(|b| b.is_ascii_graphic());
        if !good {
            let what = "must have at least 16 characters, letters, digits and signs without spaces";
            let mend = "make one, e.g.: openssl rand -hex 32";
            faults.push(source.fault(what, mend));
        }
        good.then(|| Token::new(text))
    });
    if faults.is_empty() { Ok(Door { tls, token }) } else { Err(faults) }
}

/// What [`inspect`] found.
#[derive(Debug, Default)]
pub struct Found {
    /// What cannot work.
    pub refusals: Vec<String>,
    /// What can, but soon may not; and what cannot be judged here.
    pub warnings: Vec<String>,
}

/// Reads everything and judges our own certificates at `now` (Unix seconds).
pub fn inspect(config: &Config, now: i64) -> Found {
    let mut found = Found::default();
    let loaded = match Loaded::read(config) {
        Ok(loaded) => loaded,
        Err(faults) => {
            for fault in faults {
                // Started by systemd it may be there: only the unit can tell.
                let to = if fault.only_here { &mut found.warnings } else { &mut found.refusals };
                to.push(fault.text);
            }
            return found;
        }
    };
    found.refusals = loaded.ended_lists(config, now);
    for own in loaded.own(config) {
        match judge(&own, now) {
            Some((true, text)) => found.refusals.push(text),
            Some((false, text)) => found.warnings.push(text),
            None => {}
        }
    }
    found
}

/// What is to be said of a certificate at `now`, and whether it is unusable.
pub fn judge(own: &Own<'_>, now: i64) -> Option<(bool, String)> {
    let Own { place, certificate, .. } = own;
    let days = (certificate.not_after - now) / 86_400;
    match certificate.validity(now) {
        Validity::Valid => None,
        Validity::EndsSoon => Some((
            false,
            format!(
                "{place}: this certificate ends in {days} days, on {}; renew it and reload weir (SIGHUP)",
                moment(certificate.not_after)
            ),
        )),
        Validity::Expired => Some((
            true,
            format!(
                "{place}: this certificate expired on {}, the clock says {}; renew it and reload \
                 weir (SIGHUP), or set the clock",
                moment(certificate.not_after),
                moment(now)
            ),
        )),
        Validity::NotYet => Some((
            true,
            format!(
                "{place}: this certificate is not valid before {}, the clock says {}; set the clock \
                 (timedatectl), or get a certificate that is valid now",
                moment(certificate.not_before),
                moment(now)
            ),
        )),
    }
}
