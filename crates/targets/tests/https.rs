//! Over https, certificates are checked against the roots in the environment. Proxies in the environment are not used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{delivery::Verdict, ports::EventHandler};
use event_replay_targets::{Endpoint, HttpHandler};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use support::{
    delivery,
    server::{answer, serve},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/localhost.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/localhost.key");
const STRANGER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates/stranger.pem");
/// Set if this file's test runs again, in a process with another environment.
const AGAIN: &str = "TARGETS_HTTPS_AGAIN";

/// Starts a server with a self-signed certificate. Returns its port.
async fn https() -> u16 {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_file(KEY).unwrap();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            tokio::spawn(async move {
                serve(stream, &Mutex::default(), &|_| async { answer("200 OK", "", "") }).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn https_works_with_trusted_certificates_alone() {
    let expected = std::env::var(AGAIN).unwrap_or_default();
    if expected.is_empty() {
        return;
    }
    let port = https().await;
    for host in ["localhost", "127.0.0.1"] {
        let endpoint = Endpoint::parse(&format!("https://{host}:{port}/")).unwrap();
        let handler = HttpHandler::new(endpoint).unwrap();
        let result = handler.handle(&delivery("e", Duration::from_secs(60))).await;
        match expected.as_str() {
            "trusted" => assert_eq!(result, Ok(())),
            _ => {
                let error = result.unwrap_err();
                assert_eq!(error.verdict, Verdict::Retry);
                assert!(error.to_string().contains("certificate"), "{error}");
            }
        }
    }
}

/// The environment belongs to a whole process, so the test above runs in separate processes.
fn again(expected: &str, roots: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "https_works_with_trusted_certificates_alone", "--nocapture"])
        .env(AGAIN, expected)
        .env("SSL_CERT_FILE", roots)
        .env_remove("SSL_CERT_DIR")
        .envs(
            ["http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"]
                .map(|name| (name, "http://127.0.0.1:1")),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{failed}");
}

#[test]
fn a_certificate_that_the_environment_trusts_is_taken() {
    again("trusted", CERTIFICATE);
}

#[test]
fn a_certificate_of_strangers_is_refused() {
    again("refused", STRANGER);
}
