//! The certificates of servers and identities, signed by an authority of the folder's own.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use super::secrets;
use crate::failure::Failure;

/// The files of a certificate, named as Kubernetes names them.
pub(super) const CA: &str = "ca.crt";
pub(super) const CERTIFICATE: &str = "tls.crt";
pub(super) const KEY: &str = "tls.key";

const CA_KEY: &str = "ca.key";

/// A clock that is a little behind must not refuse what was made a moment ago.
const SKEW: Duration = Duration::days(1);

/// Nobody replaces an authority easily; `rotate` renews a certificate in a moment.
const CA_LIFETIME: Duration = Duration::days(3650);
const LIFETIME: Duration = Duration::days(730);

/// The authority of one folder.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Whom a certificate is for.
pub(super) enum Holder<'a> {
    /// A server, which other servers connect to, and which connects to them.
    Server(&'a [String]),
    /// An identity.
    Client(&'a str),
}

impl Authority {
    /// Reads the authority from `ca/`, or makes it.
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let folder = root.join("ca");
        secrets::make_folder(&folder)?;
        let (key_path, path) = (folder.join(CA_KEY), folder.join(CA));
        let unreadable = |error| Failure::io(path.display().to_string(), &error);
        if key_path.is_file() && path.is_file() {
            let certificate = fs::read_to_string(&path).map_err(unreadable)?;
            let key = fs::read_to_string(&key_path).map_err(unreadable)?;
            let key = KeyPair::from_pem(&key).map_err(|_| {
                Failure::usage(format!("{} holds no private key", key_path.display()))
            })?;
            let issuer = Issuer::new(authority(), key);
            return Ok(Self {
                issuer,
                certificate,
            });
        }
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = authority().self_signed(&key).map_err(failed)?.pem();
        secrets::write(&key_path, key.serialize_pem().as_bytes())?;
        secrets::write(&path, certificate.as_bytes())?;
        let issuer = Issuer::new(authority(), key);
        Ok(Self {
            issuer,
            certificate,
        })
    }

    /// Puts a certificate, its key and the authority's certificate into a folder.
    pub(super) fn issue(&self, folder: &Path, holder: &Holder<'_>) -> Result<(), Failure> {
        secrets::make_folder(folder)?;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = parameters(holder)?
            .signed_by(&key, &self.issuer)
            .map_err(failed)?;
        secrets::write(&folder.join(KEY), key.serialize_pem().as_bytes())?;
        secrets::write(&folder.join(CERTIFICATE), certificate.pem().as_bytes())?;
        self.trust(folder)
    }

    /// Puts the authority's certificate into a folder, for those who only check the server's.
    pub(super) fn trust(&self, folder: &Path) -> Result<(), Failure> {
        secrets::make_folder(folder)?;
        secrets::write(&folder.join(CA), self.certificate.as_bytes())
    }
}

fn authority() -> CertificateParams {
    let mut params = lasting(CertificateParams::default(), CA_LIFETIME);
    params
        .distinguished_name
        .push(DnType::CommonName, "MCP authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn parameters(holder: &Holder<'_>) -> Result<CertificateParams, Failure> {
    let (name, hosts) = match holder {
        Holder::Server(hosts) => ("nats-server", hosts.to_vec()),
        Holder::Client(name) => (*name, Vec::new()),
    };
    let params = CertificateParams::new(hosts)
        .map_err(|error| Failure::usage(format!("a host of the servers is no name: {error}")))?;
    let mut params = lasting(params, LIFETIME);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match holder {
        Holder::Server(_) => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
        Holder::Client(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    Ok(params)
}

fn lasting(mut params: CertificateParams, lifetime: Duration) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    params.distinguished_name = rcgen::DistinguishedName::new();
    (params.not_before, params.not_after) = (now - SKEW, now + lifetime);
    params
}

#[allow(clippy::needless_pass_by_value, reason = "`map_err` passes the value")]
fn failed(error: rcgen::Error) -> Failure {
    Failure::usage(format!("a certificate could not be made: {error}"))
}
