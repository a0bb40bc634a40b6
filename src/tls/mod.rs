//! TLS: certificates from files, connections to brokers that are always verified, the page's own
//! certificate.
//!
//! Edge. Invariants:
//! - **The other side is always verified**: chain, validity, host name. No setting turns it off.
//!   [`verify`] only watches what rustls' own verifier says yes to.
//! - No session is resumed, so every connection verifies anew.
//! - Cryptography is `ring`'s, named in every configuration: no process-wide default.

pub mod certificate;
pub mod explain;
mod pem;
mod verify;

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

pub use certificate::{Certificate, Validity};
use verify::{Seen, Watched};

use crate::secret::{Fault, Source};

/// Files of a connection to a broker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    /// Whom to believe; `None`: the system's authorities.
    pub ca: Option<Source>,
    /// Lists of certificates that authorities have revoked; `None`: not looked up.
    pub crl: Option<Source>,
    /// Certificate with its chain, and its key.
    pub identity: Option<(Source, Source)>,
}

/// Whom the side that is connected to believes: certificates that clients must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// Their authorities.
    pub ca: Source,
    /// As [`Files::crl`].
    pub crl: Option<Source>,
}

/// The authorities of a file; what was read goes to `read` too.
fn authorities(source: &Source, read: &mut Vec<Vec<u8>>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    let bytes = source.read_public()?;
    for (index, der) in pem::certificates(source, &bytes)?.into_iter().enumerate() {
        roots.add(der).map_err(|error| {
            let what = format!("certificate number {} cannot be used: {error}", index + 1);
            source.fault(what, "name a file with certificates of authorities")
        })?;
    }
    read.push(bytes);
    Ok(roots)
}

/// What authorities have revoked.
#[derive(Default)]
struct Revocations {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// The earliest end of them, Unix seconds.
    end: Option<i64>,
}

impl Revocations {
    /// Those of a file, if there is one; what was read goes to `read` too.
    fn load(source: Option<&Source>, read: &mut Vec<Vec<u8>>) -> Result<Revocations, Fault> {
        let Some(source) = source else { return Ok(Revocations::default()) };
        let bytes = source.read_public()?;
        let (lists, end) = pem::revocations(source, &bytes)?;
        read.push(bytes);
        Ok(Revocations { lists, end })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Now in Unix seconds, by the gateway's clock.
pub fn now() -> i64 {
    crate::clock::Clock::system().now().0 / crate::reading::SECOND
}

/// Equal for equal files: tells whether a reload changes anything. No secret is found by it, and
/// none is guarded by it.
fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hasher = siphasher::sip::SipHasher13::new();
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part);
    }
    hasher.finish()
}

/// Our side of verified connections to one broker.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    fingerprint: u64,
    /// Our own certificate.
    pub own: Option<Certificate>,
    /// Whom we believe, in words.
    pub authority: String,
    /// When a list of revoked certificates ends, Unix seconds: then nobody is believed any more.
    pub list_end: Option<i64>,
    seen: Arc<Seen>,
}

/// By the files' contents.
impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads the files.
    ///
    /// # Errors
    /// The first fault: unreadable, malformed, a key of another certificate, no authority at all.
    /// `place` is where the url stands, for the last one.
    pub fn load(files: &Files, place: &str) -> Result<Client, Fault> {
        let mut roots = RootCertStore::empty();
        let mut read: Vec<Vec<u8>> = Vec::new();
        let authority = match &files.ca {
            Some(source) => {
                roots = authorities(source, &mut read)?;
                format!("the authorities in ca_file {}", source.location)
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                read.extend(found.certs.iter().map(|der| der.to_vec()));
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    let text = format!(
                        "{place}: this system has no certificates of authorities; install the \
                         package ca-certificates, or write ca_file"
                    );
                    return Err(Fault { text, only_here: false });
                }
                "the system's authorities".to_owned()
            }
        };
        let identity = match &files.identity {
            Some((cert, key)) => {
                let (cert_pem, key_pem) = (cert.read_public()?, key.read_secret()?);
                let identity = pem::identity(cert, &cert_pem, key, &key_pem)?;
                read.extend([cert_pem, key_pem]);
                Some(identity)
            }
            None => None,
        };
        let internal = |error: &dyn fmt::Display| Fault {
            text: format!(
                "{place}: TLS cannot be set up: {error}; this is a fault of weir, tell it"
            ),
            only_here: false,
        };
        let revoked = Revocations::load(files.crl.as_ref(), &mut read)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(revoked.lists)
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| match (error, &files.crl) {
                (VerifierBuilderError::InvalidCrl(error), Some(source)) => {
                    pem::crl_fault(source, &format!("{error:?}"))
                }
                (error, _) => internal(&error),
            })?;
        let seen = Arc::new(Seen::default());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| internal(&error))?
            // "Dangerous" is a verifier of one's own; this one is rustls' own, watched.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Watched::new(verifier, seen.clone())));
        let own = identity.as_ref().map(|identity| identity.certificate.clone());
        let mut config = match identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        let fingerprint = fingerprint(read.iter().map(Vec::as_slice));
        Ok(Client {
            config: Arc::new(config),
            fingerprint,
            own,
            authority,
            list_end: revoked.end,
            seen,
        })
    }

    /// For the library that connects.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// When the certificate of the broker last connected to ends, Unix seconds.
    pub fn broker_not_after(&self) -> Option<i64> {
        self.seen.not_after()
    }
}

/// What a server speaks inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and says so.
    Http,
    /// Its own.
    Lines,
}

/// The side that is connected to.
#[derive(Clone)]
pub struct Server {
    /// For the acceptor.
    pub config: Arc<ServerConfig>,
    /// Its certificate.
    pub certificate: Certificate,
    /// Clients must have a certificate.
    pub knows_clients: bool,
    /// As [`Client::list_end`].
    pub list_end: Option<i64>,
    fingerprint: u64,
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Server {
    /// Reads certificate, chain and key, and whom to let in.
    ///
    /// # Errors
    /// As [`Client::load`].
    pub fn load(
        (cert, key): (&Source, &Source),
        clients: Option<&Clients>,
        protocol: Protocol,
    ) -> Result<Server, Fault> {
        let (cert_pem, key_pem) = (cert.read_public()?, key.read_secret()?);
        let identity = pem::identity(cert, &cert_pem, key, &key_pem)?;
        let mut read = vec![cert_pem, key_pem];
        let internal = |error: &dyn fmt::Display| {
            cert.fault(format!("TLS cannot be set up: {error}"), "this is a fault of weir, tell it")
        };
        let mut list_end = None;
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(authorities(&clients.ca, &mut read)?);
                let revoked = Revocations::load(clients.crl.as_ref(), &mut read)?;
                list_end = revoked.end;
                WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .with_crls(revoked.lists)
                    .enforce_revocation_expiration()
                    .build()
                    .map_err(|error| match (error, &clients.crl) {
                        (VerifierBuilderError::InvalidCrl(error), Some(source)) => {
                            pem::crl_fault(source, &format!("{error:?}"))
                        }
                        (error, _) => internal(&error),
                    })?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| internal(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity.key)));
        if protocol == Protocol::Http {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        // Nothing is remembered of whoever came: the next time they are verified anew.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Server {
            config: Arc::new(config),
            certificate: identity.certificate,
            knows_clients: clients.is_some(),
            list_end,
            fingerprint: fingerprint(read.iter().map(Vec::as_slice)),
        })
    }
}
