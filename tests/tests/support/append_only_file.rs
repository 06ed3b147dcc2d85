//! The append-only file of a server, and the loss of its end, as after a power cut.

use std::{collections::HashMap, fs::File, path::PathBuf, time::Duration};

use servers::Server;

/// The newest append-only file of a server, to which the server writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AppendOnlyFile {
    path: PathBuf,
    /// The number of the file. A rewrite starts a file with a higher number.
    pub(crate) number: u32,
    pub(crate) length: u64,
}

impl AppendOnlyFile {
    pub(crate) fn of(server: &Server) -> Self {
        let folder = server.folder().join("appendonlydir");
        let number = |path: &PathBuf| {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix("appendonly.aof.")?.strip_suffix(".incr.aof")?.parse::<u32>().ok()
        };
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let newest = paths.filter_map(|path| Some((number(&path)?, path))).max();
        let (number, path) = newest.unwrap_or_else(|| panic!("the server has no append-only file"));
        let length = std::fs::metadata(&path).unwrap().len();
        Self { path, number, length }
    }

    /// Truncates the file to `bytes` bytes. The server must not run.
    pub(crate) fn cut(&self, server: &Server, bytes: u64) {
        assert_eq!(server.process_id(), None, "the server would write on");
        File::options().write(true).open(&self.path).unwrap().set_len(bytes).unwrap();
    }
}

/// Waits until a server has passed all writes to the operating system. A server delays this while the disk is slow to
/// sync.
pub(crate) async fn written(url: &str) {
    let client = redis::Client::open(url).unwrap();
    let mut server = client.get_multiplexed_async_connection().await.unwrap();
    for _ in 0..1_000 {
        let mut command = redis::cmd("INFO");
        let info: String = command.arg("persistence").query_async(&mut server).await.unwrap();
        let has = |line: &str| info.lines().any(|own| own.trim_end() == line);
        if has("aof_buffer_length:0") && has("aof_pending_bio_fsync:0") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server does not write its append-only file");
}

/// Waits until a server has rewritten its file since its start.
pub(crate) async fn written_anew(url: &str) {
    let client = redis::Client::open(url).unwrap();
    let mut server = client.get_multiplexed_async_connection().await.unwrap();
    for _ in 0..3_000 {
        let mut command = redis::cmd("INFO");
        let info: String = command.arg("persistence").query_async(&mut server).await.unwrap();
        let fields: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        if fields["aof_rewrites"] != "0" && fields["aof_rewrite_in_progress"] == "0" {
            assert_eq!(fields["aof_last_bgrewrite_status"], "ok");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody had the append-only file written anew");
}
