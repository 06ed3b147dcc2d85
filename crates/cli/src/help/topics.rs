//! Help topics that belong to no single command.

/// A topic of `event-replay help`.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) text: &'static str,
}

/// All topics, in the order of the overview.
pub(crate) const TOPICS: &[Topic] = &[
    Topic { name: "filters", about: "Flags that say which events", text: FILTERS },
    Topic { name: "times", about: "How times and durations are written", text: TIMES },
    Topic { name: "targets", about: "Where deliveries go", text: TARGETS },
    Topic { name: "exit-codes", about: "The exit codes of commands", text: EXIT_CODES },
    Topic { name: "environment", about: "Environment variables", text: ENVIRONMENT },
];

/// Returns the topic with this name.
pub(crate) fn find(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

const FILTERS: &str = "\
Filters say which events a command works with. list, tail, stats, histogram, export, replay,
compare, recover and the dead-letters commands take them.

Different flags must all match. The values of a repeated flag are alternatives.

  --type TYPE             events of this type; `*` stands for any characters: 'user.*'
  --source NAME           events of this service
  --correlation-id ID     events of this workflow
  --user-id, --course-id, --lab-id ID
                          events that name this user, course or lab
  --entity KIND=ID        events that name any entity: payment=pay-7
  --event-id ID           the event with this id
  --ids FILE              events whose ids the file lists, one a line; `-` is stdin
  --where EXPRESSION      events whose content satisfies a CEL expression
  --from TIME, --to TIME  events that happened in this range, both ends included

All of these commands but dead-letters also take bounds in the order of the log. An event is its id,
or a position such as 0:17.

  --after-event ID        events after this one, without it
  --until-event ID        events up to this one, with it

Examples:
  event-replay list --type 'payment.*' --from yesterday
  event-replay export --after-event evt-06
  event-replay list --user-id user-123 --user-id user-456
  event-replay list --where 'data.amount > 100 && data.currency == \"EUR\"'
";

const TIMES: &str = "\
A time is one of these. Dates and words are of the machine's time zone (TZ).

  2024-01-15T10:30:00Z    RFC 3339 with a zone
  2024-01-15              a date: its first moment; for --to its last moment
  90s, 30m, 2h, 7d        a duration ago
  now, today, yesterday
  today 09:00, yesterday 18:30

A duration is a number with a unit: 500ms, 90s, 30m, 2h, 7d, 1h30m.

Tables on a terminal show how long ago a time was; --wide and `show` commands show the time.
JSON always has RFC 3339 in UTC.

Examples:
  event-replay list --from 2024-01-15 --to 2024-01-16
  event-replay list --from 2h
";

const TARGETS: &str = "\
A target is where a replay or a consumer sends events (--target). `compare` sends events to two
targets that answer: commands and endpoints.

  groups          consumer groups, in the store (replays only; the default)
  stdout          this process's standard output, one event a line
  exec:COMMAND    a command that reads one event a line, and answers each on its stdout
  exec1:COMMAND   a command that runs once for each event; exit status 0 means handled
  http://URL, https://URL
                  an endpoint that gets each event as a POST; status 2xx means handled
  env:NAME        the target that this environment variable holds
  file:PATH       the target that this file holds

A password in a URL on the command line is visible to every user of the machine: use env: or
file:.

Examples:
  event-replay consume mail --target exec1:./send-mail
  event-replay replay --user-id user-123 --target https://billing.internal/events
";

const EXIT_CODES: &str = "\
  0  ok: the command did what was asked
  1  failed: it could not; nothing was changed unless the message says so
  2  usage: the command line or a setting is wrong; nothing was changed
  3  done with failures: some parts failed, such as refused events or dead letters; also when
     diff or compare found differences
  4  unhealthy: `health` found something that needs attention

A reader that closes the pipe early, as `head` does, ends a command with 0.

Examples:
  event-replay health --quiet || notify-on-call
  event-replay explain 3
";

const ENVIRONMENT: &str = "\
Every setting has a variable: EVENT_REPLAY_ and its name in capitals, with underscores for dots.
`event-replay config show` lists all settings and where their values come from.

  EVENT_REPLAY_STORE      the store, as --store takes it
  REDIS_URL, REDIS_HOST, REDIS_PORT
                          the store, where EVENT_REPLAY_STORE is not set
  REDIS_PASSWORD          the password of the Redis server
  EVENT_REPLAY_LOG        log to stderr: error, warn, info, debug, or a filter by module
  EVENT_REPLAY_PAGER      the pager for long output on a terminal, before PAGER [default: less];
                          cat or an empty value for none
  NO_COLOR                no colour, where it is not empty
  CLICOLOR_FORCE          colour in pipes and files too, where it is not 0
  TZ                      the time zone of words such as `today`

A flag wins over the environment, the environment over the context in use and the settings file.

Examples:
  EVENT_REPLAY_STORE=redis://localhost event-replay stats
";
