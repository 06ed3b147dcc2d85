//! Certificates for tests of TLS.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::{ClientCertificates, Error, Tls};

/// An authority, and a server and a client whose certificates it signed, as PEM files. The server's is good for
/// `127.0.0.1` and `localhost`, and they are valid for ever: a test needs no clock.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub server: PathBuf,
    /// The key of the server's certificate.
    pub server_key: PathBuf,
    /// The client's certificate.
    pub client: PathBuf,
    /// The key of the client's certificate.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes new ones in `folder`, which must exist; what is there of the same names is replaced.
    ///
    /// # Errors
    /// A file cannot be written.
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

    /// What a server needs of them.
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

/// Certificate and key, as PEM.
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
        // Nodes of a cluster are each other's clients.
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
