//! Access control: tokens, roles, TLS, and the rate limit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use axum::body::Body;
use common::{Reply, Service, registered};
use domain::token::Role;
use event_replay::{
    Access, Settings,
    app::{
        audit::Actor,
        open_store,
        tokens::{self, NewToken},
    },
};
use event_replay_server::{
    ServeError, ServeOptions, Server, TlsFiles,
    routes::{ROUTES, Route},
};
use http::Request;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::json;
use servers::Certificates;
use tempfile::TempDir;

fn settings(folder: &TempDir) -> Settings {
    let store = format!("sqlite:{}", folder.path().join("events.db").display());
    Settings::load(Some(&store), None).unwrap()
}

/// Creates tokens in the store of a folder. The result maps the name of each owner to the token.
async fn with_tokens(folder: &TempDir, new: &[NewToken]) -> BTreeMap<String, String> {
    let store = open_store(&settings(folder), Access::Create).await.unwrap();
    let by = Actor { operator: "a test".to_owned(), reason: None };
    let mut made = BTreeMap::new();
    for new in new {
        made.insert(new.name.clone(), tokens::create(&store, &by, new.clone()).await.unwrap().token);
    }
    store.close().await;
    made
}

fn new(name: &str, role: Role) -> NewToken {
    NewToken { name: name.to_owned(), roles: [role].into(), ..NewToken::default() }
}

fn one_of_each_role() -> Vec<NewToken> {
    Role::ALL.iter().map(|role| new(role.as_str(), *role)).collect()
}

fn asking() -> ServeOptions {
    ServeOptions { require_tokens: true, ..ServeOptions::default() }
}

/// Sends a request with a token.
async fn send(service: &Service, verb: &str, path: &str, token: &str, body: &str) -> Reply {
    let request = Request::builder().method(verb).uri(service.url(path));
    let request = request.header("authorization", format!("Bearer {token}"));
    service
        .send(request.header("content-type", "application/json").body(Body::from(body.to_owned())).unwrap())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tokens_are_needed_a_request_without_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = with_tokens(&folder, &[new("ann", Role::Admin)]).await;
    let service = Service::on(folder, asking()).await;
    for route in ROUTES {
        let path = route.path.replace(['{', '}'], "");
        let request = Request::builder().method(route.verb.as_str()).uri(service.url(&path));
        let reply = service.send(request.body(Body::empty()).unwrap()).await;
        match route.needs {
            None => assert_ne!(reply.status, 401, "{path}"),
            Some(_) => {
                reply.problem(401, "unauthorized");
                assert_eq!(reply.headers["www-authenticate"], "Bearer", "{path}");
            }
        }
    }
    let token = &tokens["ann"];
    send(&service, "GET", "/v1/groups", token, "").await.is(200);
    for (given, why) in [
        ("", "has no token"),
        ("er_", "has no token"),
        (&token[..token.len() - 1], "unknown, revoked or expired"),
        (&format!("{token}x"), "unknown, revoked or expired"),
        ("er_00112233aabb_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "unknown, revoked or expired"),
    ] {
        let problem = send(&service, "GET", "/v1/groups", given, "").await.problem(401, "unauthorized");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{given}: {problem}");
        assert!(!problem.to_string().contains(&token[16..]), "the secret is repeated");
    }
    for scheme in ["Basic YTpi", "Bearer", "bearer  "] {
        let request = Request::get(service.url("/v1/groups")).header("authorization", scheme);
        service.send(request.body(Body::empty()).unwrap()).await.problem(401, "unauthorized");
    }
    service.stop().await;
}

/// On loopback a request may have no token. A token that a client sends is still checked, and still limits its owner.
#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_a_token_is_optional_and_still_checked() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = with_tokens(&folder, &[new("reader", Role::Read)]).await;
    let service = Service::on(folder, ServeOptions::default()).await;
    service.get("/v1/events").await.is(200);
    send(&service, "GET", "/v1/events", "er_a_b", "").await.problem(401, "unauthorized");
    let problem = send(&service, "GET", "/v1/events", &tokens["reader"], "").await.problem(403, "forbidden");
    assert_eq!(problem["detail"], "the token reader does not have the role content");
    send(&service, "GET", "/v1/stats", &tokens["reader"], "").await.is(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_is_open_to_the_roles_that_it_needs_and_to_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = with_tokens(&folder, &one_of_each_role()).await;
    let service = Service::on(folder, asking()).await;
    let mut walked = 0;
    for route in ROUTES {
        for role in Role::ALL {
            let status = status(&service, route, &tokens[role.as_str()]).await;
            let is_open = route.needs.is_none_or(|needed| role.allows(needed));
            assert_eq!(status != 403, is_open, "{} {} as {role}: {status}", route.verb.as_str(), route.path);
            assert_ne!(status, 401, "{} as {role}", route.path);
            walked += 1;
        }
    }
    assert_eq!(walked, ROUTES.len() * Role::ALL.len());
    service.stop().await;
}

/// Returns the status of a response to a request with unknown names. The body of a stream is not read.
async fn status(service: &Service, route: &Route, token: &str) -> u16 {
    let path = route.path.replace('{', "none-").replace('}', "");
    let request = Request::builder().method(route.verb.as_str()).uri(service.url(&path));
    let request = request.header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/json").body(Body::from("{}")).unwrap();
    service.client.request(request).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_limited_to_the_groups_of_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let limited = NewToken { groups: ["mail".to_owned()].into(), ..new("mailer", Role::Consume) };
    let tokens = with_tokens(&folder, &[limited, new("ann", Role::Admin)]).await;
    let service = Service::on(folder, asking()).await;
    for group in ["mail", "stats"] {
        send(&service, "POST", "/v1/groups", &tokens["ann"], &json!({"name": group}).to_string())
            .await
            .is(201);
    }
    send(&service, "POST", "/v1/groups/mail/fetch", &tokens["mailer"], "{}").await.is(200);
    let problem = send(&service, "POST", "/v1/groups/stats/fetch", &tokens["mailer"], "{}").await;
    let problem = problem.problem(403, "forbidden");
    assert_eq!(problem["detail"], "the token mailer may not consume the group stats");
    send(&service, "POST", "/v1/groups/stats/settle", &tokens["mailer"], "[]")
        .await
        .problem(403, "forbidden");
    send(&service, "GET", "/v1/groups/stats/deliveries", &tokens["mailer"], "")
        .await
        .problem(403, "forbidden");
    service.stop().await;
}

/// A token that is created over HTTP works, and appears as the operator in the audit. It is refused within seconds
/// after it is revoked or expired.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_managed_over_http_and_name_operators() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = with_tokens(&folder, &[new("root", Role::Admin)]).await;
    let service = Service::on(folder, asking()).await;
    let root = &tokens["root"];
    let create = |name: &str, more: serde_json::Value| {
        let mut body = json!({"name": name, "role": ["operate", "content"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let made = send(&service, "POST", "/v1/tokens", root, &create("ann", json!({}))).await.is(201).json();
    let ann = made["token"].as_str().unwrap().to_owned();
    send(&service, "POST", "/v1/tokens", root, &create("ann", json!({}))).await.problem(409, "conflict");
    send(&service, "POST", "/v1/tokens", root, r#"{"name": "b"}"#).await.problem(422, "invalid");
    send(&service, "POST", "/v1/tokens", root, r#"{"name": "b", "role": "boss"}"#)
        .await
        .problem(400, "bad-parameter");
    send(&service, "POST", "/v1/tokens", &ann, &create("x", json!({}))).await.problem(403, "forbidden");
    let soon = create("short", json!({"expiresIn": "1s"}));
    let short = send(&service, "POST", "/v1/tokens", root, &soon).await.is(201).json();
    let short = short["token"].as_str().unwrap().to_owned();
    send(&service, "POST", "/v1/groups", &ann, r#"{"name": "mail"}"#).await.is(201);
    let audit = send(&service, "GET", "/v1/audit?action=groups", &ann, "").await.is(200).json();
    assert_eq!((&audit[0]["operator"], &audit[0]["subject"]), (&json!("ann"), &json!("mail")), "{audit}");
    let listed = send(&service, "GET", "/v1/tokens", root, "").await.is(200);
    assert!(!listed.text().contains(&ann[16..]) && !listed.text().contains("secret"), "{}", listed.text());
    assert_eq!(listed.json().as_array().unwrap().len(), 3);
    until_refused(&service, &short).await;
    send(&service, "GET", "/v1/groups", &ann, "").await.is(200);
    send(&service, "DELETE", "/v1/tokens/ann", root, "").await.is(200);
    until_refused(&service, &ann).await;
    send(&service, "DELETE", "/v1/tokens/ann", root, "").await.problem(404, "not-found");
    service.stop().await;
}

async fn until_refused(service: &Service, token: &str) {
    let begun = Instant::now();
    while send(service, "GET", "/v1/groups", token, "").await.status != 401 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the token is still accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A browser has no token, so the host name does not matter for a request with a token.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_any_name_of_the_server_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = with_tokens(&folder, &[new("ann", Role::Read)]).await;
    let service = Service::on(folder, ServeOptions::default()).await;
    for (token, status) in [(Some(&tokens["ann"]), 200), (None, 421)] {
        let mut request = Request::get(service.url("/v1/groups")).header("host", "events.example");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        service.send(request.body(Body::empty()).unwrap()).await.is(status);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_too_many_requests_is_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = with_tokens(&folder, &[new("ann", Role::Read), new("bob", Role::Read)]).await;
    let options = ServeOptions { rate_limit: NonZeroU32::new(20), ..asking() };
    let service = Service::on(folder, options).await;
    let mut refused = None;
    // The limit is 20 requests per second with a burst of 20. Without a refusal, 200 requests would take at least nine
    // seconds.
    for _ in 0..200 {
        let reply = send(&service, "GET", "/v1/groups", &tokens["ann"], "").await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("no request was refused");
    assert_eq!(refused.problem(429, "too-many")["retry"], "later");
    assert_eq!(refused.headers["retry-after"], "1");
    send(&service, "GET", "/v1/groups", &tokens["bob"], "").await.is(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_certificate_is_the_one_that_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let files = TlsFiles { certificate: certificates.server.clone(), key: certificates.server_key.clone() };
    let service = Service::on(folder, ServeOptions { tls: Some(files), ..ServeOptions::default() }).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificates.ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(config)
        .https_only()
        .enable_http1()
        .build();
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    let address = service.address;
    let publish = Request::post(format!("https://localhost:{}/v1/events", address.port()))
        .header("content-type", "application/json")
        .body(Body::from(registered("e1", "u1")))
        .unwrap();
    assert_eq!(client.request(publish).await.unwrap().status(), 201);
    // A plain-text request gets no response.
    let plain = Request::get(service.url("/livez")).body(Body::empty()).unwrap();
    assert!(service.client.request(plain).await.is_err());
    drop(client);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_no_client_could_use_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let port = SocketAddr::from(([127, 0, 0, 1], 0));
    let start = |options| Server::start(settings(&folder), ServeOptions { listen: port, ..options });
    let error = start(asking()).await.err().unwrap();
    assert!(matches!(error, ServeError::NoTokens), "{error}");
    let missing = TlsFiles { certificate: folder.path().join("none.pem"), key: folder.path().join("none") };
    let error = start(ServeOptions { tls: Some(missing), ..ServeOptions::default() }).await.err().unwrap();
    assert!(error.to_string().contains("none.pem cannot be read as a certificate"), "{error}");
}
