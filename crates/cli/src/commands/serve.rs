//! `serve`: runs the HTTP API.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use clap::Args;
use server::{OptionsError, ServeError, ServeOptions, Server, TlsFiles};

use super::signals::Interrupts;
use crate::{context::Context, errors::CliError, exit::Exit};

/// Serve the HTTP API
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay serve
  event-replay serve --listen 127.0.0.1:8080 --base-path /er
  event-replay serve --read-only
  event-replay serve --listen 0.0.0.0:7070 --tls-cert server.pem --tls-key server.key
  event-replay serve --listen 0.0.0.0:7070 --behind-proxy
  event-replay serve --check

docs/http.md has every route, docs/security.md the roles of tokens. On loopback the server needs
no token, and answers requests for localhost alone, unless --host names another. On another address
it needs TLS or a proxy, and every request needs a token (`event-replay tokens create`). The server
also lets scheduled events into the log, runs replays that wait for a runner, and applies the
settings' retention. Ctrl-C and SIGTERM end it: requests that run may finish first, a second one
ends it at once.")]
pub(crate) struct ServeArgs {
    /// Where to listen: an address of this machine and a port; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// The path before every route, such as /er.
    #[arg(long, value_name = "PATH", default_value = "")]
    base_path: String,
    /// A name by which clients may call the server, beside localhost.
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Refuse every request that would change something.
    #[arg(long)]
    read_only: bool,
    /// The server's certificate in PEM, followed by the certificates of its issuers.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A proxy in front of the server speaks TLS with clients; every request needs a token.
    #[arg(long, conflicts_with = "tls_cert")]
    behind_proxy: bool,
    /// Ask clients on loopback for a token, too.
    #[arg(long)]
    require_tokens: bool,
    /// The most requests a second of each token; a second's worth may come at once.
    #[arg(long, value_name = "N")]
    rate_limit: Option<NonZeroU32>,
    /// Check the settings and flags, and do not start.
    #[arg(long)]
    check: bool,
}

impl ServeArgs {
    fn options(self) -> ServeOptions {
        ServeOptions {
            listen: self.listen,
            base_path: self.base_path,
            hosts: self.hosts,
            read_only: self.read_only,
            tls: self.tls_cert.zip(self.tls_key).map(|(certificate, key)| TlsFiles { certificate, key }),
            behind_proxy: self.behind_proxy,
            require_tokens: self.require_tokens,
            rate_limit: self.rate_limit,
        }
    }
}

pub(crate) async fn run(args: ServeArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let only_checks = args.check;
    let options = args.options();
    options.check().map_err(ServeError::from)?;
    options.tls.as_ref().map(TlsFiles::acceptor).transpose().map_err(ServeError::from)?;
    if only_checks {
        cx.settings.upcasters.load()?;
        cx.printer.line(&format!("the settings are sound; the store is {}", cx.settings.store))?;
        return Ok(Exit::Ok);
    }
    let mut interrupts = Interrupts::listen()?;
    let (base, scheme) = (options.base_path.clone(), if options.tls.is_some() { "https" } else { "http" });
    let server = Server::start(cx.settings.clone(), options).await?;
    cx.printer.line(&format!("listening on {scheme}://{}{base}", server.address()))?;
    cx.printer.flush()?;
    let (ask, asked) = tokio::sync::oneshot::channel::<()>();
    let running = server.run(async {
        // A sent message and a dropped sender both request the end.
        let _ = asked.await;
    });
    tokio::pin!(running);
    tokio::select! {
        () = &mut running => return Ok(Exit::Ok),
        () = interrupts.next() => {}
    }
    cx.printer.say("ending: requests that run may finish; a second signal ends it at once");
    drop(ask);
    tokio::select! {
        () = &mut running => Ok(Exit::Ok),
        () = interrupts.next() => Err(CliError::failed("ended at once; requests that ran were cut")),
    }
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        let said = error.to_string();
        match error {
            ServeError::Options(OptionsError::PlainText(_)) => Self::usage(said).hint(
                "add --tls-cert and --tls-key; or --behind-proxy where a proxy speaks TLS with clients; or listen on 127.0.0.1",
            ),
            ServeError::Tls(_) => Self::usage(said).hint("name PEM files with --tls-cert and --tls-key"),
            ServeError::NoTokens => {
                Self::usage(said).hint("`event-replay tokens create NAME --role admin` makes the first one")
            }
            ServeError::Tokens(failure) => failure.into(),
            ServeError::Options(_) => Self::usage(said),
            ServeError::Store(error) => error.into(),
            ServeError::Bus(error) => error.into(),
            ServeError::Listen { .. } => {
                Self::failed(said).hint("another process may listen there: name another port with --listen")
            }
            _ => Self::failed(said),
        }
    }
}
