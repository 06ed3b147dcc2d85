//! Connections: accepted, bounded in number and in the time that their headers take, and ended in order.

use std::{error::Error, io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

/// Connections at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// How long a TLS handshake and the headers of a request may take, and how long a connection may rest between requests.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// The most bytes of a request's line and headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// How long a listener rests that cannot accept, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is done; then requests that run may finish, for as long as `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::pin!(stop);
    loop {
        // The semaphore is never closed.
        let permit = tokio::select! {
            () = &mut stop => break,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (tls, router, watcher) = (tls.clone(), router.clone(), graceful.watcher());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, tls, router, watcher).await {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    drop(permit);
                });
            }
            Err(error) => rest(&error).await,
        }
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut that did not end within {grace:?}");
    }
}

/// Answers the requests of a connection, until it ends.
async fn answer(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Small answers are not held back for more.
    let _ = stream.set_nodelay(true);
    match tls {
        None => watcher.watch(connection(stream, router)).await?,
        Some(tls) => {
            let stream = tokio::time::timeout(HEADER_TIME, tls.accept(stream)).await??;
            watcher.watch(connection(stream, router)).await?;
        }
    }
    Ok(())
}

fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    router: Router,
) -> http1::Connection<TokioIo<S>, TowerToHyperService<Router>> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(MAX_HEADER_BYTES);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}

async fn rest(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(PAUSE).await;
}
