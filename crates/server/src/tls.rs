//! The TLS certificate of the server.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// The files of a certificate and its key, in PEM format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its chain of intermediate certificates.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
}

/// The certificate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is missing, or does not contain the expected PEM block.
    #[error("{} cannot be read as a {what} in PEM: {error}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// The expected content.
        what: &'static str,
        /// The reason.
        error: String,
    },
    /// The certificate and the key do not match, or their kind is not supported.
    #[error("the certificate {} cannot be used: {error}", certificate.display())]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The reason.
        error: String,
    },
}

impl TlsFiles {
    /// Reads the files, and returns an acceptor for TLS 1.2 and 1.3 with HTTP/1.1.
    ///
    /// # Errors
    /// Returns [`TlsError`] when a file cannot be read, or when the certificate and the key cannot be used together.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unreadable(&self.certificate, "certificate", &error))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unreadable(&self.key, "private key", &error))?;
        let unusable = |error: rustls::Error| TlsError::Unusable {
            certificate: self.certificate.clone(),
            error: error.to_string(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn unreadable(file: &Path, what: &'static str, error: &rustls::pki_types::pem::Error) -> TlsError {
    TlsError::File { file: file.to_owned(), what, error: error.to_string() }
}
