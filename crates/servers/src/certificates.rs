//! Certificates for TLS tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::{ClientCertificates, Error, Tls};

/// A certificate authority, and a server and a client certificate that it signed, as PEM files. The server certificate
/// is for `127.0.0.1` and `localhost`. The certificates do not expire, so that tests do not depend on the clock.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The certificate of the authority.
    pub ca: PathBuf,
    /// The certificate of the server.
    pub server: PathBuf,
    /// The private key of the server certificate.
    pub server_key: PathBuf,
    /// The certificate of the client.
    pub client: PathBuf,
    /// The private key of the client certificate.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Creates new certificates in `folder`, which must exist. Files with the same names are replaced.
    ///
    /// # Errors
    /// Returns an [`Error`] when a certificate cannot be created or a file cannot be written.
    pub fn make(folder: &Path) -> Result<Self, Error> {
        let authority = authority()?;
        let (server, server_key) = signed("127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth, &authority)?;
        let (client, client_key) = signed("a client", ExtendedKeyUsagePurpose::ClientAuth, &authority)?;
        let write = |name: &str, pem: String| {
            let path = folder.join(name);
            fs::write(&path, pem).map_err(Error::io(format!("write {}", path.display())))?;
            Ok::<_, Error>(path)
        };
        Ok(Self {
            ca: write("ca.pem", authority.pem())?,
            server: write("server.pem", server)?,
            server_key: write("server.key", server_key)?,
            client: write("client.pem", client)?,
            client_key: write("client.key", client_key)?,
        })
    }

    /// Returns the TLS configuration of a server.
    #[must_use]
    pub fn tls(&self, clients: ClientCertificates) -> Tls {
        Tls { ca: self.ca.clone(), certificate: self.server.clone(), key: self.server_key.clone(), clients }
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, Error> {
    let mut params = named("an authority of tests");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Returns a signed certificate and its key, as PEM.
fn signed(
    name: &str,
    purpose: ExtendedKeyUsagePurpose,
    authority: &CertifiedIssuer<'static, KeyPair>,
) -> Result<(String, String), Error> {
    let key = KeyPair::generate()?;
    let mut params = named(name);
    let is_server = purpose == ExtendedKeyUsagePurpose::ServerAuth;
    if is_server {
        params.subject_alt_names =
            CertificateParams::new(["127.0.0.1", "localhost"].map(str::to_owned))?.subject_alt_names;
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    if is_server {
        // A cluster node is also a TLS client of the other nodes.
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    }
    params.use_authority_key_identifier_extension = true;
    Ok((params.signed_by(&key, authority)?.pem(), key.serialize_pem()))
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
