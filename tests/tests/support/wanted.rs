//! A filter in a format of the tests, and an oracle for its matches. The oracle reads only the input.

use std::{collections::BTreeMap, sync::Arc};

use domain::{Entity, Filter, TypePattern};
use jiff::Timestamp;
use serde_json::Value;

/// A filter in a format of the tests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    types: Vec<String>,
    sources: Vec<String>,
    correlations: Vec<String>,
    entities: Vec<(String, String)>,
    ids: Vec<String>,
    from: Option<String>,
    to: Option<String>,
    condition: Option<Question>,
    pub(crate) limit: Option<usize>,
}

/// A CEL condition, and its meaning as a function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    text: &'static str,
    answer: fn(&Value) -> bool,
}

const QUESTIONS: &[Question] = &[
    Question {
        text: "data.amount > 100.0",
        answer: |event| event["data"]["amount"].as_f64().is_some_and(|n| n > 100.0),
    },
    Question {
        text: "data.status == 'active' || data.action == 'created'",
        answer: |event| event["data"]["status"] == "active" || event["data"]["action"] == "created",
    },
    Question { text: "has(data.sender)", answer: |event| event["data"].get("sender").is_some() },
    Question {
        text: "source.endsWith('-service')",
        answer: |event| event["source"].as_str().unwrap().ends_with("-service"),
    },
];

/// An event of the oracle: its parsed input and its time.
pub(crate) struct Line {
    pub(crate) id: String,
    /// The published text.
    pub(crate) json: String,
    pub(crate) event: Value,
    pub(crate) at: Timestamp,
}

impl Line {
    /// Parses a line of the input.
    pub(crate) fn read(json: &str) -> Self {
        let event: Value = serde_json::from_str(json).unwrap();
        let at = event["timestamp"].as_str().unwrap().parse().unwrap();
        Self { id: event["id"].as_str().unwrap().to_owned(), json: json.to_owned(), event, at }
    }
}

impl Wanted {
    pub(crate) fn draw(random: &mut fastrand::Rng, lines: &[Line]) -> Self {
        let mut wanted = Self::default();
        let text = |line: &Line, member: &str| line.event[member].as_str().map(str::to_owned);
        let some = |random: &mut fastrand::Rng| random.u8(..10) < 3;
        let mut line = {
            let mut random = random.fork();
            move || random.choice(lines).unwrap()
        };
        if some(random) {
            for _ in 0..random.usize(1..4) {
                let event_type = text(line(), "type").unwrap();
                let (first, _) = event_type.split_once('.').unwrap_or((&event_type, ""));
                let last = event_type.rsplit('.').next().unwrap();
                wanted.types.push(match random.u8(..5) {
                    0 => format!("{first}.*"),
                    1 => format!("*.{last}"),
                    2 => "no.such.type".to_owned(),
                    _ => event_type.clone(),
                });
            }
        }
        if some(random) {
            wanted.sources.extend((0..random.usize(1..3)).filter_map(|_| text(line(), "source")));
        }
        if some(random) {
            wanted
                .correlations
                .extend((0..random.usize(1..30)).filter_map(|_| text(line(), "correlationId")));
        }
        if some(random) {
            for _ in 0..random.usize(1..4) {
                wanted.entities.extend(entities(&line().event).choose_some(random));
            }
        }
        if random.u8(..10) == 0 {
            wanted.ids.extend((0..random.usize(1..200)).map(|_| line().id.clone()));
        }
        if some(random) {
            wanted.from = text(line(), "timestamp");
        }
        if some(random) {
            wanted.to = text(line(), "timestamp");
        }
        if let (Some(from), Some(to)) = (&wanted.from, &wanted.to)
            && from.parse::<Timestamp>().unwrap() > to.parse().unwrap()
        {
            std::mem::swap(&mut wanted.from, &mut wanted.to);
        }
        if random.u8(..10) < 2 {
            wanted.condition = random.choice(QUESTIONS).copied();
        }
        if random.bool() {
            wanted.limit = Some(random.usize(1..500));
        }
        wanted
    }

    /// The definition of a match, on parsed JSON.
    pub(crate) fn accepts(&self, line: &Line) -> bool {
        let one_of = |allowed: &[String], member: &str| {
            allowed.is_empty()
                || line.event[member].as_str().is_some_and(|text| allowed.iter().any(|one| one == text))
        };
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (kind, id) in &self.entities {
            kinds.entry(kind).or_default().push(id);
        }
        let bound = |text: &Option<String>| text.as_ref().map(|text| text.parse::<Timestamp>().unwrap());
        let event_type: Vec<char> = line.event["type"].as_str().unwrap().chars().collect();
        (self.types.is_empty()
            || self.types.iter().any(|pattern| glob(&pattern.chars().collect::<Vec<_>>(), &event_type)))
            && one_of(&self.sources, "source")
            && one_of(&self.correlations, "correlationId")
            && one_of(&self.ids, "id")
            && kinds.iter().all(|(kind, ids)| {
                line.event[format!("{kind}Id")].as_str().is_some_and(|id| ids.contains(&id))
            })
            && bound(&self.from).is_none_or(|from| line.at >= from)
            && bound(&self.to).is_none_or(|to| line.at <= to)
            && self.condition.is_none_or(|question| (question.answer)(&line.event))
    }

    pub(crate) fn filter(&self) -> Arc<Filter> {
        let bound = |text: &Option<String>| text.as_ref().map(|text| text.parse().unwrap());
        let mut filter = Filter {
            types: self.types.iter().map(TypePattern::new).collect(),
            sources: self.sources.iter().cloned().collect(),
            correlation_ids: self.correlations.iter().cloned().collect(),
            event_ids: self.ids.iter().cloned().collect(),
            from: bound(&self.from),
            to: bound(&self.to),
            condition: self.condition.map(|question| conditions::compile(question.text).unwrap()),
            ..Filter::default()
        };
        for (kind, id) in &self.entities {
            filter.add_entity(Entity::new(kind, id));
        }
        Arc::new(filter)
    }

    /// Returns the same filter as flags of the program.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: &str| flags.push(format!("{flag}={value}"));
        self.types.iter().for_each(|one| add("--type", one));
        self.sources.iter().for_each(|one| add("--source", one));
        self.correlations.iter().for_each(|one| add("--correlation-id", one));
        for (kind, id) in &self.entities {
            match kind.as_str() {
                "user" | "course" | "lab" => add(&format!("--{kind}-id"), id),
                _ => add("--entity", &format!("{kind}={id}")),
            }
        }
        self.ids.iter().for_each(|one| add("--event-id", one));
        self.from.iter().for_each(|one| add("--from", one));
        self.to.iter().for_each(|one| add("--to", one));
        self.condition.iter().for_each(|question| add("--where", question.text));
        flags
    }
}

/// Returns the entities by the rule of the event format: top-level members with a text value whose names end in `Id`.
fn entities(event: &Value) -> Vec<(String, String)> {
    let members = event.as_object().unwrap().iter();
    members
        .filter(|(name, _)| !["correlationId", "causationId"].contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.strip_suffix("Id")?.to_owned(), value.as_str()?.to_owned())))
        .collect()
}

trait ChooseSome {
    fn choose_some(self, random: &mut fastrand::Rng) -> Vec<(String, String)>;
}

impl ChooseSome for Vec<(String, String)> {
    fn choose_some(mut self, random: &mut fastrand::Rng) -> Vec<(String, String)> {
        if self.is_empty() { self } else { vec![self.swap_remove(random.usize(..self.len()))] }
    }
}

fn glob(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        [one, rest @ ..] => text.first() == Some(one) && glob(rest, &text[1..]),
    }
}
