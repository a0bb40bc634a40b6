//! What a certificate says: for whom it is and how long it is valid.
//!
//! Pure. Trust is not judged here; that is rustls' part.

use core::net::{Ipv4Addr, Ipv6Addr};
use std::fmt;

use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// Warn this long before the end, in seconds, or a quarter of the validity before it, whichever
/// is shorter: certificates of a few days would else be warned of all their life.
const WARN_BEFORE: i64 = 30 * 86_400;

/// What matters of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// DNS names and addresses it is for; where there are none, its common name.
    pub names: Vec<String>,
    /// Valid from this moment on, Unix seconds.
    pub not_before: i64,
    /// Valid to this moment, Unix seconds.
    pub not_after: i64,
}

/// Where a moment lies in a certificate's validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Before it.
    NotYet,
    /// In it.
    Valid,
    /// In it, near its end.
    EndsSoon,
    /// Behind it.
    Expired,
}

impl Certificate {
    /// Reads DER.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(der: &[u8]) -> Result<Certificate, String> {
        let certificate =
            x509_cert::Certificate::from_der(der).map_err(|error| error.to_string())?;
        let body = certificate.tbs_certificate;
        let mut names = Vec::new();
        if let Ok(Some((_, SubjectAltName(alternatives)))) = body.get::<SubjectAltName>() {
            names.extend(alternatives.iter().filter_map(name));
        }
        if names.is_empty() {
            names.push(body.subject.to_string());
        }
        Ok(Certificate {
            names,
            not_before: seconds(&body.validity.not_before),
            not_after: seconds(&body.validity.not_after),
        })
    }

    /// Where `now` (Unix seconds) lies.
    pub fn validity(&self, now: i64) -> Validity {
        let quarter = (self.not_after - self.not_before) / 4;
        if now < self.not_before {
            Validity::NotYet
        } else if now > self.not_after {
            Validity::Expired
        } else if self.not_after - now < WARN_BEFORE.min(quarter) {
            Validity::EndsSoon
        } else {
            Validity::Valid
        }
    }

    /// Whether it is for this host name (in lower case) or address.
    pub fn is_for(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(rest) => host.split_once('.').is_some_and(|(first, behind)| {
                !first.is_empty() && behind.eq_ignore_ascii_case(rest)
            }),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

/// When a list of revoked certificates (DER) ends, Unix seconds; `None`: it does not say.
///
/// # Errors
/// What is wrong with it.
pub fn list_end(der: &[u8]) -> Result<Option<i64>, String> {
    let list = x509_cert::crl::CertificateList::from_der(der).map_err(|error| error.to_string())?;
    Ok(list.tbs_cert_list.next_update.as_ref().map(seconds))
}

fn seconds(time: &x509_cert::time::Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

/// `gw-01, 192.0.2.7, valid to 2027-01-01T00:00:00Z`
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, valid to {}", self.names.join(", "), moment(self.not_after))
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(octets) => {
            let bytes = octets.as_bytes();
            if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
                Some(Ipv4Addr::from(v4).to_string())
            } else {
                <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).to_string())
            }
        }
        _ => None,
    }
}

/// Unix seconds in RFC 3339.
pub fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| format!("{seconds} s after 1970"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn certificate(days: i64) -> Certificate {
        let names = vec!["gw-01.example".to_owned(), "*.site.example".to_owned()];
        Certificate { names, not_before: 0, not_after: days * DAY }
    }

    #[test]
    fn warns_thirty_days_before_the_end_and_later_for_short_lives() {
        let year = certificate(360);
        for (day, expected) in [
            (-1, Validity::NotYet),
            (0, Validity::Valid),
            (330, Validity::Valid),
            (331, Validity::EndsSoon),
            (360, Validity::EndsSoon),
            (361, Validity::Expired),
        ] {
            assert_eq!(year.validity(day * DAY), expected, "day {day}");
        }
        let week = certificate(8);
        assert_eq!(week.validity(5 * DAY), Validity::Valid);
        assert_eq!(week.validity(7 * DAY), Validity::EndsSoon);
    }

    #[test]
    fn names_match_as_browsers_match_them() {
        let certificate = certificate(1);
        for host in ["gw-01.example", "GW-01.Example", "a.site.example"] {
            assert!(certificate.is_for(host), "{host}");
        }
        for host in
            ["example", "x.gw-01.example", "site.example", "a.b.site.example", ".site.example"]
        {
            assert!(!certificate.is_for(host), "{host}");
        }
    }

    #[test]
    fn reads_names_and_times_and_refuses_what_is_none() {
        let mut params = rcgen::CertificateParams::new(vec![
            "gw-01.example".to_owned(),
            "192.0.2.7".to_owned(),
            "2001:db8::1".to_owned(),
        ])
        .unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap();
        let certificate = Certificate::parse(der.der()).unwrap();
        assert_eq!(certificate.names, ["gw-01.example", "192.0.2.7", "2001:db8::1"]);
        assert_eq!(
            certificate.to_string(),
            "gw-01.example, 192.0.2.7, 2001:db8::1, valid to 2027-01-01T00:00:00Z"
        );
        assert_eq!(moment(certificate.not_before), "2026-01-01T00:00:00Z");
        for length in 0..der.der().len() {
            assert!(Certificate::parse(&der.der()[..length]).is_err(), "cut at {length}");
        }
    }
}
