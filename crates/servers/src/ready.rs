//! The check whether a server is up.

use std::{io, net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Time limit of one attempt, so that a server that hangs is asked again.
const ONE_TRY: Duration = Duration::from_secs(1);

/// The response to [`ask`] of a server that is up.
const UP: &str = "+OK\r\n+PONG\r\n";

/// Checks whether the server on `port` answers `PING`. `Err` describes the observed behavior: refused, silent, or
/// loading.
pub(crate) async fn ask(port: u16, user: &str, password: &str) -> Result<(), String> {
    match timeout(ONE_TRY, answer(port, user, password)).await {
        Ok(Ok(answer)) if answer == UP => Ok(()),
        Ok(Ok(answer)) => Err(format!("answers {:?}", answer.trim_end())),
        Ok(Err(error)) => Err(format!("cannot be reached: {error}")),
        Err(_) => Err("accepts a connection and says nothing".to_owned()),
    }
}

async fn answer(port: u16, user: &str, password: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(format!("AUTH {user} {password}\r\nPING\r\n").as_bytes()).await?;
    let (mut answer, mut chunk) = (Vec::new(), [0; 512]);
    while answer.iter().filter(|&&byte| byte == b'\n').count() < 2 {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
