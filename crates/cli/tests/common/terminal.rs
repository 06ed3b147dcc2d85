//! Runs the binary, or a shell, on a terminal of a given size. The program `script` of util-linux creates the terminal.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::Bench;

/// The time limit of each wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program on a terminal.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// The output of a program on a terminal until its end.
#[derive(Debug)]
pub struct Seen {
    pub code: i32,
    /// The output with escape sequences.
    pub raw: String,
    /// The lines as a person reads them, without escape sequences.
    pub lines: Vec<String>,
}

impl Bench {
    /// Runs a command to its end on a terminal with `columns` columns.
    pub fn on_terminal(&self, columns: u16, args: &[&str]) -> Seen {
        self.terminal(columns, env!("CARGO_BIN_EXE_event-replay"), args).ends()
    }

    /// Starts a program on a terminal.
    pub fn terminal(&self, columns: u16, program: &str, args: &[&str]) -> Terminal {
        let words = shlex::try_join([&[program], args].concat()).unwrap();
        let bin = Path::new(env!("CARGO_BIN_EXE_event-replay")).parent().unwrap().display().to_string();
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--command"])
            .arg(format!("stty rows 40 cols {columns}; exec {words}"))
            .arg("/dev/null")
            .current_dir(self.path(""))
            .env_clear()
            .env("PATH", format!("{bin}:/usr/local/bin:/usr/bin:/bin"))
            .env("HOME", self.path(""))
            .env("SHELL", "/bin/sh")
            .env("TZ", "UTC")
            .env("TERM", "xterm-256color")
            .env("LANG", "C.UTF-8")
            .envs(self.variables().iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let shown = Arc::new(Mutex::new(vt100::Parser::new(40, columns, 10_000)));
        let raw = Arc::new(Mutex::new(String::new()));
        let (screen, text) = (Arc::clone(&shown), Arc::clone(&raw));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            // After the program has ended, a read from the terminal fails or returns the end.
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                screen.lock().unwrap().process(&buffer[..length]);
                text.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        let keys = child.stdin.take().unwrap();
        Terminal { child, keys, shown, raw, reader: Some(reader) }
    }
}

impl Terminal {
    /// Types a text.
    pub fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Returns the current content of the screen.
    pub fn screen(&self) -> String {
        self.shown.lock().unwrap().screen().contents()
    }

    /// Waits until the content of the screen satisfies a condition.
    #[track_caller]
    pub fn shows(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if is_wanted(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < PATIENCE, "the screen never shows {what}:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the program ends.
    pub fn ends(mut self) -> Seen {
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let raw = self.raw.lock().unwrap().clone();
        let lines = plain(&raw).lines().map(str::to_owned).collect();
        Seen { code: status.code().unwrap_or(-1), raw, lines }
    }
}

/// Returns a text without escape sequences and without overwritten characters.
fn plain(raw: &str) -> String {
    let mut text = String::new();
    let mut rest = raw.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' if rest.peek() == Some(&'[') => {
                rest.next();
                while rest.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {}
            }
            c => text.push(c),
        }
    }
    // Text that a carriage return overwrites is not visible.
    let seen = |line: &str| line.trim_end_matches('\r').rsplit('\r').next().unwrap_or_default().to_owned();
    text.split('\n').map(seen).collect::<Vec<_>>().join("\n")
}

impl Seen {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        assert!(self.lines.iter().any(|line| line.contains(text)), "the terminal lacks {text:?}: {self:#?}");
        self
    }

    /// Returns the first cell of the row that contains a text.
    #[track_caller]
    pub fn first_cell(&self, text: &str) -> String {
        let row =
            self.lines.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {self:#?}"));
        row.split_whitespace().next().unwrap().to_owned()
    }
}
