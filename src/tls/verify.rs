//! rustls' verifier, watched: when a broker's certificate is accepted, its end is remembered, so
//! that it can be warned of.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::certificate::Certificate;

/// The end of the certificate accepted last.
#[derive(Debug)]
pub struct Seen(AtomicI64);

impl Default for Seen {
    fn default() -> Self {
        Seen(AtomicI64::new(i64::MIN))
    }
}

impl Seen {
    /// Unix seconds.
    pub fn not_after(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|seconds| *seconds != i64::MIN)
    }
}

/// Every question goes to the inner verifier, and its answer is the answer.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<WebPkiServerVerifier>,
    seen: Arc<Seen>,
}

impl Watched {
    pub fn new(inner: Arc<WebPkiServerVerifier>, seen: Arc<Seen>) -> Watched {
        Watched { inner, seen }
    }
}

impl ServerCertVerifier for Watched {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        if let Ok(certificate) = Certificate::parse(end_entity) {
            self.seen.0.store(certificate.not_after, Ordering::Relaxed);
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
