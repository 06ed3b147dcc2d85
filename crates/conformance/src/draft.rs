//! Builds events for tests from the members that a test specifies.

use domain::{Document, Event, Limits};
use serde_json::{Value, json};

/// The entity that every draft's event names. A test uses it where the ordering key does not matter.
pub(crate) const HOME: (&str, &str) = ("home", "h4");

/// An event under construction. Its members are in the order of the JSON text.
#[derive(Debug, Clone)]
pub struct Draft {
    members: Vec<(String, Value)>,
}

impl Draft {
    /// Creates a draft with this id and the minimal members of an event.
    pub fn new(id: &str) -> Self {
        let members = [
            ("id", json!(id)),
            ("type", json!("user.registered")),
            ("version", json!("1.0")),
            ("timestamp", json!("2024-01-15T10:30:00Z")),
            ("source", json!("user-service")),
            ("metadata", json!({})),
        ];
        Self { members: members.map(|(name, value)| (name.to_owned(), value)).into() }
    }

    /// Sets a member. A new member is added at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        match self.members.iter_mut().find(|(existing, _)| existing == name) {
            Some((_, existing)) => *existing = value.into(),
            None => self.members.push((name.to_owned(), value.into())),
        }
        self
    }

    /// Sets the type.
    #[must_use]
    pub fn of_type(self, event_type: &str) -> Self {
        self.with("type", event_type)
    }

    /// Sets the timestamp.
    #[must_use]
    pub fn at(self, timestamp: &str) -> Self {
        self.with("timestamp", timestamp)
    }

    /// Returns the JSON without white space, with the members in their order.
    pub fn json(&self) -> String {
        let member = |(name, value): (String, Value)| format!("{}:{value}", json!(name));
        format!("{{{}}}", self.written().map(member).collect::<Vec<_>>().join(","))
    }

    /// Returns the same content in another spelling: members in reverse order, with white space, and every letter of
    /// each top-level string escaped.
    pub fn json_respelled(&self) -> String {
        let escaped = |text: &str| {
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            format!("\"{units}\"")
        };
        let member = |(name, value): (String, Value)| match value {
            Value::String(text) => format!(" {} :\r\n {}", escaped(&name), escaped(&text)),
            other => format!("{}\t:{other:#}", json!(name)),
        };
        let mut written: Vec<(String, Value)> = self.written().collect();
        written.reverse();
        format!("\n{{{}\n}} ", written.into_iter().map(member).collect::<Vec<_>>().join(","))
    }

    /// Returns the members, followed by [`HOME`].
    fn written(&self) -> impl Iterator<Item = (String, Value)> {
        let (kind, id) = HOME;
        self.members.iter().cloned().chain([(format!("{kind}Id"), json!(id))])
    }

    /// Returns the event.
    pub fn event(&self) -> Event {
        Self::parse(&self.json())
    }

    /// Returns the event with the same content in another spelling.
    pub fn event_respelled(&self) -> Event {
        Self::parse(&self.json_respelled())
    }

    /// Parses an event from JSON.
    pub fn parse(json: &str) -> Event {
        let document = Document::parse(json.as_bytes(), &Limits::default()).expect("a JSON object");
        document.into_event().expect("an event")
    }

    /// Returns events with the ids `PREFIX-0` to `PREFIX-(N-1)`.
    pub fn many(prefix: &str, count: usize) -> Vec<Event> {
        (0..count).map(|n| Self::new(&format!("{prefix}-{n}")).event()).collect()
    }
}
