//! Connections: the accept loop, the limits on number and time, and the graceful shutdown.

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

/// Maximum number of open connections. Further connections wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// Time limit of a TLS handshake, of the headers of a request, and of an idle connection.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// Maximum size of the request line and the headers, in bytes.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Pause of the listener after a failed accept, such as for too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` completes. Running requests then have `grace` to finish.
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
        // The result is never an error, because the semaphore is never closed.
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

/// Serves the requests of one connection until it closes.
async fn answer(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    watcher: Watcher,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // Sends small responses at once, without Nagle's algorithm.
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
