//! The filter of a request: the parameters that every route about events accepts.

use domain::{Entity, Filter};
use event_replay::{
    app::{bounds::BoundsRequest, filter::FilterRequest},
    text::{name, time},
};
use serde::Deserialize;

use crate::{
    problem::Problem,
    query::{Parameter, Query, bad},
    shape::{Member, Shape},
};

/// The filter parameters, for the table of routes.
macro_rules! filter_parameters {
    ($($more:expr),* $(,)?) => {
        &[
            $crate::resources::filter::TYPE,
            $crate::resources::filter::SOURCE,
            $crate::resources::filter::CORRELATION_ID,
            $crate::resources::filter::USER_ID,
            $crate::resources::filter::COURSE_ID,
            $crate::resources::filter::LAB_ID,
            $crate::resources::filter::ENTITY,
            $crate::resources::filter::EVENT_ID,
            $crate::resources::filter::WHERE,
            $crate::resources::filter::FROM,
            $crate::resources::filter::TO,
            $($more,)*
        ]
    };
}
pub(crate) use filter_parameters;

pub(crate) const TYPE: Parameter =
    Parameter::repeated("type", Shape::Name, "Events of this type; * stands for any characters.");
pub(crate) const SOURCE: Parameter =
    Parameter::repeated("source", Shape::Name, "Events that this service published.");
pub(crate) const CORRELATION_ID: Parameter =
    Parameter::repeated("correlationId", Shape::Name, "Events of this workflow.");
pub(crate) const USER_ID: Parameter =
    Parameter::repeated("userId", Shape::Name, "Events that name this user.");
pub(crate) const COURSE_ID: Parameter =
    Parameter::repeated("courseId", Shape::Name, "Events that name this course.");
pub(crate) const LAB_ID: Parameter = Parameter::repeated("labId", Shape::Name, "Events that name this lab.");
pub(crate) const ENTITY: Parameter =
    Parameter::repeated("entity", Shape::Entity, "Events that name any entity, written KIND=ID.");
pub(crate) const EVENT_ID: Parameter = Parameter::repeated("eventId", Shape::Name, "The event of this id.");
pub(crate) const WHERE: Parameter = Parameter::repeated(
    "where",
    Shape::Condition,
    "Events whose content satisfies a CEL expression; several are ANDed.",
);
pub(crate) const FROM: Parameter =
    Parameter::new("from", Shape::Time, "Events that happened at or after this time.");
pub(crate) const TO: Parameter =
    Parameter::new("to", Shape::Time, "Events that happened at or before this time.");

/// The query parameter of the event after which a selection begins.
pub(crate) const AFTER_EVENT: Parameter =
    Parameter::new("afterEvent", Shape::Name, "Events after this one in the log: its id, or a position.");
/// The query parameter of the event at which a selection ends.
pub(crate) const UNTIL_EVENT: Parameter =
    Parameter::new("untilEvent", Shape::Name, "Events up to this one in the log: its id, or a position.");
/// The same in a body.
pub(crate) const AFTER_EVENT_MEMBER: Member = Member::new(AFTER_EVENT.name, AFTER_EVENT.shape);
pub(crate) const UNTIL_EVENT_MEMBER: Member = Member::new(UNTIL_EVENT.name, UNTIL_EVENT.shape);

/// Returns the bounds by events for the parameters of a query.
pub(crate) fn bounds_of_query(query: &Query) -> Result<BoundsRequest, Problem> {
    let event = |parameter: Parameter| query.read(parameter.name, name::name);
    Ok(BoundsRequest { after: event(AFTER_EVENT)?, until: event(UNTIL_EVENT)? })
}

/// Returns the filter for the parameters of a query.
pub(crate) fn of_query(query: &Query) -> Result<Filter, Problem> {
    let mut entities = query.all("entity", name::entity)?;
    for (parameter, kind) in [("userId", "user"), ("courseId", "course"), ("labId", "lab")] {
        entities.extend(query.all(parameter, name::name)?.iter().map(|id| Entity::new(kind, id)));
    }
    let request = FilterRequest {
        types: query.all("type", name::name)?,
        sources: query.all("source", name::name)?,
        correlation_ids: query.all("correlationId", name::name)?,
        entities,
        event_ids: query.all("eventId", name::name)?,
        conditions: query.all("where", |text| Ok(text.to_owned()))?,
        from: query.read("from", time::point)?,
        to: query.read("to", time::point)?,
    };
    Ok(request.filter()?)
}

/// The filter in a body. Each member is a string or a list of strings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct FilterBody {
    #[serde(rename = "type")]
    types: Texts,
    source: Texts,
    correlation_id: Texts,
    user_id: Texts,
    course_id: Texts,
    lab_id: Texts,
    entity: Texts,
    event_id: Texts,
    #[serde(rename = "where")]
    conditions: Texts,
    from: Option<String>,
    to: Option<String>,
}

/// The members of a filter in a body, together with further members.
macro_rules! filter_members {
    ($($more:expr),* $(,)?) => {
        &[
            $crate::shape::Member::new("type", $crate::resources::filter::NAMES),
            $crate::shape::Member::new("source", $crate::resources::filter::NAMES),
            $crate::shape::Member::new("correlationId", $crate::resources::filter::NAMES),
            $crate::shape::Member::new("userId", $crate::resources::filter::NAMES),
            $crate::shape::Member::new("courseId", $crate::resources::filter::NAMES),
            $crate::shape::Member::new("labId", $crate::resources::filter::NAMES),
            $crate::shape::Member::new("entity", $crate::resources::filter::ENTITIES),
            $crate::shape::Member::new("eventId", $crate::resources::filter::NAMES),
            $crate::shape::Member::new("where", $crate::resources::filter::CONDITIONS),
            $crate::shape::Member::new("from", $crate::shape::Shape::Time),
            $crate::shape::Member::new("to", $crate::shape::Shape::Time),
            $($more,)*
        ]
    };
}
pub(crate) use filter_members;

/// The shape of one name or several.
pub(crate) const NAMES: Shape = Shape::Several(&Shape::Name);
/// The shape of one entity or several.
pub(crate) const ENTITIES: Shape = Shape::Several(&Shape::Entity);
/// The shape of one condition or several.
pub(crate) const CONDITIONS: Shape = Shape::Several(&Shape::Condition);

/// One string, or a list of strings.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Texts {
    /// One string.
    One(String),
    /// A list of any length.
    Many(Vec<String>),
}

impl Default for Texts {
    fn default() -> Self {
        Self::Many(vec![])
    }
}

impl Texts {
    /// Returns all strings.
    pub(crate) fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }

    /// Parses all strings.
    pub(crate) fn read<T>(
        &self,
        member: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Problem> {
        self.all().iter().map(|text| read(text).map_err(|error| bad(member, &error))).collect()
    }
}

impl FilterBody {
    /// Returns the filter.
    pub(crate) fn filter(&self) -> Result<Filter, Problem> {
        let mut entities = self.entity.read("entity", name::entity)?;
        for (member, kind, ids) in [
            ("userId", "user", &self.user_id),
            ("courseId", "course", &self.course_id),
            ("labId", "lab", &self.lab_id),
        ] {
            entities.extend(ids.read(member, name::name)?.iter().map(|id| Entity::new(kind, id)));
        }
        let point = |member: &str, text: &Option<String>| {
            text.as_deref().map(|text| time::point(text).map_err(|error| bad(member, &error))).transpose()
        };
        let request = FilterRequest {
            types: self.types.read("type", name::name)?,
            sources: self.source.read("source", name::name)?,
            correlation_ids: self.correlation_id.read("correlationId", name::name)?,
            entities,
            event_ids: self.event_id.read("eventId", name::name)?,
            conditions: self.conditions.all().to_vec(),
            from: point("from", &self.from)?,
            to: point("to", &self.to)?,
        };
        Ok(request.filter()?)
    }
}

/// Parses the maximum number of rows in a page.
pub(crate) fn limit(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number @ 1..=MAX_LIMIT) => Ok(number),
        _ => Err(format!("a limit is a whole number from 1 to {MAX_LIMIT}")),
    }
}

/// Upper bound of the `limit` parameter.
pub(crate) const MAX_LIMIT: u64 = 1000;
/// Default number of rows in a page, as on the command line.
pub(crate) const DEFAULT_LIMIT: u64 = 20;

/// The query parameter that limits the rows of a page.
pub(crate) const LIMIT: Parameter = Parameter::new(
    "limit",
    Shape::Whole(1, MAX_LIMIT),
    "At most this many, 1 to 1000; 20 where nothing is said.",
);
