//! Certificates and keys out of PEM files, with words for what is wrong with them.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, list_end};
use super::provider;
use crate::secret::{Fault, Source};

/// A certificate of our own with its chain and key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What the leaf says.
    pub certificate: Certificate,
    /// For rustls.
    pub key: Arc<CertifiedKey>,
}

fn pem_fault(source: &Source, error: &PemError, wanted: &str) -> Fault {
    let mend = format!("it must hold {wanted} in PEM form (-----BEGIN …)");
    match error {
        PemError::NoItemsFound => source.fault(format!("holds no {wanted}"), mend),
        PemError::MissingSectionEnd { .. } => source.fault("ends in the middle of a section", mend),
        PemError::IllegalSectionStart { .. } => source.fault("is malformed PEM", mend),
        PemError::Base64Decode(text) => {
            source.fault(format!("is malformed PEM: base64: {text}"), mend)
        }
        other => source.fault(format!("cannot be read as PEM: {other}"), mend),
    }
}

/// The certificates of a file, in its order, at least one, each of them readable.
pub fn certificates(source: &Source, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let mut found = Vec::new();
    for (index, item) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let der = item.map_err(|error| pem_fault(source, &error, "certificate"))?;
        if let Err(error) = Certificate::parse(&der) {
            let what = format!("certificate number {} is malformed: {error}", index + 1);
            return Err(source.fault(what, "write the file anew"));
        }
        found.push(der);
    }
    if found.is_empty() {
        return Err(pem_fault(source, &PemError::NoItemsFound, "certificate"));
    }
    Ok(found)
}

/// The lists of revoked certificates of a file, at least one, and the earliest end of them.
pub fn revocations(
    source: &Source,
    pem: &[u8],
) -> Result<(Vec<CertificateRevocationListDer<'static>>, Option<i64>), Fault> {
    const WANTED: &str = "list of revoked certificates (X509 CRL)";
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = lists.map_err(|error| pem_fault(source, &error, WANTED))?;
    if lists.is_empty() {
        return Err(pem_fault(source, &PemError::NoItemsFound, WANTED));
    }
    let mut end = None;
    for list in &lists {
        let ends = list_end(list).map_err(|error| crl_fault(source, &error))?;
        end = [end, ends].into_iter().flatten().min();
    }
    Ok((lists, end))
}

/// A list that cannot be used.
pub fn crl_fault(source: &Source, error: &dyn fmt::Display) -> Fault {
    source.fault(
        format!("holds a list of revoked certificates that cannot be used: {error}"),
        "get it anew from the authority: a whole X509 CRL, version 2",
    )
}

/// Certificate, chain and key that belong together.
pub fn identity(
    cert_source: &Source,
    cert_pem: &[u8],
    key_source: &Source,
    key_pem: &[u8],
) -> Result<Identity, Fault> {
    let chain = certificates(cert_source, cert_pem)?;
    let certificate = Certificate::parse(&chain[0])
        .map_err(|error| cert_source.fault(format!("is malformed: {error}"), "write it anew"))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| {
        let encrypted = key_pem.windows(9).any(|text| text == b"ENCRYPTED");
        if encrypted && matches!(error, PemError::NoItemsFound) {
            let mend = "store it without a passphrase: openssl pkey -in OLD -out NEW";
            return key_source
                .fault("is encrypted, and nobody is there to type a passphrase", mend);
        }
        pem_fault(key_source, &error, "private key")
    })?;
    let key = match CertifiedKey::from_der(chain, key, &provider()) {
        Ok(key) => key,
        Err(rustls::Error::InconsistentKeys(_)) => {
            let what = format!("does not belong to the certificate in {}", cert_source.location);
            let mend = "name the key that the certificate was made for (openssl x509 -noout -pubkey \
                        and openssl pkey -pubout show the same for both)";
            return Err(key_source.fault(what, mend));
        }
        Err(error) => {
            let mend = "use an ECDSA (P-256, P-384), Ed25519 or RSA (2048 to 8192 bits) key";
            return Err(key_source.fault(format!("cannot be used: {error}"), mend));
        }
    };
    Ok(Identity { certificate, key: Arc::new(key) })
}
