//! From options to clients of servers.

use std::path::Path;

use domain::StorageFailure;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, TlsCertificates,
    io::tcp::TcpSettings,
};

use crate::options::RedisOptions;

/// What every connection is made with, whichever server it goes to.
pub(crate) struct Dialler {
    /// Of any of them; another one differs by its address alone.
    info: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

impl Dialler {
    /// As the options say, for servers like this one.
    pub(crate) fn new(options: &RedisOptions, info: &ConnectionInfo) -> Result<Self, StorageFailure> {
        let info = match &options.password {
            Some(password) => {
                let settings = info.redis_settings().clone().set_password(password);
                info.clone().set_redis_settings(settings)
            }
            None => info.clone(),
        };
        Self::with(options, info)
    }

    /// For the sentinels, who have users of their own.
    pub(crate) fn of_sentinels(
        options: &RedisOptions,
        info: &ConnectionInfo,
    ) -> Result<Self, StorageFailure> {
        let mut settings = RedisConnectionInfo::default();
        if let Some(user) = &options.sentinel_user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &options.sentinel_password {
            settings = settings.set_password(password);
        }
        Self::with(options, info.clone().set_redis_settings(settings))
    }

    fn with(options: &RedisOptions, info: ConnectionInfo) -> Result<Self, StorageFailure> {
        let certificates = match info.addr() {
            ConnectionAddr::TcpTls { .. } => Some(certificates(options)?),
            ConnectionAddr::Tcp(..) if options.tls.is_set() => {
                return Err(StorageFailure::Foreign(
                    "certificates are set (redis.ca, redis.cert), and the address asks for no TLS: write rediss in place of \
                     redis, or set no certificates; nothing was sent"
                        .to_owned(),
                ));
            }
            _ => None,
        };
        Ok(Self { info, certificates })
    }

    /// The client of one of them. Nothing is sent yet.
    pub(crate) fn client(&self, address: ConnectionAddr) -> Result<Client, StorageFailure> {
        // Calls of several callers share a connection: none waits until the server has acknowledged the one before.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = self.info.clone().set_addr(address).set_tcp_settings(tcp);
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
        .map_err(|error| {
            // The URL may hold a password: it is not repeated.
            let what = error.category();
            StorageFailure::Foreign(format!("the URL of the Redis store makes no sense: {what}"))
        })
    }

    /// The client of the server that the options name. Nothing is sent yet.
    pub(crate) fn only(&self) -> Result<Client, StorageFailure> {
        self.client(self.info.addr().clone())
    }

    /// The address of another server, reached as the ones that were named.
    pub(crate) fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: *insecure, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host.to_owned(), port),
        }
    }
}

fn certificates(options: &RedisOptions) -> Result<TlsCertificates, StorageFailure> {
    // Without a provider chosen by the program, the client's TLS library panics. One that was chosen already stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client_tls = match &options.tls.client {
        Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: options.tls.ca.as_deref().map(read).transpose()? })
}

fn read(path: &Path) -> Result<Vec<u8>, StorageFailure> {
    std::fs::read(path)
        .map_err(|error| StorageFailure::Unavailable(format!("the certificate {}: {error}", path.display())))
}
