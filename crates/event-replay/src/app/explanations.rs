//! The meaning of codes, and the action to take: exit codes, store errors, validation rules, health checks.

use serde::Serialize;

use super::near;

/// The kind of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The exit code of a command.
    ExitCode,
    /// A failure of a store.
    StoreError,
    /// The rule of a violation.
    Rule,
    /// A check of `health`.
    HealthCheck,
}

impl Kind {
    /// Returns the kind as text for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExitCode => "exit code",
            Self::StoreError => "store error",
            Self::Rule => "validation rule",
            Self::HealthCheck => "health check",
        }
    }
}

/// The explanation of a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The code.
    pub code: &'static str,
    /// The kind of the code.
    pub kind: Kind,
    /// The meaning.
    pub meaning: &'static str,
    /// The action to take.
    pub action: &'static str,
}

/// An action in the words of each interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// The action on the command line.
    pub in_shell: &'static str,
    /// The action over HTTP, as the hint of a problem.
    pub over_http: &'static str,
}

/// The action for an event whose type has no schema.
pub const NO_SCHEMA: Action = Action {
    in_shell: "Add a schema with `event-replay schemas add`, or publish with --unknown-types accept.",
    over_http: "add a schema with POST /v1/schemas/{type}, or publish with ?unknownTypes=accept",
};

/// Returns the explanation of a code.
pub fn find(code: &str) -> Option<&'static Explanation> {
    ALL.iter().find(|explanation| explanation.code == code)
}

/// Returns codes that are similar to a text.
pub fn near(code: &str) -> Vec<String> {
    near::near(code, ALL.iter().map(|explanation| explanation.code).filter(|code| code.len() > 1))
}

const fn of(kind: Kind, code: &'static str, meaning: &'static str, action: &'static str) -> Explanation {
    Explanation { code, kind, meaning, action }
}

/// All codes.
pub const ALL: &[Explanation] = &[
    of(Kind::ExitCode, "0", "The command did what was asked.", "Nothing."),
    of(
        Kind::ExitCode,
        "1",
        "The command could not do what was asked. Nothing was changed unless the message says so.",
        "Read the error and its hint, remove the cause, and run the command again. No event is stored twice.",
    ),
    of(
        Kind::ExitCode,
        "2",
        "The command line or a setting is wrong. Nothing was changed.",
        "Correct the flag or setting that the error names. `event-replay COMMAND --help` shows all flags.",
    ),
    of(
        Kind::ExitCode,
        "3",
        "The command is done, and some parts failed: events were refused or damaged, deliveries failed, or problems or differences were found.",
        "Look at the report of the command. `--output json` has every part that failed.",
    ),
    of(
        Kind::ExitCode,
        "4",
        "`health` found something that needs attention now.",
        "Look at the checks that say FAIL. `event-replay explain CHECK` explains each.",
    ),
    of(
        Kind::StoreError,
        "unavailable",
        "The store cannot be reached.",
        "Check that the server is running and that the address is right. `event-replay config show` says where the address comes from.",
    ),
    of(
        Kind::StoreError,
        "busy",
        "Another process holds the write lock of the store.",
        "Run the command again when the other process is done.",
    ),
    of(
        Kind::StoreError,
        "full",
        "The store has no space left.",
        "Free space on the disk or raise the memory limit of the server. `event-replay trim` drops old events.",
    ),
    of(
        Kind::StoreError,
        "denied",
        "This user may not read or write the store.",
        "Check the owner and the rights of the file and its folder, or the rights of the Redis user.",
    ),
    of(
        Kind::StoreError,
        "corrupt",
        "Stored data is damaged.",
        "`event-replay verify` lists the damage. `event-replay restore BACKUP --replace` replaces the store by a backup.",
    ),
    of(
        Kind::StoreError,
        "foreign",
        "The file or the keys belong to another program, or to a newer version of this one.",
        "Name another store with --store, or use the newer version.",
    ),
    of(
        Kind::StoreError,
        "unknown",
        "The connection failed before the store answered, so the outcome is not known.",
        "Run the same command again: what was stored is recognized by its id and is not stored twice.",
    ),
    of(
        Kind::StoreError,
        "too_few_copies",
        "Too few replicas confirmed a write in time.",
        "Check the replicas with `event-replay health`, then run the command again.",
    ),
    of(
        Kind::Rule,
        "conflict",
        "Other content is stored under this event id.",
        "Give the event a new id. An event that was stored never changes.",
    ),
    of(
        Kind::Rule,
        "erased",
        "The event with this id was erased on request.",
        "Do not publish the event again. The id stays refused.",
    ),
    of(
        Kind::Rule,
        "schema",
        "The event's type has no schema, or its schema cannot be used.",
        NO_SCHEMA.in_shell,
    ),
    of(
        Kind::Rule,
        "limit",
        "The event exceeds a limit of size, depth or length.",
        "Make the event smaller, or raise the setting under `limits`.",
    ),
    of(Kind::Rule, "required", "A required member is missing.", "Add the member that the path names."),
    of(Kind::Rule, "type", "A member has the wrong JSON type.", "Correct the value at the path."),
    of(
        Kind::Rule,
        "json",
        "The line is not valid JSON.",
        "Write one JSON object a line. `jq -c . FILE` converts JSON of several lines.",
    ),
    of(
        Kind::Rule,
        "cloudevent",
        "The entry of a batch is not a valid CloudEvent.",
        "Correct the attribute or the data that the sentence names. docs/http.md has the mapping.",
    ),
    of(
        Kind::Rule,
        "date-time",
        "A timestamp is not RFC 3339, or it lies too far in the future.",
        "Write it as 2024-01-15T10:30:00Z. The setting limits.max_ahead bounds future times.",
    ),
    of(
        Kind::HealthCheck,
        "store",
        "Whether the store answers.",
        "Where it fails, look at the error: the other checks need the store.",
    ),
    of(
        Kind::HealthCheck,
        "writable",
        "Whether this user can write to the store.",
        "Give the user write access, or run writing commands as another user.",
    ),
    of(
        Kind::HealthCheck,
        "disk-space",
        "Free space on the disk of the store. It warns below 1 GiB, or a tenth of a large store.",
        "Free space, move the store, or trim old events.",
    ),
    of(
        Kind::HealthCheck,
        "schemas",
        "Whether every event schema can be used.",
        "`event-replay validate-schemas` shows the errors. Add a corrected schema.",
    ),
    of(
        Kind::HealthCheck,
        "newest-event",
        "The age of the newest event. For information.",
        "If publishers should be active, check that they are.",
    ),
    of(
        Kind::HealthCheck,
        "retention",
        "Whether retention bounds are met. It warns when a checkpoint holds back events.",
        "Delete the checkpoint that holds them, or raise the bound.",
    ),
    of(
        Kind::HealthCheck,
        "group-consumers",
        "Whether a group has consumers. It warns when none is connected and events are pending.",
        "Start a consumer, or delete the group if it is no longer needed.",
    ),
    of(
        Kind::HealthCheck,
        "group-lag",
        "Events in the log after the group's slowest segment. For information.",
        "If it grows, add consumers or make handlers faster.",
    ),
    of(
        Kind::HealthCheck,
        "group-pending",
        "The age of the oldest event that the group has not handled. It warns above 15 minutes.",
        "`event-replay groups show GROUP` shows what blocks: failing keys, or too few consumers.",
    ),
    of(
        Kind::HealthCheck,
        "group-paused",
        "Whether an operator or a circuit breaker paused the group. Its consumers deliver nothing.",
        "`event-replay groups resume GROUP` resumes it. A circuit breaker opens again if deliveries still fail.",
    ),
    of(
        Kind::HealthCheck,
        "group-blocked-keys",
        "Keys that wait because an event fails. At 10,000 a segment stops reading.",
        "Fix the cause of the failures, or discard the dead letters that park keys.",
    ),
    of(
        Kind::HealthCheck,
        "group-gaps",
        "Whether retention removed events before the group handled them.",
        "Restore the events from a backup if they are needed. Raise retention.max_hold or add consumers.",
    ),
    of(
        Kind::HealthCheck,
        "group-hold",
        "How long the group has held back retention, where retention.max_hold is set.",
        "Let the group catch up before the bound, or it loses events.",
    ),
    of(
        Kind::HealthCheck,
        "validation-failures",
        "The share of published events that were refused in the last 15 minutes. It fails above 5 %.",
        "Look at what publishers send. `event-replay validate FILE` checks events without storing them.",
    ),
    of(
        Kind::HealthCheck,
        "storage-failures",
        "Appends that failed in the last 15 minutes.",
        "Check the store and the network. Publishers must publish those events again.",
    ),
    of(
        Kind::HealthCheck,
        "dead-letters",
        "Whether open dead letters increased in the last 15 minutes.",
        "`event-replay dead-letters list --by fingerprint` groups them by cause.",
    ),
    of(
        Kind::HealthCheck,
        "open-dead-letters",
        "Open dead letters. It warns at one, and fails at 100 or when one is older than a day.",
        "Fix the cause, then redrive them; discard the letters that need no handling.",
    ),
    of(
        Kind::HealthCheck,
        "dropped-deliveries",
        "Deliveries that were given up and dropped because dead letters are off.",
        "Set dead_letters.enabled = true, and replay the events into the group.",
    ),
    of(
        Kind::HealthCheck,
        "failing-attempts",
        "The share of delivery attempts that failed: of all types together, or of the type with the highest share.",
        "Look at the errors: `event-replay groups show NAME` has those of events that are retried, `event-replay dead-letters list --by fingerprint` those of events that were given up.",
    ),
    of(
        Kind::HealthCheck,
        "processing-time",
        "The average time of an attempt: of all types together, or of the slowest type. It fails above 10 seconds.",
        "Make the handler faster, or raise the concurrency of consumers.",
    ),
    of(
        Kind::HealthCheck,
        "redis-server",
        "Whether the Redis server answers and is a supported version.",
        "Start the server, or upgrade it.",
    ),
    of(
        Kind::HealthCheck,
        "redis-rights",
        "Whether the Redis user may run the commands that the store needs.",
        "Give the user the rights that docs/redis.md lists.",
    ),
    of(
        Kind::HealthCheck,
        "redis-role",
        "Whether the server is a master.",
        "Name the master, or use redis+sentinel:// or redis+cluster://.",
    ),
    of(
        Kind::HealthCheck,
        "redis-eviction",
        "Whether the server may evict keys. An evicted key is lost history.",
        "Set maxmemory-policy to noeviction.",
    ),
    of(
        Kind::HealthCheck,
        "redis-memory",
        "How much of maxmemory is used.",
        "Raise maxmemory, or trim old events.",
    ),
    of(
        Kind::HealthCheck,
        "redis-persistence",
        "Whether the server writes an append-only file.",
        "Set appendonly yes and appendfsync everysec or always.",
    ),
    of(
        Kind::HealthCheck,
        "redis-encoding",
        "Whether large values keep an efficient encoding in memory.",
        "Set the options that docs/redis.md lists.",
    ),
    of(
        Kind::HealthCheck,
        "redis-failover",
        "Whether another server can take over.",
        "Add replicas, or sentinels, as docs/redis.md describes.",
    ),
    of(
        Kind::HealthCheck,
        "redis-copies",
        "Whether enough replicas confirm writes.",
        "Check the replicas and their network.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_once() {
        for (at, explanation) in ALL.iter().enumerate() {
            let first = ALL.iter().position(|other| other.code == explanation.code);
            assert_eq!(first, Some(at), "{}", explanation.code);
        }
        assert_eq!(near("grup-lag"), ["group-lag"]);
    }

    #[test]
    fn every_failure_of_a_store_is_explained() {
        use domain::StorageFailure as Failure;
        let text = String::new;
        for failure in [
            Failure::Unavailable(text()),
            Failure::Full(text()),
            Failure::Denied(text()),
            Failure::Corrupt(text()),
            Failure::Foreign(text()),
            Failure::Unknown(text()),
        ] {
            assert!(find(failure.kind()).is_some(), "{failure:?}");
        }
    }
}
