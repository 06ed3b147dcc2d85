//! The table of all routes of the API.

use domain::token::Role;

use crate::{
    call::Handler,
    openapi,
    query::Parameter,
    resources::{
        audit, checkpoints, consuming, dead_letters, erasures, events,
        filter::{LIMIT, filter_parameters},
        groups, health, kept_plans, metrics, plans, publish, redrives, replays, revisions, scheduled,
        schemas, stats, stream, tokens, traces, trims,
    },
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
    Object(&'static [&'static str]),
    /// A JSON array of objects.
    List,
    /// Events: one event, an array, or one event per line.
    Events,
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

    const fn object(self, members: &'static [&'static str]) -> Self {
        self.takes(Taken::Object(members))
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
            self.changes() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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

const AFTER: Parameter = Parameter {
    name: "after",
    about: "Continue after a page: the nextCursor that it returned.",
    repeats: false,
};
const ORDER: Parameter = Parameter {
    name: "order",
    about: "asc: the oldest first; desc: the newest first, by position in the log. desc where nothing is said.",
    repeats: false,
};
const VERSION: Parameter = Parameter {
    name: "version",
    about: "The event version; without it, the schema that serves every version.",
    repeats: false,
};
const GROUP: Parameter = Parameter { name: "group", about: "Dead letters of this group.", repeats: false };
const FINGERPRINT: Parameter =
    Parameter { name: "fingerprint", about: "Dead letters of this fingerprint.", repeats: true };
const STATE: Parameter = Parameter {
    name: "state",
    about: "In these states: open, redriving, handled, discarded, all. Open and redriving where nothing is said.",
    repeats: true,
};
const TO: Parameter = Parameter { name: "to", about: "The other checkpoint, by name or id.", repeats: false };

/// All routes.
pub static ROUTES: &[Route] = &[
    Route::get(OPEN, "/livez", "Answers as long as the process does.", run!(health::live)),
    Route::get(OPEN, "/readyz", "Answers 200 when the store answers.", run!(health::ready)),
    Route::get(OPEN, "/problems/{code}", "Says what a problem means.", run!(health::problem)),
    Route::get(OPEN, "/openapi.json", "Describes the API.", run!(openapi::show)),
    Route::post(PUBLISH, "/v1/events", "Publishes events.", run!(publish::publish))
        .query(publish::PARAMETERS)
        .takes(Taken::Events)
        .forgets(),
    Route::get(CONTENT, "/v1/events", "Finds events.", run!(events::list))
        .query(filter_parameters![LIMIT, AFTER, ORDER])
        .streams(),
    Route::get(READ, "/v1/events/histogram", "Counts events over time.", run!(stats::histogram))
        .query(filter_parameters![stats::INTERVAL, stats::BY]),
    Route::get(CONTENT, "/v1/events/stream", "Follows events as they come.", run!(stream::follow))
        .query(filter_parameters![AFTER])
        .streams(),
    Route::get(CONTENT, "/v1/events/{id}", "Shows an event.", run!(events::show))
        .query(&[events::CLOUDEVENT]),
    Route::get(
        READ,
        "/v1/events/{id}/deliveries",
        "Shows what each group did with an event.",
        run!(events::deliveries),
    ),
    Route::get(READ, "/v1/correlations/{id}/trace", "Draws the tree of a workflow.", run!(traces::show))
        .query(&[traces::LIMIT]),
    Route::get(READ, "/v1/groups", "Lists consumer groups.", run!(groups::list)),
    Route::post(OPERATE, "/v1/groups", "Makes a consumer group.", run!(groups::create))
        .object(groups::CREATE),
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
        .takes(Taken::List)
        .forgets(),
    Route::get(
        CONSUME,
        "/v1/groups/{group}/deliveries",
        "Hands deliveries to a client as they come.",
        run!(consuming::deliveries),
    )
    .query(consuming::STREAM)
    .streams(),
    Route::get(CONTENT, "/v1/dead-letters", "Lists dead letters.", run!(dead_letters::list))
        .query(filter_parameters![LIMIT, AFTER, GROUP, FINGERPRINT, STATE]),
    Route::get(
        CONTENT,
        "/v1/dead-letters/groups",
        "Counts dead letters that failed alike.",
        run!(dead_letters::by_fingerprint),
    )
    .query(filter_parameters![LIMIT, GROUP, FINGERPRINT, STATE]),
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
    .object(redrives::REDRIVE),
    Route::post(OPERATE, "/v1/restores", "Opens discarded dead letters again.", run!(redrives::restore))
        .object(redrives::RESTORE),
    Route::post(OPERATE, "/v1/discards", "Closes dead letters unhandled.", run!(redrives::discard))
        .object(redrives::DISCARD),
    Route::post(READ, "/v1/plans", "Says what a replay would send.", run!(plans::plan)).object(plans::PLAN),
    Route::post(OPERATE, "/v1/kept-plans", "Keeps the plan of a replay.", run!(kept_plans::keep))
        .object(kept_plans::KEEP),
    Route::get(READ, "/v1/kept-plans", "Lists kept plans.", run!(kept_plans::list)).query(&[LIMIT]),
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
    .object(kept_plans::APPROVE),
    Route::post(
        OPERATE,
        "/v1/kept-plans/{id}/runs",
        "Runs the replay of a kept plan.",
        run!(kept_plans::run),
    ),
    Route::delete(OPERATE, "/v1/kept-plans/{id}", "Deletes a kept plan.", run!(kept_plans::delete)),
    Route::post(OPERATE, "/v1/replays", "Runs the replay of a plan.", run!(plans::start))
        .object(plans::START),
    Route::get(READ, "/v1/replays", "Lists replays.", run!(replays::list)).query(&[LIMIT]),
    Route::get(READ, "/v1/replays/{id}", "Shows a replay.", run!(replays::show)).streams(),
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
    Route::get(READ, "/v1/checkpoints", "Lists checkpoints.", run!(checkpoints::list)),
    Route::post(OPERATE, "/v1/checkpoints", "Makes a checkpoint.", run!(checkpoints::create))
        .object(checkpoints::CREATE),
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
    Route::get(READ, "/v1/schemas", "Lists schemas.", run!(schemas::list)),
    Route::get(READ, "/v1/schemas/{type}", "Shows a schema.", run!(schemas::show))
        .query(&[VERSION])
        .tagged(&[]),
    Route::post(OPERATE, "/v1/schemas/{type}", "Adds a schema.", run!(schemas::put)).object(schemas::PUT),
    Route::delete(OPERATE, "/v1/schemas/{type}", "Removes a schema that was added.", run!(schemas::remove))
        .query(&[VERSION]),
    Route::get(READ, "/v1/scheduled", "Lists events that wait for their time.", run!(scheduled::list))
        .query(&[LIMIT]),
    Route::delete(
        OPERATE,
        "/v1/scheduled/{id}",
        "Takes an event out of the schedule.",
        run!(scheduled::cancel),
    ),
    Route::get(READ, "/v1/audit", "Shows what operators did.", run!(audit::list)).query(audit::PARAMETERS),
    Route::get(ADMIN, "/v1/tokens", "Lists tokens.", run!(tokens::list)),
    Route::post(ADMIN, "/v1/tokens", "Creates a token.", run!(tokens::create))
        .object(tokens::CREATE)
        .forgets(),
    Route::delete(ADMIN, "/v1/tokens/{token}", "Revokes a token.", run!(tokens::revoke)),
    Route::post(ADMIN, "/v1/trims", "Drops old events.", run!(trims::trim)).object(trims::MEMBERS),
    Route::post(ADMIN, "/v1/erasures", "Erases everything that names an entity.", run!(erasures::erase))
        .object(erasures::MEMBERS)
        .forgets(),
    Route::get(READ, "/metrics", "Tells Prometheus how the store and its users are.", run!(metrics::show)),
    Route::get(READ, "/v1/stats", "Counts what is stored.", run!(stats::show)).query(filter_parameters![]),
    Route::get(READ, "/v1/health", "Checks the store, its groups and the alerts.", run!(health::health)),
];
