//! Sends a request and reads its answer, in bounded time and memory.

use std::{fmt, time::Duration};

use domain::delivery::HandlerError;
use http::{Response, StatusCode, header, request::Builder};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Pool, Error as SendError, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    answer::{EXCERPT_BYTES, judge},
    endpoint::{Endpoint, EndpointError},
};
use crate::{
    answer::{AnswerStatus, MAX_ANSWER_BYTES, TargetAnswer},
    failure::Failure,
};

/// The time limit for a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The highest number of idle connections.
const IDLE_CONNECTIONS: usize = 64;
/// The time after which an idle connection is closed.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// The number of bytes of a body that are read, so that the connection can be used again. A larger body closes it.
const BODY_BYTES: usize = 64 * 1024;
/// The time limit for the body of an answer after its status has arrived.
const BODY_TIME: Duration = Duration::from_secs(1);

/// A client of one endpoint. Clones share its connections.
#[derive(Clone)]
pub(super) struct Client {
    endpoint: Endpoint,
    pool: Pool<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Result<Self, EndpointError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&endpoint)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Ok(Self { endpoint, pool })
    }

    /// Posts a body and evaluates the answer. Takes at most `time` and at most the endpoint's timeout.
    pub(super) async fn post(
        &self,
        request: Builder,
        body: Vec<u8>,
        time: Option<Duration>,
    ) -> Result<(), Failure> {
        let time = time.map_or(self.endpoint.timeout, |time| time.min(self.endpoint.timeout));
        let response = self.send(request, body, time, Instant::now() + time).await?;
        let (head, body) = response.into_parts();
        let body = beginning(body, head.status).await;
        judge(head.status, &head.headers, &body).map_err(Failure::Failed)
    }

    /// Posts a body and returns the whole answer. Takes at most the endpoint's timeout.
    pub(super) async fn ask(&self, request: Builder, body: Vec<u8>) -> Result<TargetAnswer, Failure> {
        let time = self.endpoint.timeout;
        let deadline = Instant::now() + time;
        let response = self.send(request, body, time, deadline).await?;
        let (head, body) = response.into_parts();
        let body = match timeout_at(deadline, Limited::new(body, MAX_ANSWER_BYTES).collect()).await {
            Ok(Ok(body)) => Vec::from(body.to_bytes()),
            Ok(Err(error)) => {
                let mut error = HandlerError::from(error);
                error.errors.insert(0, format!("the answer of {} cannot be read", self.endpoint));
                return Err(Failure::Failed(error));
            }
            Err(_) => return Err(self.late(time)),
        };
        let result = judge(head.status, &head.headers, &body);
        Ok(TargetAnswer { result, status: Some(AnswerStatus::Http(head.status.as_u16())), body })
    }

    /// Posts a body, and returns the answer when its head has arrived.
    async fn send(
        &self,
        request: Builder,
        body: Vec<u8>,
        time: Duration,
        deadline: Instant,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = request.uri(self.endpoint.uri.clone());
        if let Some(authorization) = &self.endpoint.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::Failed(HandlerError::give_up(error)))?;
        match timeout_at(deadline, self.pool.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unsent(error)),
            Err(_) => Err(self.late(time)),
        }
    }

    fn late(&self, time: Duration) -> Failure {
        Failure::Failed(HandlerError::retry(format!("{} did not answer within {time:?}", self.endpoint)))
    }

    fn unsent(&self, error: SendError) -> Failure {
        let unreachable = error.is_connect();
        let mut error = HandlerError::from(error);
        let did = if unreachable { "cannot be reached" } else { "did not answer" };
        error.errors.insert(0, format!("{} {did}", self.endpoint));
        if unreachable { Failure::Unreachable(error) } else { Failure::Failed(error) }
    }
}

/// Returns the first part of a failed answer's body. Reads further, so that the connection can be used again. A failure
/// here changes nothing, because only the status counts.
async fn beginning(mut body: Incoming, status: StatusCode) -> Vec<u8> {
    let mut kept = Vec::new();
    let wanted = if status.is_success() { 0 } else { EXCERPT_BYTES + 1 };
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            kept.extend(data.iter().take(wanted - kept.len()));
            bytes += data.len();
            if bytes > BODY_BYTES {
                return;
            }
        }
    };
    let _ = timeout(BODY_TIME, read).await;
    kept
}

/// Returns the TLS settings. The provider of cryptography is named here, so that the process needs no installed
/// default. The system's certificates are read only for https.
fn tls(endpoint: &Endpoint) -> Result<ClientConfig, EndpointError> {
    let failed = |error| EndpointError::Certificates(std::io::Error::other(error));
    let config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?;
    Ok(if endpoint.is_https() {
        config.with_native_roots().map_err(EndpointError::Certificates)?.with_no_client_auth()
    } else {
        config.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    })
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}
