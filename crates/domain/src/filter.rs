//! Filters: a filter selects events by conditions. An event matches if all conditions hold.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use thiserror::Error;

use crate::{condition::Condition, entity::Entity, event::Event};

/// A filter. An event matches if it matches every part. It matches a part if it matches one value of the part. An
/// empty part excludes nothing. The entities of one kind are one part: two users mean one or the other, a user and a
/// course mean both.
///
/// ```
/// use event_replay_domain::Filter;
/// let (from, to) = ("2024-01-01T00:00:00Z".parse()?, "2024-01-31T23:59:59Z".parse()?);
/// let filter = Filter::types(["course.*"]).between(from, to).entity("user", "user-123");
/// assert!(!filter.is_everything());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Event types, or patterns with `*`.
    pub types: Vec<TypePattern>,
    /// Sources.
    pub sources: BTreeSet<String>,
    /// Correlation ids.
    pub correlation_ids: BTreeSet<String>,
    /// Entity ids by kind.
    pub entities: BTreeMap<String, BTreeSet<String>>,
    /// Event ids.
    pub event_ids: HashSet<String>,
    /// Earliest timestamp of an event, inclusive.
    pub from: Option<Timestamp>,
    /// Latest timestamp of an event, inclusive.
    pub to: Option<Timestamp>,
    /// Condition on the content.
    pub condition: Option<Arc<dyn Condition>>,
}

impl PartialEq for Filter {
    /// Two conditions are equal if their texts are equal.
    fn eq(&self, other: &Self) -> bool {
        let Self { types, sources, correlation_ids, entities, event_ids, from, to, condition } = self;
        let text =
            |condition: &Option<Arc<dyn Condition>>| condition.as_ref().map(|own| own.text().to_owned());
        *types == other.types
            && *sources == other.sources
            && *correlation_ids == other.correlation_ids
            && *entities == other.entities
            && *event_ids == other.event_ids
            && (*from, *to) == (other.from, other.to)
            && text(condition) == text(&other.condition)
    }
}

impl Eq for Filter {}

/// Errors of a filter.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// The time range ends before it begins.
    #[error("the time range is empty: from {from} is after to {to}")]
    EmptyRange {
        /// Begin of the range.
        from: Timestamp,
        /// End of the range.
        to: Timestamp,
    },
    /// The text is not a filter in the JSON form that [`Filter`] writes.
    #[error("this is not a filter as this program writes them: {0}")]
    Unreadable(String),
    /// The condition of a written filter cannot be compiled.
    #[error("the condition {text:?} cannot be compiled: {reason}")]
    BadCondition {
        /// Text of the condition.
        text: String,
        /// Message of the compiler.
        reason: String,
    },
}

/// Compiles the text of a condition. The error is a message for people.
pub type Compile = dyn Fn(&str) -> Result<Arc<dyn Condition>, String> + Send + Sync;

/// The written form of a filter.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Written {
    types: Vec<TypePattern>,
    sources: BTreeSet<String>,
    correlation_ids: BTreeSet<String>,
    entities: BTreeMap<String, BTreeSet<String>>,
    event_ids: HashSet<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    #[serde(rename = "where")]
    condition: Option<String>,
}

impl Filter {
    /// Returns the filter of one correlation id.
    pub fn correlation(id: impl Into<String>) -> Self {
        Self { correlation_ids: BTreeSet::from([id.into()]), ..Self::default() }
    }

    /// Returns the filter of event types, or of patterns with `*`.
    pub fn types<T: AsRef<str>>(types: impl IntoIterator<Item = T>) -> Self {
        let types = types.into_iter().map(|pattern| TypePattern::new(pattern.as_ref())).collect();
        Self { types, ..Self::default() }
    }

    /// Restricts the filter to events that happened between two instants, both included.
    #[must_use]
    pub fn between(self, from: Timestamp, to: Timestamp) -> Self {
        self.since(from).through(to)
    }

    /// Restricts the filter to events that happened at this instant or later.
    #[must_use]
    pub fn since(mut self, from: Timestamp) -> Self {
        self.from = Some(from);
        self
    }

    /// Restricts the filter to events that happened at this instant or earlier.
    #[must_use]
    pub fn through(mut self, to: Timestamp) -> Self {
        self.to = Some(to);
        self
    }

    /// Restricts the filter to events that name this entity, such as `("user", "user-123")`. With several entities of
    /// one kind, an event must name one of them. With several kinds, it must name one entity of each kind.
    #[must_use]
    pub fn entity(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.add_entity(Entity::new(kind, id));
        self
    }

    /// Restricts the filter to events of this correlation id, in addition to the correlation ids that the filter has
    /// already.
    #[must_use]
    pub fn correlated(mut self, id: impl Into<String>) -> Self {
        self.correlation_ids.insert(id.into());
        self
    }

    /// Returns the filter of one entity.
    pub fn of_entity(entity: Entity) -> Self {
        Self { entities: BTreeMap::from([(entity.kind, BTreeSet::from([entity.id]))]), ..Self::default() }
    }

    /// Reads a filter from its written JSON. An unknown member is an error: a reader that ignored it would select
    /// more events.
    ///
    /// # Errors
    /// Returns [`FilterError::Unreadable`] when the text is not such JSON, and [`FilterError::BadCondition`] when its
    /// condition does not compile.
    pub fn from_json(json: &str, compile: &Compile) -> Result<Self, FilterError> {
        // Without this check, an array would be read as the members in order.
        if !json.starts_with('{') {
            return Err(FilterError::Unreadable("it is no JSON object".to_owned()));
        }
        let written: Written =
            serde_json::from_str(json).map_err(|error| FilterError::Unreadable(error.to_string()))?;
        let compiled = |text: String| {
            compile(&text).map_err(|reason| FilterError::BadCondition { text: text.clone(), reason })
        };
        Ok(Self {
            types: written.types,
            sources: written.sources,
            correlation_ids: written.correlation_ids,
            entities: written.entities,
            event_ids: written.event_ids,
            from: written.from,
            to: written.to,
            condition: written.condition.map(compiled).transpose()?,
        })
    }

    /// Adds an entity.
    pub fn add_entity(&mut self, entity: Entity) {
        self.entities.entry(entity.kind).or_default().insert(entity.id);
    }

    /// Returns whether every event matches.
    pub fn is_everything(&self) -> bool {
        self.types.is_empty()
            && self.sources.is_empty()
            && self.correlation_ids.is_empty()
            && self.entities.is_empty()
            && self.event_ids.is_empty()
            && self.from.is_none()
            && self.to.is_none()
            && self.condition.is_none()
    }

    /// Checks that an event can match.
    ///
    /// # Errors
    /// Returns [`FilterError::EmptyRange`] when the time range ends before it begins.
    pub fn check(&self) -> Result<(), FilterError> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from > to => Err(FilterError::EmptyRange { from, to }),
            _ => Ok(()),
        }
    }

    /// Returns whether an event matches. The indexes of every store must agree with this definition.
    pub fn matches(&self, event: &Event) -> bool {
        self.matches_envelope(event) && self.condition.as_ref().is_none_or(|condition| condition.holds(event))
    }

    fn matches_envelope(&self, event: &Event) -> bool {
        let in_range = self.from.is_none_or(|from| event.timestamp() >= from)
            && self.to.is_none_or(|to| event.timestamp() <= to);
        in_range
            && (self.types.is_empty() || self.types.iter().any(|pattern| pattern.matches(event.event_type())))
            && (self.sources.is_empty() || self.sources.contains(event.source()))
            && (self.correlation_ids.is_empty()
                || event.correlation_id().is_some_and(|id| self.correlation_ids.contains(id)))
            && (self.event_ids.is_empty() || self.event_ids.contains(event.id()))
            && self.entities.iter().all(|(kind, ids)| {
                event.entities().any(|(event_kind, id)| event_kind == kind && ids.contains(id))
            })
    }
}

impl Serialize for Filter {
    /// Writes a canonical form: it leaves out parts that exclude nothing, and sorts values.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.types.is_empty() {
            let types: BTreeSet<&str> = self.types.iter().map(TypePattern::as_str).collect();
            map.serialize_entry("types", &types)?;
        }
        if !self.sources.is_empty() {
            map.serialize_entry("sources", &self.sources)?;
        }
        if !self.correlation_ids.is_empty() {
            map.serialize_entry("correlationIds", &self.correlation_ids)?;
        }
        if !self.entities.is_empty() {
            map.serialize_entry("entities", &self.entities)?;
        }
        if !self.event_ids.is_empty() {
            map.serialize_entry("eventIds", &self.event_ids.iter().collect::<BTreeSet<_>>())?;
        }
        if let Some(from) = self.from {
            map.serialize_entry("from", &from)?;
        }
        if let Some(to) = self.to {
            map.serialize_entry("to", &to)?;
        }
        if let Some(condition) = &self.condition {
            map.serialize_entry("where", condition.text())?;
        }
        map.end()
    }
}

/// An event type, or a pattern. In a pattern, `*` stands for any run of characters, dots included: `user.*` matches
/// `user.registered` and `user.profile.updated`. A type that contains `*` matches its own text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TypePattern(String);

impl TypePattern {
    /// Returns the pattern with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the one type that the pattern matches, if the pattern has no `*`.
    pub fn exact(&self) -> Option<&str> {
        (!self.0.contains('*')).then_some(self.as_str())
    }

    /// Returns whether a type matches.
    ///
    /// ```
    /// use event_replay_domain::TypePattern;
    /// assert!(TypePattern::new("user.*").matches("user.profile.updated"));
    /// assert!(!TypePattern::new("user.*").matches("user"));
    /// assert!(TypePattern::new("*.created").matches("course.created"));
    /// ```
    pub fn matches(&self, event_type: &str) -> bool {
        if self.0 == event_type {
            return true;
        }
        let Some((prefix, rest)) = self.0.split_once('*') else { return false };
        let Some(mut text) = event_type.strip_prefix(prefix) else { return false };
        let mut pieces = rest.split('*').peekable();
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                return text.ends_with(piece);
            }
            // The earliest occurrence leaves the most text for the remaining pieces.
            match text.find(piece) {
                Some(at) => text = text.get(at + piece.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, event_type, expected) in [
            ("user.*", "user.registered", true),
            ("user.*", "user.", true),
            ("user.*", "superuser.x", false),
            ("*", "anything", true),
            ("*.completed", "lab.session.completed", true),
            ("lab.*.completed", "lab.session.completed", true),
            ("lab.*.completed", "lab.completed", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a*a", "a", false),
            ("a*b", "a*b", true),
            ("[x]?", "[x]?", true),
            ("[x]?", "xy", false),
        ] {
            assert_eq!(TypePattern::new(pattern).matches(event_type), expected, "{pattern} {event_type}");
        }
    }

    #[test]
    fn a_filter_writes_itself_in_one_canonical_way() {
        let mut filter = Filter::correlation("c");
        filter.types = vec![TypePattern::new("b"), TypePattern::new("a"), TypePattern::new("b")];
        filter.add_entity(Entity::new("user", "u2"));
        filter.add_entity(Entity::new("user", "u1"));
        filter.to = Some("2024-01-31T23:59:59Z".parse().unwrap());
        assert_eq!(
            serde_json::to_string(&filter).unwrap(),
            r#"{"types":["a","b"],"correlationIds":["c"],"entities":{"user":["u1","u2"]},"to":"2024-01-31T23:59:59Z"}"#
        );
    }

    #[derive(Debug)]
    struct Never(String);

    impl Condition for Never {
        fn text(&self) -> &str {
            &self.0
        }

        fn holds(&self, _: &Event) -> bool {
            false
        }
    }

    fn compile(text: &str) -> Result<Arc<dyn Condition>, String> {
        if text == "bad" { Err("no such function".to_owned()) } else { Ok(Arc::new(Never(text.to_owned()))) }
    }

    #[test]
    fn a_filter_comes_back_from_its_own_text() {
        let mut full = Filter::correlation("c\"\n");
        full.types = vec![TypePattern::new("a.*"), TypePattern::new("b")];
        full.sources = BTreeSet::from(["s".to_owned()]);
        full.event_ids = HashSet::from(["e2".to_owned(), "e1".to_owned()]);
        full.add_entity(Entity::new("user", "u2"));
        full.add_entity(Entity::new("user", "ü1"));
        full.add_entity(Entity::new("where", "w"));
        full.from = Some("2024-01-01T00:00:00.000000001Z".parse().unwrap());
        full.to = Some("2024-01-31T23:59:59Z".parse().unwrap());
        full.condition = Some(Arc::new(Never("data.n > 1 && data.s == \"x\"".to_owned())));
        for filter in [Filter::default(), Filter::of_entity(Entity::new("user", "u")), full] {
            let text = serde_json::to_string(&filter).unwrap();
            let again = Filter::from_json(&text, &compile).unwrap();
            assert_eq!(serde_json::to_string(&again).unwrap(), text);
            assert_eq!(again.is_everything(), filter.is_everything());
        }
    }

    #[test]
    fn a_text_that_is_no_filter_is_refused_and_never_widened() {
        for text in ["", "[]", r#"{"typos":["a"]}"#, r#"{"types":"a"}"#, r#"{"from":"yesterday"}"#] {
            let refused = Filter::from_json(text, &compile);
            assert!(matches!(refused, Err(FilterError::Unreadable(_))), "{text}");
        }
        let refused = Filter::from_json(r#"{"where":"bad"}"#, &compile).unwrap_err();
        assert_eq!(refused.to_string(), r#"the condition "bad" cannot be compiled: no such function"#);
    }
}
