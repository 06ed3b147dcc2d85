//! Guarded writes: changes that were decided on what was read, done in one step if that is still so.

use domain::StorageFailure;
use redis::{Cmd, ToRedisArgs, Value};

use crate::{failure::shape, functions, link::Link};

/// A guarded write to one partition: all of it is done, or nothing.
///
/// Rights and types are checked by the server before the first command, so that no command fails after another was done.
#[derive(Debug, Default, Clone)]
pub(crate) struct Write {
    keys: Vec<String>,
    guards: Vec<[Vec<u8>; 4]>,
    commands: Vec<Vec<Vec<u8>>>,
    fenced: bool,
    /// Whether it is done where the server's memory is full, although a command of it writes something.
    urgent: bool,
}

/// Commands that only take away.
const REMOVING: &[&[u8]] = &[b"HDEL", b"DEL", b"ZREM", b"SREM", b"LREM", b"LTRIM"];

/// What became of a guarded write.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Written {
    /// It is done; what each command answered.
    Done(Vec<Value>),
    /// This guard, counted from 0, did not hold; nothing was changed.
    Refused(usize),
    /// The server is another than it was and the log epoch was raised; nothing else was changed.
    Moved,
}

impl Write {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Refuses the write, and raises the log epoch, where the server may have lost something since the last write.
    pub(crate) fn fenced(&mut self) -> &mut Self {
        self.fenced = true;
        self
    }

    /// Does the write also where the server's memory is full: for what puts something short in the place of something
    /// else. What only takes away needs no word: it is the way out of a full server.
    pub(crate) fn even_when_full(&mut self) -> &mut Self {
        self.urgent = true;
        self
    }

    /// Only if a field of a hash has this value.
    pub(crate) fn if_is(&mut self, key: &str, field: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> &mut Self {
        self.guard("is", key, field.as_ref(), value.as_ref())
    }

    /// Only if a hash has no such field.
    pub(crate) fn if_absent(&mut self, key: &str, field: impl AsRef<[u8]>) -> &mut Self {
        self.guard("absent", key, field.as_ref(), b"")
    }

    /// Only if a field is as it was read: has this value, or is absent.
    pub(crate) fn if_still(&mut self, key: &str, field: impl AsRef<[u8]>, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(value) => self.if_is(key, field, value),
            None => self.if_absent(key, field),
        }
    }

    /// Only if a field of a hash has the number of the partition's log epoch.
    pub(crate) fn if_of_this_epoch(&mut self, key: &str, field: &str) -> &mut Self {
        self.guard("epoch", key, field.as_bytes(), b"")
    }

    /// Only if a key does not exist.
    pub(crate) fn if_none(&mut self, key: &str) -> &mut Self {
        self.guard("none", key, b"", b"")
    }

    fn guard(&mut self, kind: &str, key: &str, field: &[u8], value: &[u8]) -> &mut Self {
        let key = self.place(key);
        self.guards.push([kind.into(), key, field.into(), value.into()]);
        self
    }

    /// Adds a command: its name, its key, its further arguments. One of those that `write.lua` knows the type of, or `DEL`.
    pub(crate) fn command(&mut self, name: &str, key: &str, args: impl ToRedisArgs) -> &mut Self {
        let args = args.to_redis_args();
        let mut command = vec![name.into(), self.place(key), args.len().to_string().into_bytes()];
        command.extend(args);
        self.commands.push(command);
        self
    }

    /// Sets a field of a hash.
    pub(crate) fn hset(&mut self, key: &str, field: impl ToRedisArgs, value: impl ToRedisArgs) -> &mut Self {
        self.command("HSET", key, (field, value))
    }

    /// Removes a field of a hash.
    pub(crate) fn hdel(&mut self, key: &str, field: impl ToRedisArgs) -> &mut Self {
        self.command("HDEL", key, field)
    }

    /// Removes a key.
    pub(crate) fn del(&mut self, key: &str) -> &mut Self {
        let empty: &[&[u8]] = &[];
        self.command("DEL", key, empty)
    }

    /// The function that does it.
    fn function(&self) -> &'static str {
        let removes =
            |command: &Vec<Vec<u8>>| command.first().is_some_and(|name| REMOVING.contains(&&name[..]));
        if self.urgent || self.commands.iter().all(removes) { "free" } else { "write" }
    }

    /// Whether it would change nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    fn place(&mut self, key: &str) -> Vec<u8> {
        let at = self.keys.iter().position(|known| known == key).unwrap_or_else(|| {
            self.keys.push(key.to_owned());
            self.keys.len() - 1
        });
        (at + 1).to_string().into_bytes()
    }

    /// Its keys, in the order of their places; places begin after `before` other keys.
    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Its arguments, with every place moved by the number of keys that stand before its own.
    pub(crate) fn args_after(&self, before: usize) -> Vec<Vec<u8>> {
        let moved = |place: &[u8]| {
            let place: usize =
                std::str::from_utf8(place).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            (place + before).to_string().into_bytes()
        };
        let mut args = vec![self.guards.len().to_string().into_bytes()];
        for [kind, key, field, value] in &self.guards {
            args.extend([kind.clone(), moved(key), field.clone(), value.clone()]);
        }
        for command in &self.commands {
            for (at, arg) in command.iter().enumerate() {
                args.push(if at == 1 { moved(arg) } else { arg.clone() });
            }
        }
        args
    }

    /// Does it.
    ///
    /// # Errors
    /// After [`StorageFailure::Unknown`] it is wholly done or not at all.
    pub(crate) async fn run(&self, link: &Link, meta: &str) -> Result<Written, StorageFailure> {
        read_answer(link.call_command(&self.call(meta)).await?)
    }

    /// The call that does it.
    pub(crate) fn call(&self, meta: &str) -> Cmd {
        let mut command = Cmd::new();
        command.arg("FCALL").arg(functions::name(self.function())).arg(self.keys.len() + 1).arg(meta);
        for key in &self.keys {
            command.arg(key);
        }
        command.arg(if self.fenced { "1" } else { "0" });
        for arg in self.args_after(1) {
            command.arg(arg);
        }
        command
    }
}

/// What became of it, as the call answers.
pub(crate) fn read_answer(answer: Value) -> Result<Written, StorageFailure> {
    let Value::Array(parts) = answer else { return Err(shape("a write")) };
    let mut parts = parts.into_iter();
    match (parts.next().as_ref().and_then(text), parts.next()) {
        (Some("ok"), Some(Value::Array(answers))) => Ok(Written::Done(answers)),
        (Some("refused"), Some(Value::Int(guard))) => Ok(Written::Refused((guard - 1).max(0) as usize)),
        (Some("moved"), _) => Ok(Written::Moved),
        _ => Err(shape("a write")),
    }
}

/// A text in an answer.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
