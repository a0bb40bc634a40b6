//! Certificates of every kind, made for one test and gone with it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use weir::secret::{Location, Source};

/// First and last year in which a certificate is valid.
pub type Years = (i32, i32);

/// Valid whenever this test runs.
pub const VALID: Years = (2020, 2120);

/// An authority with a folder for what it makes.
pub struct Authority {
    folder: PathBuf,
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
    made: std::cell::Cell<u64>,
}

/// Certificate and key as files.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub serial: u64,
}

pub fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// As the configuration names a file.
pub fn source(path: &Path) -> Source {
    Source {
        location: Location::Path(path.to_owned()),
        place: "weir.toml:1:1: [mqtt] x".to_owned(),
    }
}

impl Authority {
    /// Its own certificate is `<name>.pem` in `folder`.
    pub fn new(folder: &Path, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(VALID.0, 1, 1);
        params.not_after = date_time_ymd(VALID.1, 1, 1);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Authority {
            folder: folder.to_owned(),
            name: name.to_owned(),
            issuer,
            made: std::cell::Cell::new(1),
        };
        write(&authority.cert(), &authority.pem(), 0o644);
        authority
    }

    pub fn cert(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// For a server with these names.
    pub fn server(&self, names: &[&str], years: Years) -> Pair {
        self.make(names, years, ExtendedKeyUsagePurpose::ServerAuth, KeyPair::generate().unwrap())
    }

    /// For a client.
    pub fn client(&self, name: &str, years: Years) -> Pair {
        self.make(&[name], years, ExtendedKeyUsagePurpose::ClientAuth, KeyPair::generate().unwrap())
    }

    /// For a server, with this key.
    pub fn server_with(&self, names: &[&str], key: KeyPair) -> Pair {
        self.make(names, VALID, ExtendedKeyUsagePurpose::ServerAuth, key)
    }

    fn make(
        &self,
        names: &[&str],
        years: Years,
        purpose: ExtendedKeyUsagePurpose,
        key: KeyPair,
    ) -> Pair {
        let serial = self.made.get();
        self.made.set(serial + 1);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0].as_str());
        params.extended_key_usages = vec![purpose];
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let stem = format!("{}-{serial}", self.name);
        let pair = Pair {
            cert: self.folder.join(format!("{stem}.crt")),
            key: self.folder.join(format!("{stem}.key")),
            serial,
        };
        write(&pair.cert, &cert.pem(), 0o644);
        write(&pair.key, &key.serialize_pem(), 0o600);
        pair
    }

    /// A list that revokes these; its file.
    pub fn revoke(&self, pairs: &[&Pair]) -> PathBuf {
        self.revoke_until(pairs, VALID.1)
    }

    /// As [`revoke`](Self::revoke), up to the begin of this year.
    pub fn revoke_until(&self, pairs: &[&Pair], year: i32) -> PathBuf {
        let revoked = pairs.iter().map(|pair| RevokedCertParams {
            serial_number: SerialNumber::from(pair.serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let file = self.folder.join(format!("{}.crl", self.name));
        write(&file, &list.signed_by(&self.issuer).unwrap().pem().unwrap(), 0o644);
        file
    }
}
