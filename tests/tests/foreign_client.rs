//! A client without code of this program follows the log on Redis, only with the commands of `docs/redis-format.md`. It
//! reads during writes and while the server is killed. It receives every event, in order, with the published bytes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{path::Path, time::Duration};

use domain::{
    Document, Event, Limits,
    ports::{AppendOutcome, Atomicity, EventStore},
};
use redis::{Value, aio::MultiplexedConnection};
use servers::{Aof, Binary, Config, Server};
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;

/// Returns the commands of the page in their order: the next chunk, the events of a chunk, the first chunk.
fn documented() -> [String; 3] {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/redis-format.md"))
        .unwrap();
    let quoted = |start: &str| {
        let mut found = page.split('`').filter(|text| text.starts_with(start)).map(str::to_owned);
        found.next().unwrap_or_else(|| panic!("the page has no {start}"))
    };
    [quoted("ZRANGEBYSCORE "), quoted("XREAD COUNT 100 STREAMS {default:0}:log:CHUNK"), quoted("ZRANGE ")]
}

/// An entry id, and alternating names and values.
type Entry = (String, Vec<Vec<u8>>);

/// The client: a connection and its position.
struct Client {
    connection: MultiplexedConnection,
    commands: [String; 3],
    chunk: Option<String>,
    last: String,
    read: Vec<Vec<u8>>,
}

impl Client {
    async fn connect(server: &Server) -> MultiplexedConnection {
        redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap()
    }

    /// Sends a documented command, with values in place of its words in capitals.
    async fn send(&mut self, command: usize, chunk: &str) -> Value {
        let words = self.commands[command].replace("CHUNK", chunk).replace(" ID", &format!(" {}", self.last));
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut self.connection).await.unwrap()
    }

    /// Runs the steps of the page once. Returns whether there was a new event or chunk.
    async fn follow(&mut self) -> bool {
        let chunk = match &self.chunk {
            Some(chunk) => chunk.clone(),
            None => match names(self.send(2, "").await).pop() {
                Some(first) => first,
                None => return false,
            },
        };
        self.chunk = Some(chunk.clone());
        let next = names(self.send(0, &chunk).await).pop();
        let before = self.read.len();
        while self.read_some(&chunk).await {}
        if let Some(next) = &next {
            self.chunk = Some(next.clone());
            "0-0".clone_into(&mut self.last);
        }
        next.is_some() || self.read.len() > before
    }

    /// Reads further events of a chunk. Returns whether an event arrived.
    async fn read_some(&mut self, chunk: &str) -> bool {
        let answer = self.send(1, chunk).await;
        let streams: Option<Vec<(String, Vec<Entry>)>> = redis::from_redis_value(answer).unwrap();
        let Some((_, entries)) = streams.and_then(|mut streams| streams.pop()) else { return false };
        for (id, fields) in entries {
            self.last = id;
            let event = fields.chunks(2).find(|pair| pair[0] == b"event").unwrap();
            self.read.push(event[1].clone());
        }
        true
    }
}

fn names(answer: Value) -> Vec<String> {
    redis::from_redis_value(answer).unwrap()
}

/// Texts that are easily changed in transit: white space, escapes, line ends, numbers beyond 64 bits, and non-ASCII
/// letters.
fn texts(from: usize, count: usize) -> Vec<String> {
    let text = |n: usize| {
        let head = format!(
            r#""id":"e{n}","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}}"#
        );
        match n % 5 {
            0 => format!("{{{head}}}"),
            1 => format!("{{\r\n\t{head},\n \"data\":[1.50, 9007199254740993, 1e2, -0]\r\n}}"),
            2 => format!(r#"{{"data":"\u0041\/\ud83d\ude00\u0000",{head}}}"#),
            3 => format!("{{\"größe\":\"東京 🎓 \u{9b}\u{202e}\",{head}}}"),
            _ => format!("{{{head},\"data\":\"{}\"}}", "x".repeat(n % 3000)),
        }
    };
    (from..from + count).map(text).collect()
}

async fn publish(store: &Store, texts: &[String]) {
    for batch in texts.chunks(50) {
        let event = |text: &String| -> Event {
            Document::parse(text.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
        };
        let events: Vec<Event> = batch.iter().map(event).collect();
        let outcomes = store.append(&events, Atomicity::Each).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_redis_alone_reads_every_event_in_the_bytes_in_which_it_was_published() {
    let binary = Binary::default();
    if binary.major() == 0 {
        println!("NOT RUN: a client of Redis alone, there is no redis-server");
        return;
    }
    let config = Config { aof: Aof::Always, ..Config::default() };
    let mut server = Server::start(&binary, &config).await.unwrap();
    let mut client = Client {
        connection: Client::connect(&server).await,
        commands: documented(),
        chunk: None,
        last: "0-0".to_owned(),
        read: Vec::new(),
    };
    let (mut published, mut chunks) = (Vec::new(), std::collections::BTreeSet::new());
    for round in 0..3 {
        let engine = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
        let store = Store::new(engine.clone());
        client.connection = Client::connect(&server).await;
        client.follow().await;
        let news = texts(round * 1000, 1000);
        let writing = tokio::spawn({
            let (store, news) = (store.clone(), news.clone());
            async move { publish(&store, &news).await }
        });
        published.extend(news);
        while !writing.is_finished() {
            client.follow().await;
        }
        writing.await.unwrap();
        while client.follow().await {}
        chunks.extend(client.chunk.clone());
        engine.close().await;
        if round < 2 {
            // After a restart the log starts a new epoch, in a chunk with a much higher number.
            server.kill().await.unwrap();
            server.restart().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    while client.follow().await {}
    assert_eq!(client.read.len(), published.len());
    assert!(client.read.iter().map(Vec::as_slice).eq(published.iter().map(String::as_bytes)));
    assert_eq!(chunks.len(), 3, "{chunks:?}");
}
