//! Clients of servers, made from the options.

use std::path::Path;

use domain::StorageFailure;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, TlsCertificates,
    io::tcp::TcpSettings,
};

use crate::options::RedisOptions;

/// The settings of every connection, for all servers alike.
pub(crate) struct Dialler {
    /// The settings of one server. Other servers differ only in the address.
    info: ConnectionInfo,
    certificates: Option<TlsCertificates>,
}

impl Dialler {
    /// Returns the dialler for servers like this one, with the settings of the options.
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

    /// Returns the dialler for the sentinels, which have separate users.
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

    /// Returns the client of one server. Sends nothing yet.
    pub(crate) fn client(&self, address: ConnectionAddr) -> Result<Client, StorageFailure> {
        // Callers share a connection. With `TCP_NODELAY` no call waits until the server has acknowledged the call
        // before.
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = self.info.clone().set_addr(address).set_tcp_settings(tcp);
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
        .map_err(|error| {
            // The URL may hold a password, so the error does not repeat it.
            let what = error.category();
            StorageFailure::Foreign(format!("the URL of the Redis store makes no sense: {what}"))
        })
    }

    /// Returns the client of the server that the options name. Sends nothing yet.
    pub(crate) fn only(&self) -> Result<Client, StorageFailure> {
        self.client(self.info.addr().clone())
    }

    /// Returns the address of another server, with the same transport as the named servers.
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
    // Without a provider, the client's TLS library panics. A provider that the program has installed stays.
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
