//! TLS servers, with certificates for the test. The newer programs are built without TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::fs;

use event_replay_servers::{Binary, Certificates, ClientCertificates, Config, Server};
use redis::{Client, ClientTlsConfig, RedisError, TlsCertificates};
use support::{connect, connect_as, get, ping, set};

async fn start(certificates: &Certificates, clients: ClientCertificates) -> Server {
    // The TLS library of the client panics if the program has not chosen a provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config { tls: Some(certificates.tls(clients)), ..Config::default() };
    Server::start(&Binary::default(), &config).await.unwrap()
}

fn client(server: &Server, trusted: &Certificates, own: Option<&Certificates>) -> Client {
    let client_tls = own.map(|own| ClientTlsConfig {
        client_cert: fs::read(&own.client).unwrap(),
        client_key: fs::read(&own.client_key).unwrap(),
    });
    let root_cert = Some(fs::read(&trusted.ca).unwrap());
    Client::build_with_tls(server.url(), TlsCertificates { client_tls, root_cert }).unwrap()
}

async fn answer(client: &Client) -> Result<String, RedisError> {
    ping(&mut connect_as(client).await?).await
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served_and_another_one_refuses() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let certificates = Certificates::make(folder.path()).unwrap();
    let strangers = Certificates::make(elsewhere.path()).unwrap();
    let server = start(&certificates, ClientCertificates::Ignored).await;
    assert!(server.url().starts_with("rediss://"), "{}", server.url());

    let trusting = client(&server, &certificates, None);
    let mut connection = connect_as(&trusting).await.unwrap();
    set(&mut connection, "key", "value").await.unwrap();
    assert_eq!(get(&mut connection, "key").await.unwrap().as_deref(), Some("value"));

    let refused = answer(&client(&server, &strangers, None)).await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_server_can_demand_a_certificate_of_its_clients() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let certificates = Certificates::make(folder.path()).unwrap();
    let strangers = Certificates::make(elsewhere.path()).unwrap();
    let server = start(&certificates, ClientCertificates::Required).await;

    assert_eq!(answer(&client(&server, &certificates, Some(&certificates))).await.unwrap(), "PONG");
    answer(&client(&server, &certificates, None)).await.unwrap_err();
    answer(&client(&server, &certificates, Some(&strangers))).await.unwrap_err();
}

#[tokio::test]
async fn plain_text_is_refused_where_clients_connect() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let server = start(&certificates, ClientCertificates::Ignored).await;
    assert!(connect(&format!("redis://127.0.0.1:{}", server.port())).await.is_err());
}

#[tokio::test]
async fn a_server_comes_back_with_tls_on_the_same_port() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let mut server = start(&certificates, ClientCertificates::Required).await;
    let client = client(&server, &certificates, Some(&certificates));
    server.restart().await.unwrap();
    assert_eq!(answer(&client).await.unwrap(), "PONG");
}
