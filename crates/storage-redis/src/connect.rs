//! From options to a client of the server.

use std::path::Path;

use domain::StorageFailure;
use redis::{Client, ClientTlsConfig, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use crate::options::RedisOptions;

/// The client that the options describe. Nothing is sent yet.
pub(crate) fn client(options: &RedisOptions) -> Result<Client, StorageFailure> {
    let info: ConnectionInfo =
        options.url.as_str().into_connection_info().map_err(|error| bad_url(&error))?;
    let info = match &options.password {
        Some(password) => {
            let settings = info.redis_settings().clone().set_password(password);
            info.set_redis_settings(settings)
        }
        None => info,
    };
    if !options.url.starts_with("rediss") {
        return Client::open(info).map_err(|error| bad_url(&error));
    }
    let client_tls = match &options.tls.client {
        Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        None => None,
    };
    let root_cert = options.tls.ca.as_deref().map(read).transpose()?;
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(|error| bad_url(&error))
}

/// The URL may hold a password: it is not repeated.
fn bad_url(error: &redis::RedisError) -> StorageFailure {
    StorageFailure::Foreign(format!("the URL of the Redis store makes no sense: {}", error.category()))
}

fn read(path: &Path) -> Result<Vec<u8>, StorageFailure> {
    std::fs::read(path)
        .map_err(|error| StorageFailure::Unavailable(format!("the certificate {}: {error}", path.display())))
}
