//! The table of all routes of the API.

use domain::token::Role;

use crate::{
    call::Handler,
    openapi,
    query::Parameter,
    resources::{
        audit, checkpoints, consuming, dead_letters, erasures, events,
        filter::{AFTER_EVENT, LIMIT, UNTIL_EVENT, filter_parameters},
        groups, health, kept_plans, metrics, plans, publish, redrives, replays, revisions, scheduled,
        schemas, stats, stream, tokens, traces, trims,
    },
    shape::{Member, Shape},
};

/// The method of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The route reads only.
    Get,
    /// The route creates or changes a resource.
    Post,
    /// The route removes a resource.
    Delete,
}

impl Verb {
    /// The method as in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// A body that a route accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A JSON object with these members.
    Object(&'static [Member]),
    /// A JSON array of objects with these members, of at most this length.
    List(&'static [Member], usize),
    /// Events: one event, an array, or one event per line.
    Events,
}

/// A media type of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The media type.
    pub media: &'static str,
    /// The JSON type of the content. `None` means that the content is not JSON, or is JSON of any type.
    pub kind: Option<&'static str>,
}

/// A way from an answer of one route to other routes: the answer has the value of a placeholder of their paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The path of the other routes. Routes below the path are meant, too.
    pub path: &'static str,
    /// A JSON pointer to the value of the last placeholder of the path.
    pub pointer: &'static str,
}

/// A route.
#[derive(Clone, Copy)]
pub struct Route {
    /// The HTTP method.
    pub verb: Verb,
    /// The path below the base path. `{name}` is a placeholder for one segment of the path.
    pub path: &'static str,
    /// The effect of the route, in one sentence.
    pub about: &'static str,
    /// The accepted query parameters. Any other parameter is refused.
    pub query: &'static [Parameter],
    /// The role that the token of the client must have. `None` means that the route is open to every client.
    pub needs: Option<Role>,
    /// The accepted body.
    pub body: Option<Taken>,
    /// The statuses of the answers with a document.
    pub statuses: &'static [u16],
    /// The media types of these answers. The header `Accept` chooses one.
    pub gives: &'static [Content],
    /// The routes that use a part of these answers.
    pub links: &'static [Link],
    /// Whether the response is a stream without a time limit.
    pub streams: bool,
    /// Whether the responses are never kept for a repeat of the request.
    pub forgets: bool,
    /// The members of the document that make the entity tag of the resource. None: there is no tag. Empty: the whole document.
    pub tagged: Option<&'static [&'static str]>,
    pub(crate) run: Handler,
}

impl Route {
    /// Whether the route changes the store. The method decides this.
    pub fn changes(&self) -> bool {
        self.verb != Verb::Get
    }

    /// Whether the route supports idempotency keys: a repeat with the same key gets the recorded response.
    pub fn keeps_answers(&self) -> bool {
        self.verb == Verb::Post && !self.forgets
    }

    const fn new(
        verb: Verb,
        needs: Option<Role>,
        path: &'static str,
        about: &'static str,
        run: Handler,
    ) -> Self {
        Self {
            verb,
            path,
            about,
            needs,
            query: &[],
            body: None,
            statuses: &[200],
            gives: &[OBJECT],
            links: &[],
            streams: false,
            forgets: false,
            tagged: None,
            run,
        }
    }

    const fn get(needs: Option<Role>, path: &'static str, about: &'static str, run: Handler) -> Self {
        Self::new(Verb::Get, needs, path, about, run)
    }

    const fn post(needs: Option<Role>, path: &'static str, about: &'static str, run: Handler) -> Self {
        Self::new(Verb::Post, needs, path, about, run)
    }

    const fn delete(needs: Option<Role>, path: &'static str, about: &'static str, run: Handler) -> Self {
        Self::new(Verb::Delete, needs, path, about, run)
    }

    const fn query(self, query: &'static [Parameter]) -> Self {
        Self { query, ..self }
    }

    const fn takes(self, body: Taken) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn object(self, members: &'static [Member]) -> Self {
        self.takes(Taken::Object(members))
    }

    const fn statuses(self, statuses: &'static [u16]) -> Self {
        Self { statuses, ..self }
    }

    const fn gives(self, gives: &'static [Content]) -> Self {
        Self { gives, ..self }
    }

    const fn links(self, links: &'static [Link]) -> Self {
        Self { links, ..self }
    }

    /// Marks a route whose responses are not kept: a repeat is safe without a kept response, or the response is secret.
    const fn forgets(self) -> Self {
        Self { forgets: true, ..self }
    }

    /// Gives the document an entity tag of these members, or of all members.
    const fn tagged(self, members: &'static [&'static str]) -> Self {
        Self { tagged: Some(members), ..self }
    }

    /// Returns the route that shows the resource that this route changes, if that resource has an entity tag.
    pub fn resource(&self) -> Option<&'static Route> {
        ROUTES.iter().filter(|route| route.tagged.is_some()).find(|route| {
            let rest = self.path.strip_prefix(route.path);
            // A fetch and a settlement of deliveries change no setting of the group.
            self.changes()
                && !self.forgets
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    const fn streams(self) -> Self {
        Self { streams: true, ..self }
    }
}

const OPEN: Option<Role> = None;
const READ: Option<Role> = Some(Role::Read);
const CONTENT: Option<Role> = Some(Role::Content);
const PUBLISH: Option<Role> = Some(Role::Publish);
const CONSUME: Option<Role> = Some(Role::Consume);
const OPERATE: Option<Role> = Some(Role::Operate);
const APPROVE: Option<Role> = Some(Role::Approve);
const ADMIN: Option<Role> = Some(Role::Admin);

/// A handler for the table.
macro_rules! run {
    ($handler:path) => {
        |call| Box::pin($handler(call))
    };
}

const fn json(kind: &'static str) -> Content {
    Content { media: "application/json", kind: Some(kind) }
}

const fn other(media: &'static str) -> Content {
    Content { media, kind: None }
}

const fn link(path: &'static str, pointer: &'static str) -> Link {
    Link { path, pointer }
}

const OBJECT: Content = json("object");
const ARRAY: Content = json("array");
const LINES: Content = other("application/x-ndjson");
const STREAM: Content = other("text/event-stream");
const TEXT: Content = other("text/plain");
const MARKDOWN: Content = other("text/markdown");
/// A JSON document of any type.
const DOCUMENT: Content = other("application/json");
/// A list: one JSON array, or one row per line.
const LIST: &[Content] = &[ARRAY, LINES];
/// A list in an object, or one row per line.
const PAGE: &[Content] = &[OBJECT, LINES];
/// An event as a CloudEvent in binary mode has the media type of its data.
const EVENT: &[Content] =
    &[OBJECT, Content { media: "application/cloudevents+json", kind: Some("object") }, other("*/*")];
const EVENTS: &[Content] =
    &[OBJECT, LINES, Content { media: "application/cloudevents-batch+json", kind: Some("array") }];

const TO_EVENT: &[Link] = &[
    link("/v1/events/{id}", "/events/0/event/id"),
    link("/v1/correlations/{id}/trace", "/events/0/event/correlationId"),
];
const TO_FIRST_GROUP: &[Link] = &[link("/v1/groups/{group}", "/0/name")];
const TO_GROUP: &[Link] = &[link("/v1/groups/{group}", "/name")];
const TO_LETTER: &[Link] = &[link("/v1/dead-letters/{id}", "/deadLetters/0/id")];
const TO_PLAN: &[Link] = &[link("/v1/kept-plans/{id}", "/id")];
const TO_REPLAY: &[Link] = &[link("/v1/replays/{id}", "/replayId")];
const TO_CHECKPOINT: &[Link] = &[link("/v1/checkpoints/{checkpoint}", "/id")];
const TO_SCHEMA: &[Link] = &[link("/v1/schemas/{type}", "/eventType")];
const TO_FIRST_PLAN: &[Link] = &[link("/v1/kept-plans/{id}", "/0/id")];
const TO_FIRST_REPLAY: &[Link] = &[link("/v1/replays/{id}", "/0/id")];
const TO_FIRST_CHECKPOINT: &[Link] = &[link("/v1/checkpoints/{checkpoint}", "/0/id")];
const TO_FIRST_TOKEN: &[Link] = &[link("/v1/tokens/{token}", "/0/id")];
const TO_SCHEDULED: &[Link] = &[link("/v1/scheduled/{id}", "/scheduled/0/event/id")];
const TO_TOKEN: &[Link] = &[link("/v1/tokens/{token}", "/id")];

const AFTER: Parameter =
    Parameter::new("after", Shape::Cursor, "Continue after a page: the nextCursor that it returned.");
const AFTER_LETTER: Parameter = Parameter { shape: Shape::Name, ..AFTER };
const ORDER: Parameter = Parameter::new(
    "order",
    Shape::Word(&["asc", "desc"]),
    "asc: the oldest first; desc: the newest first, by position in the log. desc where nothing is said.",
);
const VERSION: Parameter = Parameter::new(
    "version",
    Shape::Name,
    "The event version; without it, the schema that serves every version.",
);
const GROUP: Parameter = Parameter::new("group", Shape::Group, "Dead letters of this group.");
const FINGERPRINT: Parameter =
    Parameter::repeated("fingerprint", Shape::Name, "Dead letters of this fingerprint.");
const STATE: Parameter = Parameter::repeated(
    "state",
    Shape::Word(&["open", "redriving", "handled", "discarded", "all"]),
    "In these states: open, redriving, handled, discarded, all. Open and redriving where nothing is said.",
);
const TO: Parameter = Parameter::required("to", Shape::Name, "The other checkpoint, by name or id.");

/// All routes.
pub static ROUTES: &[Route] = &[
    Route::get(OPEN, "/livez", "Answers as long as the process does.", run!(health::live)).gives(&[TEXT]),
    Route::get(OPEN, "/readyz", "Answers 200 when the store answers.", run!(health::ready)).gives(&[TEXT]),
    Route::get(OPEN, "/problems/{code}", "Says what a problem means.", run!(health::problem))
        .gives(&[MARKDOWN]),
    Route::get(OPEN, "/openapi.json", "Describes the API.", run!(openapi::show)),
    Route::post(PUBLISH, "/v1/events", "Publishes events.", run!(publish::publish))
        .query(publish::PARAMETERS)
        .takes(Taken::Events)
        .forgets()
        .statuses(&[200, 201, 202]),
    Route::get(CONTENT, "/v1/events", "Finds events.", run!(events::list))
        .query(filter_parameters![AFTER_EVENT, UNTIL_EVENT, LIMIT, AFTER, ORDER])
        .streams()
        .gives(EVENTS)
        .links(TO_EVENT),
    Route::get(READ, "/v1/events/histogram", "Counts events over time.", run!(stats::histogram))
        .query(filter_parameters![AFTER_EVENT, UNTIL_EVENT, stats::INTERVAL, stats::BY]),
    Route::get(CONTENT, "/v1/events/stream", "Follows events as they come.", run!(stream::follow))
        .query(filter_parameters![AFTER])
        .streams()
        .gives(&[STREAM]),
    Route::get(CONTENT, "/v1/events/{id}", "Shows an event.", run!(events::show))
        .query(&[events::CLOUDEVENT])
        .statuses(&[200, 204])
        .gives(EVENT),
    Route::get(
        READ,
        "/v1/events/{id}/deliveries",
        "Shows what each group did with an event.",
        run!(events::deliveries),
    ),
    Route::get(READ, "/v1/correlations/{id}/trace", "Draws the tree of a workflow.", run!(traces::show))
        .query(&[traces::LIMIT])
        .gives(PAGE),
    Route::get(READ, "/v1/groups", "Lists consumer groups.", run!(groups::list))
        .gives(LIST)
        .links(TO_FIRST_GROUP),
    Route::post(OPERATE, "/v1/groups", "Makes a consumer group.", run!(groups::create))
        .object(groups::CREATE)
        .statuses(&[200, 201])
        .links(TO_GROUP),
    Route::get(READ, "/v1/groups/{group}", "Shows a consumer group.", run!(groups::show))
        .tagged(groups::SETTINGS),
    Route::delete(ADMIN, "/v1/groups/{group}", "Deletes a consumer group.", run!(groups::delete)),
    Route::post(OPERATE, "/v1/groups/{group}/resets", "Moves a consumer group.", run!(groups::reset))
        .object(groups::RESET),
    Route::post(OPERATE, "/v1/groups/{group}/pause", "Pauses a consumer group.", run!(groups::pause))
        .object(groups::PAUSE),
    Route::post(
        OPERATE,
        "/v1/groups/{group}/resume",
        "Resumes a paused consumer group.",
        run!(groups::resume),
    ),
    Route::post(CONSUME, "/v1/groups/{group}/fetch", "Hands deliveries to a client.", run!(consuming::fetch))
        .object(consuming::FETCH)
        .streams()
        .forgets(),
    Route::post(CONSUME, "/v1/groups/{group}/settle", "Takes a client's answers.", run!(consuming::settle))
        .takes(Taken::List(consuming::SETTLEMENT, consuming::MOST_SETTLEMENTS))
        .forgets(),
    Route::get(
        CONSUME,
        "/v1/groups/{group}/deliveries",
        "Hands deliveries to a client as they come.",
        run!(consuming::deliveries),
    )
    .query(consuming::STREAM)
    .streams()
    .gives(&[STREAM]),
    Route::get(CONTENT, "/v1/dead-letters", "Lists dead letters.", run!(dead_letters::list))
        .query(filter_parameters![LIMIT, AFTER_LETTER, GROUP, FINGERPRINT, STATE])
        .gives(PAGE)
        .links(TO_LETTER),
    Route::get(
        CONTENT,
        "/v1/dead-letters/groups",
        "Counts dead letters that failed alike.",
        run!(dead_letters::by_fingerprint),
    )
    .query(filter_parameters![LIMIT, GROUP, FINGERPRINT, STATE])
    .gives(LIST),
    Route::get(CONTENT, "/v1/dead-letters/{id}", "Shows a dead letter.", run!(dead_letters::show))
        .tagged(&[]),
    Route::post(
        OPERATE,
        "/v1/dead-letters/{id}/revisions",
        "Changes the event that a redrive sends.",
        run!(revisions::revise),
    )
    .object(revisions::REVISE),
    Route::post(
        OPERATE,
        "/v1/redrives",
        "Sends dead letters to their groups again.",
        run!(redrives::redrive),
    )
    .object(redrives::REDRIVE)
    .statuses(&[200, 202]),
    Route::post(OPERATE, "/v1/restores", "Opens discarded dead letters again.", run!(redrives::restore))
        .object(redrives::RESTORE),
    Route::post(OPERATE, "/v1/discards", "Closes dead letters unhandled.", run!(redrives::discard))
        .object(redrives::DISCARD),
    Route::post(READ, "/v1/plans", "Says what a replay would send.", run!(plans::plan)).object(plans::PLAN),
    Route::post(OPERATE, "/v1/kept-plans", "Keeps the plan of a replay.", run!(kept_plans::keep))
        .object(kept_plans::KEEP)
        .statuses(&[201])
        .links(TO_PLAN),
    Route::get(READ, "/v1/kept-plans", "Lists kept plans.", run!(kept_plans::list))
        .query(&[LIMIT])
        .gives(LIST)
        .links(TO_FIRST_PLAN),
    Route::get(READ, "/v1/kept-plans/{id}", "Shows a kept plan.", run!(kept_plans::show)).tagged(&[]),
    Route::get(
        CONTENT,
        "/v1/kept-plans/{id}/events",
        "Finds the events of a kept plan.",
        run!(kept_plans::events),
    )
    .query(&[LIMIT, AFTER]),
    Route::post(
        APPROVE,
        "/v1/kept-plans/{id}/approvals",
        "Approves a kept plan for one run.",
        run!(kept_plans::approve),
    )
    .object(kept_plans::APPROVE)
    .statuses(&[201]),
    Route::post(
        OPERATE,
        "/v1/kept-plans/{id}/runs",
        "Runs the replay of a kept plan.",
        run!(kept_plans::run),
    )
    .statuses(&[202])
    .links(TO_REPLAY),
    Route::delete(OPERATE, "/v1/kept-plans/{id}", "Deletes a kept plan.", run!(kept_plans::delete)),
    Route::post(OPERATE, "/v1/replays", "Runs the replay of a plan.", run!(plans::start))
        .object(plans::START)
        .statuses(&[202])
        .links(TO_REPLAY),
    Route::get(READ, "/v1/replays", "Lists replays.", run!(replays::list))
        .query(&[LIMIT])
        .gives(LIST)
        .links(TO_FIRST_REPLAY),
    Route::get(READ, "/v1/replays/{id}", "Shows a replay.", run!(replays::show))
        .streams()
        .gives(&[OBJECT, STREAM]),
    Route::delete(
        OPERATE,
        "/v1/replays/{id}",
        "Deletes the record of a replay that is over.",
        run!(plans::delete),
    ),
    Route::post(OPERATE, "/v1/replays/{id}/pause", "Pauses a replay.", run!(plans::pause)),
    Route::post(OPERATE, "/v1/replays/{id}/resume", "Resumes a paused replay.", run!(plans::resume)),
    Route::post(OPERATE, "/v1/replays/{id}/pace", "Changes the pace of a replay.", run!(plans::pace))
        .object(plans::PACE),
    Route::post(OPERATE, "/v1/replays/{id}/cancel", "Ends a replay.", run!(plans::cancel)),
    Route::get(READ, "/v1/checkpoints", "Lists checkpoints.", run!(checkpoints::list))
        .gives(LIST)
        .links(TO_FIRST_CHECKPOINT),
    Route::post(OPERATE, "/v1/checkpoints", "Makes a checkpoint.", run!(checkpoints::create))
        .object(checkpoints::CREATE)
        .statuses(&[201])
        .links(TO_CHECKPOINT),
    Route::get(READ, "/v1/checkpoints/{checkpoint}", "Shows a checkpoint.", run!(checkpoints::show))
        .tagged(&[]),
    Route::delete(
        OPERATE,
        "/v1/checkpoints/{checkpoint}",
        "Deletes a checkpoint.",
        run!(checkpoints::delete),
    ),
    Route::get(
        READ,
        "/v1/checkpoints/{checkpoint}/diff",
        "Counts what lies between two checkpoints.",
        run!(checkpoints::diff),
    )
    .query(&[TO]),
    Route::get(READ, "/v1/schemas", "Lists schemas.", run!(schemas::list)).gives(LIST),
    Route::get(READ, "/v1/schemas/{type}", "Shows a schema.", run!(schemas::show))
        .query(&[VERSION])
        .gives(&[DOCUMENT])
        .tagged(&[]),
    Route::post(OPERATE, "/v1/schemas/{type}", "Adds a schema.", run!(schemas::put))
        .object(schemas::PUT)
        .statuses(&[200, 201])
        .links(TO_SCHEMA),
    Route::delete(OPERATE, "/v1/schemas/{type}", "Removes a schema that was added.", run!(schemas::remove))
        .query(&[VERSION]),
    Route::get(READ, "/v1/scheduled", "Lists events that wait for their time.", run!(scheduled::list))
        .query(&[LIMIT])
        .gives(PAGE)
        .links(TO_SCHEDULED),
    Route::delete(
        OPERATE,
        "/v1/scheduled/{id}",
        "Takes an event out of the schedule.",
        run!(scheduled::cancel),
    ),
    Route::get(READ, "/v1/audit", "Shows what operators did.", run!(audit::list))
        .query(audit::PARAMETERS)
        .gives(LIST),
    Route::get(ADMIN, "/v1/tokens", "Lists tokens.", run!(tokens::list)).gives(LIST).links(TO_FIRST_TOKEN),
    Route::post(ADMIN, "/v1/tokens", "Creates a token.", run!(tokens::create))
        .object(tokens::CREATE)
        .forgets()
        .statuses(&[201])
        .links(TO_TOKEN),
    Route::delete(ADMIN, "/v1/tokens/{token}", "Revokes a token.", run!(tokens::revoke)),
    Route::post(ADMIN, "/v1/trims", "Drops old events.", run!(trims::trim)).object(trims::MEMBERS),
    Route::post(ADMIN, "/v1/erasures", "Erases everything that names an entity.", run!(erasures::erase))
        .object(erasures::MEMBERS)
        .forgets(),
    Route::get(READ, "/metrics", "Tells Prometheus how the store and its users are.", run!(metrics::show))
        .gives(&[TEXT]),
    Route::get(READ, "/v1/stats", "Counts what is stored.", run!(stats::show))
        .query(filter_parameters![AFTER_EVENT, UNTIL_EVENT]),
    Route::get(READ, "/v1/health", "Checks the store, its groups and the alerts.", run!(health::health))
        .statuses(&[200, 503]),
];
