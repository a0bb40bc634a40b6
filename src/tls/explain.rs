//! What a failed TLS handshake means, in words: what, where, how to mend it.
//!
//! Pure: the time is an argument.

use rustls::{AlertDescription, CertificateError, Error};

use super::Client;
use super::certificate::moment;

/// No clock that is right shows an earlier time than this (2026-01-01): weir is younger.
pub const CLOCK_LEAST: i64 = 1_767_225_600;

/// What is known about a connection that failed.
pub struct Peer<'a> {
    /// Our side.
    pub client: &'a Client,
    /// By the gateway's clock, Unix seconds.
    pub now: i64,
}

/// What is wrong and how to mend it.
pub fn explain(error: &Error, peer: &Peer<'_>) -> String {
    match error {
        Error::InvalidCertificate(fault) => certificate(fault, peer),
        Error::AlertReceived(alert) => alert_received(*alert, peer),
        Error::InvalidCertRevocationList(fault) => format!(
            "the list of revoked certificates in crl_file cannot be believed ({fault:?}): its \
             signature or its issuer is wrong; get it anew from the authority"
        ),
        Error::InvalidMessage(_) => not_tls(),
        Error::NoCertificatesPresented => {
            "the broker presents no certificate; configure certfile and keyfile there".to_owned()
        }
        Error::PeerIncompatible(_) => format!(
            "the broker and weir have no version of TLS or cipher in common ({error}); weir speaks \
             TLS 1.2 and 1.3: bring the broker up to date"
        ),
        _ => format!("TLS failed: {error}; look into the broker's log"),
    }
}

/// The other side answered with something else than TLS, or not at all.
pub fn not_tls() -> String {
    "the other side does not speak TLS there; is this the broker's plain port (mqtt://, mostly \
     1883) instead of its TLS port (mostly 8883)?"
        .to_owned()
}

fn clock(peer: &Peer<'_>) -> String {
    let now = moment(peer.now);
    if peer.now < CLOCK_LEAST {
        format!(
            "the gateway's clock is not set (it says {now}): let it synchronise (timedatectl), weir \
             tries again by itself"
        )
    } else {
        format!("the gateway's clock says {now}: if that is wrong, set it (timedatectl)")
    }
}

fn certificate(fault: &CertificateError, peer: &Peer<'_>) -> String {
    use CertificateError as E;
    let renew = "else renew the certificate on the broker";
    match fault {
        E::UnknownIssuer => format!(
            "the broker's certificate comes from an unknown issuer: it is not signed by {}; write \
             the certificate of the authority that signed it as ca_file",
            peer.client.authority
        ),
        E::ExpiredContext { not_after, .. } => format!(
            "the broker's certificate expired on {}; {}; {renew}",
            moment(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX)),
            clock(peer)
        ),
        E::Expired => format!("the broker's certificate has expired; {}; {renew}", clock(peer)),
        E::NotValidYetContext { not_before, .. } => format!(
            "the broker's certificate is not valid before {}; {}",
            moment(i64::try_from(not_before.as_secs()).unwrap_or(i64::MAX)),
            clock(peer)
        ),
        E::NotValidYet => format!("the broker's certificate is not valid yet; {}", clock(peer)),
        E::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented.iter().map(|name| plain_name(name)).collect();
            let of = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
            format!(
                "the broker's certificate is for {of}, not for {}; write a name that it is for \
                 into url, or get a certificate with this one as subjectAltName",
                expected.to_str()
            )
        }
        E::NotValidForName => "the broker's certificate is for another host; write the name that \
                               it is for into url"
            .to_owned(),
        E::Revoked => {
            "the broker's certificate is revoked, says the list in crl_file; get a new one for the \
             broker (if nobody revoked it, somebody else answers there)"
                .to_owned()
        }
        E::UnknownRevocationStatus => "no list in crl_file is from the issuer of the broker's \
            certificate (or of one in its chain); put the lists of all its authorities into that \
            file, one behind the other, and reload weir (SIGHUP)"
            .to_owned(),
        E::ExpiredRevocationListContext { next_update, .. } => format!(
            "the list of revoked certificates in crl_file ended on {}; {}; else get a new list \
             from the authority and reload weir (SIGHUP)",
            moment(i64::try_from(next_update.as_secs()).unwrap_or(i64::MAX)),
            clock(peer)
        ),
        E::ExpiredRevocationList => format!(
            "the list of revoked certificates in crl_file has ended; {}; else get a new list from \
             the authority and reload weir (SIGHUP)",
            clock(peer)
        ),
        E::BadSignature => format!(
            "the signature of the broker's certificate is wrong: it does not come from {}; write \
             the right ca_file",
            peer.client.authority
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "the broker's certificate is not for servers; get one with extendedKeyUsage serverAuth"
                .to_owned()
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the broker presents the certificate of an authority as its own; make a certificate \
             for the broker, signed by it (basicConstraints CA:FALSE)"
                .to_owned()
        }
        other => format!(
            "the broker's certificate is refused ({other:?}); look at it: openssl s_client -connect HOST:PORT"
        ),
    }
}

/// rustls shows names as `DnsName("a")` or `IpAddress(127.0.0.1)`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').to_owned()
}

fn alert_received(alert: AlertDescription, peer: &Peer<'_>) -> String {
    use AlertDescription as A;
    let ours = match &peer.client.own {
        Some(own) => format!("our client certificate ({own})"),
        None => "a client certificate".to_owned(),
    };
    let has = peer.client.own.is_some();
    match alert {
        A::CertificateRequired => "the broker wants a client certificate and got none; write \
                                   cert_file and key_file"
            .to_owned(),
        A::HandshakeFailure if !has => {
            "the broker broke off the handshake: perhaps it wants a client certificate (write \
             cert_file and key_file), or has no cipher in common with weir; its log says which"
                .to_owned()
        }
        A::CertificateRevoked => format!(
            "the broker says that {ours} is revoked; get a new one, put it in place and reload weir \
             (SIGHUP)"
        ),
        A::CertificateExpired => format!(
            "the broker says that {ours} has expired or is not valid yet; renew it and reload weir \
             (SIGHUP), or set the broker's clock"
        ),
        A::UnknownCA => format!(
            "the broker does not know the authority of {ours}; add that authority to the broker's \
             cafile, or get a certificate from the one that it knows"
        ),
        A::BadCertificate | A::UnsupportedCertificate | A::CertificateUnknown => format!(
            "the broker refuses {ours} ({alert:?}); it must come from the broker's authority and \
             be for clients (extendedKeyUsage clientAuth)"
        ),
        A::AccessDenied => {
            format!("the broker denies access to {ours}; check its access rules")
        }
        A::ProtocolVersion => "the broker wants another version of TLS; weir speaks 1.2 and 1.3: \
                               bring the broker up to date"
            .to_owned(),
        A::UnrecognisedName => {
            "the broker does not know the host name in url; write the name that \
                                it is configured for"
                .to_owned()
        }
        other => format!("the broker broke off the handshake ({other:?}); look into its log"),
    }
}
