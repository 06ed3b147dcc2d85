//! Views of table `row`, for people with an SQL shell. This program does not read the views.
//!
//! A view shows NULL for a value that it cannot interpret.

use domain::ports::engine::SpaceKind;

/// Returns the statements that create the views.
pub(crate) fn sql() -> String {
    let views = [
        ("consumer_group", consumer_group()),
        ("segment", segment()),
        ("consumer", consumer()),
        ("blocked", blocked()),
        ("lane", lane()),
        ("lane_batch", lane_batch()),
        ("dead_letter", dead_letter()),
        ("scheduled", scheduled()),
        ("replay_job", replay_job()),
        ("checkpoint", checkpoint()),
        ("event_schema", event_schema()),
        ("schema_document", schema_document()),
        ("stat", stat()),
        ("audit", audit()),
        ("token", token()),
        ("kept_plan", kept_plan()),
        ("request", request()),
    ];
    views.map(|(name, select)| format!("CREATE VIEW {name} AS {select};\n")).concat()
}

/// Returns an expression for the text at the start of a key.
fn text(key: &str) -> String {
    format!("CAST(substr({key}, 1, instr({key}, x'00') - 1) AS TEXT)")
}

/// Returns an expression for the rest of a key after its leading text.
fn after_text(key: &str) -> String {
    format!("substr({key}, instr({key}, x'00') + 1)")
}

/// Returns an expression for the number at the start of a key.
fn number(key: &str) -> String {
    format!("CAST(substr({key}, 1, 20) AS INTEGER)")
}

/// Returns an expression for a member of a row's JSON.
fn member(row: &str, path: &str) -> String {
    format!("CASE WHEN json_valid({row}.value) THEN {row}.value ->> '$.{path}' END")
}

/// Returns expressions for members of a row's JSON, each with its column name.
fn members(row: &str, columns: &[(&str, &str)]) -> String {
    let columns = columns.iter().map(|(column, path)| format!("{} AS {column}", member(row, path)));
    columns.collect::<Vec<_>>().join(", ")
}

/// Returns expressions for the two numbers before and after a colon.
fn pair(row: &str, (first, second): (&str, &str)) -> String {
    let colon = format!("instr({row}.value, ':')");
    format!(
        "CAST(substr({row}.value, 1, {colon} - 1) AS INTEGER) AS {first}, \
         CAST(substr({row}.value, {colon} + 1) AS INTEGER) AS {second}"
    )
}

/// Returns a subquery for the rows of a kind.
fn rows(name: &str, kind: SpaceKind) -> String {
    format!("(SELECT scope, key, value FROM row WHERE space = {}) {name}", kind.number())
}

/// Returns a join that adds the row of another kind with the same scope and key.
fn with(name: &str, kind: SpaceKind, of: &str) -> String {
    let number = kind.number();
    format!(
        "LEFT JOIN row {name} ON {name}.space = {number} AND {name}.scope = {of}.scope AND {name}.key = {of}.key"
    )
}

fn consumer_group() -> String {
    format!(
        "SELECT {} AS name, {}, seen.value AS seen_at, {} AS gaps FROM {} {}",
        text("g.key"),
        members(
            "g",
            &[
                ("types", "spec.types"),
                ("key", "spec.key"),
                ("segments", "spec.segments"),
                ("created_at", "created"),
            ]
        ),
        member("g", "gaps"),
        rows("g", SpaceKind::Group),
        with("seen", SpaceKind::GroupSeen, "g"),
    )
}

/// The column `token` is text, because it has 64 bits without a sign.
fn segment() -> String {
    format!(
        "SELECT {} AS grp, {} AS segment, {}, \
         CAST(substr(f.value, 1, instr(f.value, ':') - 1) AS INTEGER) AS epoch, \
         substr(f.value, instr(f.value, ':') + 1) AS token, {}, \
         CAST(e.value AS INTEGER) AS lane_end, ifnull(CAST(n.value AS INTEGER), 0) AS lane_refs \
         FROM {} {} {} {} {}",
        text("s.scope"),
        number("s.key"),
        pair("s", ("cursor", "claimed_to")),
        members("l", &[("holder", "consumer"), ("until", "until")]),
        rows("s", SpaceKind::Segment),
        with("f", SpaceKind::Fence, "s"),
        with("l", SpaceKind::Lease, "s"),
        with("e", SpaceKind::LaneEnd, "s"),
        with("n", SpaceKind::LaneSize, "s"),
    )
}

fn consumer() -> String {
    format!(
        "SELECT {} AS grp, {} AS name, CASE WHEN json_valid(c.value) THEN c.value -> '$.token' END AS token, \
         {} AS until FROM {}",
        text("c.scope"),
        text("c.key"),
        member("c", "until"),
        rows("c", SpaceKind::Consumer),
    )
}

/// Returns the columns that identify the segment of a row.
fn of_segment(row: &str) -> String {
    let scope = format!("{row}.scope");
    format!("{} AS grp, {} AS segment", text(&scope), number(&after_text(&scope)))
}

fn blocked() -> String {
    let columns = [
        ("position", "position"),
        ("through", "through"),
        ("claimed_to", "claimedTo"),
        ("attempts", "attempts"),
        ("ends", "ends"),
        ("due", "due"),
        ("error", "error"),
        ("since", "since"),
    ];
    format!(
        "SELECT {}, {} AS kind, {} AS id, {} FROM {}",
        of_segment("b"),
        text("b.key"),
        text(&after_text("b.key")),
        members("b", &columns),
        rows("b", SpaceKind::Blocked),
    )
}

fn lane() -> String {
    format!(
        "SELECT {}, {} AS seq, {}, \
         CASE WHEN json_valid(b.value) THEN json_array_length(b.value, '$.positions') END AS refs, \
         p.value AS progress FROM {} {}",
        of_segment("b"),
        number("b.key"),
        members("b", &[("origin", "origin"), ("positions", "positions")]),
        rows("b", SpaceKind::Lane),
        with("p", SpaceKind::LaneProgress, "b"),
    )
}

/// The key of a batch ends with the incarnation of its group. The key of its result does not.
fn lane_batch() -> String {
    let group = "substr(b.key, 21)";
    format!(
        "SELECT {} AS replay, {} AS batch, {} AS grp, {} AS segment, r.value AS result FROM {} \
         LEFT JOIN row r ON r.space = {} AND r.scope = b.scope \
         AND r.key = substr(b.key, 1, 40 + instr({group}, x'00'))",
        text("b.scope"),
        number("b.key"),
        text(group),
        number(&after_text(group)),
        rows("b", SpaceKind::ReplayBatch),
        SpaceKind::ReplayResult.number(),
    )
}

/// Returns columns for the head and the JSON of an event in a blob. Four bytes with the length of the head precede
/// both.
fn head_and_json(blob: &str) -> String {
    let digit = |at: u32| {
        let place = 16i64.pow(8 - at);
        format!("(instr('0123456789ABCDEF', substr(hex(substr({blob}, 1, 4)), {at}, 1)) - 1) * {place}")
    };
    let length = (1..=8).map(digit).collect::<Vec<_>>().join(" + ");
    format!("substr({blob}, 5, {length}) AS head, CAST(substr({blob}, 5 + {length}) AS TEXT) AS json")
}

fn dead_letter() -> String {
    let columns = [
        ("grp", "group"),
        ("partition", "partition"),
        ("seq", "sequence"),
        ("state", "state"),
        ("attempts", "attempts"),
        ("fingerprint", "fingerprint"),
        ("replay", "replayId"),
        ("parked", "parked"),
        ("created_at", "created"),
        ("updated_at", "updated"),
        ("reason", "reason"),
        ("history", "history"),
    ];
    format!(
        "SELECT {} AS id, {}, {} FROM {} {}",
        text("d.key"),
        members("d", &columns),
        head_and_json("CAST(e.value AS BLOB)"),
        rows("d", SpaceKind::DeadLetter),
        with("e", SpaceKind::DeadLetterEvent, "d"),
    )
}

/// A line of JSON precedes the event in the value.
fn scheduled() -> String {
    let blob = "CAST(value AS BLOB)";
    format!(
        "SELECT {} AS id, {}, {} FROM (SELECT key, \
         CAST(substr({blob}, 1, instr({blob}, x'0a') - 1) AS TEXT) AS value, \
         substr({blob}, instr({blob}, x'0a') + 1) AS event FROM row WHERE space = {}) s",
        text("s.key"),
        members("s", &[("due", "due"), ("number", "number"), ("scheduled_at", "scheduledAt")]),
        head_and_json("s.event"),
        SpaceKind::Scheduled.number(),
    )
}

fn replay_job() -> String {
    let columns = [
        ("state", "state"),
        ("created_at", "created"),
        ("updated_at", "updated"),
        ("progress", "progress"),
        ("hold", "hold"),
    ];
    format!(
        "SELECT {} AS id, {}, p.value AS plan, f.value AS lease, CAST(n.value AS INTEGER) AS settled \
         FROM {} {} {} {}",
        text("r.key"),
        members("r", &columns),
        rows("r", SpaceKind::Replay),
        with("p", SpaceKind::ReplayPlan, "r"),
        with("f", SpaceKind::ReplayFence, "r"),
        with("n", SpaceKind::ReplaySettled, "r"),
    )
}

fn audit() -> String {
    let columns = [
        ("at", "at"),
        ("operator", "note.operator"),
        ("action", "note.action"),
        ("subject", "note.subject"),
        ("reason", "note.reason"),
        ("plan_hash", "note.planHash"),
        ("phase", "note.phase.phase"),
        ("details", "note.details"),
        ("hash", "hash"),
    ];
    format!(
        "SELECT {} AS number, {} FROM {}",
        number("a.key"),
        members("a", &columns),
        rows("a", SpaceKind::Audit)
    )
}

/// Omits the hashes of secrets.
fn token() -> String {
    let columns = [
        ("id", "id"),
        ("name", "name"),
        ("roles", "roles"),
        ("groups", "groups"),
        ("created_at", "createdAt"),
        ("created_by", "createdBy"),
        ("expires_at", "expiresAt"),
    ];
    format!("SELECT {} FROM {}", members("t", &columns), rows("t", SpaceKind::Token))
}

fn kept_plan() -> String {
    let columns = [
        ("id", "id"),
        ("hash", "hash"),
        ("created_at", "createdAt"),
        ("created_by", "createdBy"),
        ("expires_at", "expiresAt"),
        ("events", "totalEvents"),
        ("target", "to"),
        ("approval_reason", "approvalReason"),
        ("approved_by", "approval.by"),
        ("applied_by", "applied.by"),
    ];
    format!(
        "SELECT {}, d.value AS document FROM {} {}",
        members("p", &columns),
        rows("p", SpaceKind::Plan),
        with("d", SpaceKind::PlanDocument, "p"),
    )
}

/// Omits the bodies of answers.
fn request() -> String {
    let columns = [
        ("claim", "claim"),
        ("digest", "digest"),
        ("lease_ends", "leaseEnds"),
        ("forgotten", "forgotten"),
        ("status", "answer.status"),
    ];
    let route = after_text("r.key");
    format!(
        "SELECT {} AS principal, {} AS route, {} AS idempotency_key, {} FROM {}",
        text("r.key"),
        text(&route),
        text(&after_text(&route)),
        members("r", &columns),
        rows("r", SpaceKind::Request)
    )
}

fn checkpoint() -> String {
    let columns = [
        ("id", "id"),
        ("mark", "mark"),
        ("event_id", "lastProcessedEventId"),
        ("events", "eventCount"),
        ("metadata", "metadata"),
        ("created_at", "createdAt"),
        ("hold", "hold"),
    ];
    format!(
        "SELECT {} AS name, {} FROM {}",
        text("c.key"),
        members("c", &columns),
        rows("c", SpaceKind::Checkpoint)
    )
}

fn event_schema() -> String {
    format!(
        "SELECT {} AS event_type, {} AS event_version, {} FROM {}",
        text("s.key"),
        text(&after_text("s.key")),
        members(
            "s",
            &[
                ("document", "document"),
                ("pointer", "pointer"),
                ("describes", "describes"),
                ("added_at", "addedAt"),
            ]
        ),
        rows("s", SpaceKind::Schema),
    )
}

fn schema_document() -> String {
    format!(
        "SELECT {} AS digest, d.value AS text FROM {}",
        text("d.key"),
        rows("d", SpaceKind::SchemaDocument)
    )
}

/// The stored number of a minute has its highest bit flipped, so that minutes before 1970 sort first. The number
/// exceeds an SQLite integer, so it is decoded in two halves of ten digits.
fn stat() -> String {
    let digits = |from: u8| format!("CAST(substr(scope, {from}, 10) AS INTEGER)");
    let label = after_text("key");
    let value_of = |what: &str| {
        format!("max(CASE {} WHEN '{what}' THEN CAST(value AS INTEGER) END)", text(&after_text(&label)))
    };
    format!(
        "SELECT ({} - 922337203) * 10000000000 + {} - 6854775808 AS minute, {} AS name, {} AS label, \
         {} AS count, {} AS sum FROM row WHERE space = {} GROUP BY 1, 2, 3",
        digits(1),
        digits(11),
        text("key"),
        text(&label),
        value_of("count"),
        value_of("sum"),
        SpaceKind::Stat.number(),
    )
}
