//! The documentation, checked against the program. Every `console` block of README and docs runs as written. Every
//! `sql` block runs on the store that its page created. Every link must lead to a target. The crate `words` checks that
//! the sentences are short and plain.
//!
//! In a `console` block, a line that begins with `$ ` is a command, and lines that begin with `> ` continue it. The
//! following lines are its output on stdout and stderr. `[..]` matches any text in a line, and a line of `...` matches
//! any lines. `? 3` is the exit code, and 0 is the default. The commands of a page share one folder, which is also
//! their home and contains only `docs/samples`. A page that names `localhost:6379` or `redis-cli` gets its own empty
//! Redis server, configured as in `docs/redis.md`. The test replaces the address.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail, what did not run is named"
)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rusqlite::{Connection, OpenFlags};
use servers::{Aof, Binary, Config, Server};
use tokio::runtime::Runtime;

/// The address of the Redis server in the documentation.
const DOCUMENTED: &str = "localhost:6379";

/// The address of the HTTP API in the documentation.
const SERVED: &str = "127.0.0.1:7070";

/// A fenced block of a page.
struct Block {
    language: String,
    /// The line number of its first line.
    line: usize,
    lines: Vec<String>,
}

/// A command with its expected output and exit code.
#[derive(Default)]
struct Step {
    line: usize,
    command: String,
    prints: Vec<String>,
    exit: i32,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Returns README, the other pages of the root, and all pages in docs, by path.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut folders = vec![root().join("docs")];
    let mut files: Vec<PathBuf> = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for (number, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open =
                    Some(Block { language: language.trim().to_owned(), line: number + 2, lines: Vec::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.trim_end().to_owned()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is never closed");
    blocks
}

fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in block.lines.iter().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { line: block.line + number, command: command.to_owned(), ..Step::default() });
            continue;
        }
        let step = steps.last_mut().expect("a console block begins with a command");
        match (line.strip_prefix('>'), line.strip_prefix("? ").and_then(|code| code.parse().ok())) {
            (Some(more), _) if step.prints.is_empty() => {
                step.command = format!("{}\n{}", step.command, more.strip_prefix(' ').unwrap_or(more));
            }
            (_, Some(code)) => step.exit = code,
            _ => step.prints.push(line.clone()),
        }
    }
    steps
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let Some((prefix, rest)) = expected.split_once("[..]") else { return expected == actual };
    let Some(actual) = actual.strip_prefix(prefix) else { return false };
    let ends = actual.char_indices().map(|(at, _)| at).chain([actual.len()]);
    ends.into_iter().any(|at| line_matches(rest, &actual[at..]))
}

fn lines_match(expected: &[String], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((any, rest)) if any == "..." => {
            (0..=actual.len()).any(|from| lines_match(rest, &actual[from..]))
        }
        Some((line, rest)) => actual
            .split_first()
            .is_some_and(|(first, more)| line_matches(line, first) && lines_match(rest, more)),
    }
}

/// Returns the program for the pages: `EVENT_REPLAY_BIN`, or the program in the target folder of this test. The program
/// is built first, so that it is up to date.
fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("EVENT_REPLAY_BIN") {
        return PathBuf::from(named).canonicalize().unwrap();
    }
    let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "-p", "event-replay-cli"]).current_dir(root());
    // A profile and its folder have the same name, except `dev`, which has the folder `debug`.
    let name = profile.file_name().unwrap().to_string_lossy().replace("debug", "dev");
    build.args(["--profile", &name]);
    assert!(build.status().unwrap().success(), "the command line does not build");
    profile.join(format!("event-replay{}", std::env::consts::EXE_SUFFIX))
}

/// Creates a folder that contains only the samples, at their path in the repository.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let samples = home.path().join("docs/samples");
    fs::create_dir_all(&samples).unwrap();
    for file in fs::read_dir(root().join("docs/samples")).unwrap().map(|entry| entry.unwrap().path()) {
        fs::copy(&file, samples.join(file.file_name().unwrap())).unwrap();
    }
    home
}

/// The Redis server of a page, and a folder with a `redis-cli` for it.
struct Redis {
    server: Server,
    tools: tempfile::TempDir,
}

impl Redis {
    async fn start() -> Self {
        // Without a memory limit, the eviction policy is `noeviction`.
        let config = Config { aof: Aof::EverySecond, ..Config::default() };
        let server = Server::start(&Binary::default(), &config).await.unwrap();
        let tools = tempfile::tempdir().unwrap();
        let cli = which("redis-cli").expect("redis-cli comes with redis-server");
        let script = format!("#!/bin/sh\nexec '{}' -p {} \"$@\"\n", cli.display(), server.port());
        let path = tools.path().join("redis-cli");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { server, tools }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.server.port())
    }
}

/// Returns a loopback address whose port was free a moment ago.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether the commands of a page need a Redis server.
fn wants_redis(page: &str) -> bool {
    let consoles = blocks(page).into_iter().filter(|block| block.language == "console");
    let commands: Vec<Step> = consoles.flat_map(|block| steps(&block)).collect();
    commands.iter().any(|step| step.command.contains(DOCUMENTED) || step.command.contains("redis-cli "))
}

/// Runs the commands of a page. Returns the differences from the page.
fn run(page: &str, binary: &Path, home: &Path, redis: Option<&Redis>) -> Vec<String> {
    let tools = redis.map(|redis| redis.tools.path().to_owned());
    let path = std::env::join_paths(
        tools
            .into_iter()
            .chain([binary.parent().unwrap().to_owned()])
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let (path, mut exported, mut wrong) = (path.unwrap(), BTreeMap::new(), Vec::new());
    let address = redis.map_or(DOCUMENTED.to_owned(), Redis::address);
    let served = free_address();
    for mut step in blocks(page).iter().filter(|block| block.language == "console").flat_map(steps) {
        step.command = step.command.replace(DOCUMENTED, &address).replace(SERVED, &served);
        if let Some((name, value)) = step.command.strip_prefix("export ").and_then(|set| set.split_once('='))
        {
            exported.insert(name.to_owned(), value.to_owned());
            continue;
        }
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1\n{}", step.command)])
            .env_clear()
            .envs([("PATH", path.as_os_str()), ("HOME", home.as_os_str()), ("TZ", "UTC".as_ref())])
            .envs(&exported)
            .current_dir(home)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace(&address, DOCUMENTED);
        let text = text.replace(&served, SERVED);
        let actual: Vec<&str> = text.trim_end_matches('\n').split('\n').map(str::trim_end).collect();
        let actual = if text.trim().is_empty() { Vec::new() } else { actual };
        let code = output.status.code().unwrap_or(-1);
        if code != step.exit || !lines_match(&step.prints, &actual) {
            wrong.push(format!(
                "line {}: $ {}\n-- expected (? {})\n{}\n-- printed (? {code})\n{}\n",
                step.line,
                step.command,
                step.exit,
                step.prints.join("\n"),
                actual.join("\n")
            ));
        }
    }
    wrong
}

/// Runs the SQL of a page to the last row, on the store `events.db` that its commands created.
fn query(page: &str, home: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for block in blocks(page).iter().filter(|block| block.language == "sql") {
        let store = Connection::open_with_flags(home.join("events.db"), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("a page with SQL makes events.db");
        for statement in block.lines.join("\n").split(';').filter(|text| !text.trim().is_empty()) {
            let count = store.prepare(statement).and_then(|mut statement| {
                let (mut rows, mut count) = (statement.query([])?, 0);
                while rows.next()?.is_some() {
                    count += 1;
                }
                Ok(count)
            });
            if !matches!(count, Ok(1..)) {
                wrong.push(format!("line {}: {statement}: {count:?} rows", block.line));
            }
        }
    }
    wrong
}

#[test]
fn every_command_in_the_docs_does_what_they_say() {
    let (binary, runtime) = (binary(), Runtime::new().unwrap());
    let mut wrong = Vec::new();
    for (path, page) in pages() {
        let home = home();
        let redis = match wants_redis(&page) {
            true if Binary::default().major() == 0 => {
                println!("NOT RUN: the commands of {}, there is no redis-server", path.display());
                continue;
            }
            true => Some(runtime.block_on(Redis::start())),
            false => None,
        };
        let mut found = run(&page, &binary, home.path(), redis.as_ref());
        found.extend(query(&page, home.path()));
        wrong.extend(found.iter().map(|what| format!("{}, {what}", path.display())));
    }
    assert!(wrong.is_empty(), "{} steps differ\n\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn pages_about_redis_have_a_server_and_others_have_none() {
    let with: Vec<String> = pages()
        .iter()
        .filter(|(_, page)| wants_redis(page))
        .map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(with, ["redis-format.md", "redis.md"]);
}

#[test]
fn a_page_that_says_something_else_is_noticed() {
    let home = home();
    let said = |body: &str| {
        run(&format!("```console\n{body}\n```\n"), Path::new("/bin/sh"), home.path(), None).len()
    };
    assert_eq!(said("$ cat <<'EOF'\n> a\n>\n> bc\n> EOF\na\n\nb[..]"), 0);
    assert_eq!(said("$ echo one; echo two; echo three\n...\nthree"), 0);
    assert_eq!(said("$ echo oops >&2; exit 3\noops\n? 3"), 0);
    assert_eq!(said("$ export GREETING=hello\n$ echo $GREETING\nhello"), 0);
    assert_eq!(said("$ echo one\ntwo"), 1, "another text");
    assert_eq!(said("$ echo one; echo two\none"), 1, "a line more");
    assert_eq!(said("$ echo one\none\n...\ntwo"), 1, "a line less");
    assert_eq!(said("$ exit 1"), 1, "another exit code");
}

/// Returns the anchors of the headings of a page, as GitHub generates them.
fn anchors(page: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if !fenced && line.starts_with('#') {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            found.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

#[test]
fn every_link_in_the_docs_leads_to_a_file_and_a_heading() {
    let pages = pages();
    for (path, page) in &pages {
        for target in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.contains("://") {
                continue;
            }
            let linked = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(linked.exists(), "{}: {target} leads nowhere", path.display());
            if let Some(page) = pages.get(&linked.canonicalize().unwrap()).filter(|_| !anchor.is_empty()) {
                let found = anchors(page).iter().any(|heading| heading == anchor);
                assert!(found, "{}: {target} leads to no heading", path.display());
            }
        }
    }
}

#[test]
fn pages_are_written_in_short_sentences_without_banned_words() {
    let mut faults = Vec::new();
    for (path, page) in pages() {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let found = words::check_page(&page);
        faults.extend(found.iter().map(|finding| format!("{name}, {finding}")));
    }
    assert!(faults.is_empty(), "{} faults\n\n{}", faults.len(), faults.join("\n"));
}

/// Returns the sources of all crates, by path.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut folders =
        ["crates", "tests", "benches", "integrations"].map(|folder| root().join(folder)).to_vec();
    let mut files = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.insert(path.clone(), fs::read_to_string(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn comments_are_written_in_short_sentences_without_banned_words() {
    let sources = sources();
    assert!(sources.len() > 500, "{} sources", sources.len());
    let mut faults = Vec::new();
    for (path, source) in &sources {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let found = words::check_page(&words::comments(source));
        faults.extend(found.iter().map(|finding| format!("{name}, {finding}")));
    }
    assert!(faults.is_empty(), "{} faults\n\n{}", faults.len(), faults.join("\n"));
    let planted = words::comments("/// Somebody reads this.\nfn read() {}\n");
    assert_eq!(words::check_page(&planted).len(), 1);
}

#[test]
fn a_banned_word_planted_in_any_page_is_found() {
    for (path, page) in pages() {
        let planted = format!("{page}\n\nNobody reads this.\n");
        let found = words::check_page(&planted).len();
        assert_eq!(found, words::check_page(&page).len() + 1, "{}", path.display());
    }
}

#[test]
fn every_page_with_rust_code_is_compiled() {
    let compiled = fs::read_to_string(root().join("tests/src/lib.rs")).unwrap();
    for (path, page) in pages() {
        // rustdoc treats a block without a language as Rust.
        let rust =
            blocks(&page).iter().any(|block| block.language.is_empty() || block.language.starts_with("rust"));
        let named = format!("../../{}", path.strip_prefix(root()).unwrap().display());
        assert!(!rust || compiled.contains(&named), "tests/src/lib.rs does not include {named}");
    }
}
