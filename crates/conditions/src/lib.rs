//! Conditions on the content of events, written in CEL, the Common Expression Language: `data.amount > 100`.
//!
//! Every top-level member of the event is a variable: `id`, `type`, `timestamp`, `source`, `metadata`, `data`,
//! `userId` and whatever else the event has. Values are as in its JSON: strings, booleans, null, lists, maps; whole
//! numbers are integers, all others doubles, and comparisons between the two are by value. A whole number beyond 64
//! bits is a double too. Times are strings, as published: `timestamp(timestamp) > timestamp("2024-01-15T00:00:00Z")`
//! compares them as instants.
//!
//! An event that lacks what a condition names does not satisfy it, and neither does one for which the expression
//! fails (a string compared with a number, a division by zero) or gives anything but true. `has(data.coupon)` asks
//! whether a member is there. As in CEL, `a || b` holds if either does, also where the other fails.

mod bounds;
mod functions;
mod patterns;
mod variables;

use std::sync::Arc;

use cel::{Context, Env, ParseErrors, Program, Value};
use domain::{Condition, Event};
use thiserror::Error;

use self::patterns::Patterns;

pub use bounds::{MAX_LOOPS_WITHIN_LOOPS, MAX_NESTING, MAX_TEXT_BYTES};

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConditionError {
    /// The text is empty.
    #[error("the condition is empty; one looks like: data.amount > 100 && type == \"payment.processed\"")]
    Empty,
    /// The text is longer than [`MAX_TEXT_BYTES`].
    #[error("the condition has {0} bytes; the limit is {MAX_TEXT_BYTES}")]
    TooLong(usize),
    /// Brackets, operators or members are nested deeper than [`MAX_NESTING`].
    #[error("the condition is nested deeper than {MAX_NESTING}: write it flatter, or as several conditions")]
    TooDeep,
    /// Loops (`all`, `exists`, `map`, `filter`) are nested deeper than [`MAX_LOOPS_WITHIN_LOOPS`].
    #[error("the condition nests loops (all, exists, map, filter) deeper than {MAX_LOOPS_WITHIN_LOOPS}")]
    TooManyLoops,
    /// A function is called that is not there.
    #[error("{name:?} is no function that can be called like this: {advice}")]
    UnknownFunction {
        /// Its name.
        name: String,
        /// What was probably meant, or what there is.
        advice: String,
    },
    /// A pattern of `matches` is no regular expression, or too large.
    #[error("{pattern:?} is no pattern that matches() can use: {reason}")]
    Pattern {
        /// The pattern; of a long one the beginning.
        pattern: String,
        /// Why it is none.
        reason: String,
    },
    /// The text is not CEL.
    #[error(
        "the condition does not parse at line {line}, column {column}: {reason}; \
         one looks like: data.amount > 100 && type == \"payment.processed\""
    )]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The character of the line, from 1.
        column: usize,
        /// What the parser stumbled on.
        reason: String,
    },
}

/// Compiles a condition.
///
/// # Errors
/// When the text is not CEL, too long, or nested too deep, calls a function that is not there, or writes out a pattern for `matches`
/// that is no regular expression.
///
/// ```
/// # use domain::{Document, Limits};
/// let condition = event_replay_conditions::compile("data.amount > 100 && userId.startsWith(\"user-\")").unwrap();
/// let json = br#"{"id":"e1","type":"payment.processed","version":"1.0","timestamp":"2024-01-15T10:30:00Z",
///                 "source":"payments","metadata":{},"userId":"user-1","data":{"amount":100.5}}"#;
/// let event = Document::parse(json, &Limits::default()).unwrap().into_event().unwrap();
/// assert!(condition.holds(&event));
/// assert!(event_replay_conditions::compile("data.amount >").unwrap_err().to_string().contains("line 1, column 14"));
/// ```
pub fn compile(text: &str) -> Result<Arc<dyn Condition>, ConditionError> {
    bounds::check_text(text)?;
    let environment = Arc::new(Env::stdlib());
    let program = environment.compile(text).map_err(|errors| syntax(&errors))?;
    bounds::check_expression(program.expression())?;
    functions::check(program.expression())?;
    let patterns = Patterns::of(program.expression())?;
    let mut members: Vec<String> = program.references().variables().into_iter().map(str::to_owned).collect();
    members.sort();
    Ok(Arc::new(CelCondition { text: text.to_owned(), environment, program, patterns, members }))
}

/// The first of the parser's errors: the others mostly follow from it.
fn syntax(errors: &ParseErrors) -> ConditionError {
    let Some(first) = errors.errors.iter().min_by_key(|error| error.pos) else {
        return ConditionError::Syntax { line: 1, column: 1, reason: "it is not an expression".to_owned() };
    };
    let place = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    // What else could have stood there is a list of all tokens, which is no help.
    let said = first.msg.split(" expecting ").next().unwrap_or(&first.msg);
    let said = said.strip_prefix("Syntax error: ").unwrap_or(said).replace("'<EOF>'", "end");
    let said = [
        "mismatched input",
        "extraneous input",
        "no viable alternative at input",
        "token recognition error at:",
    ]
    .iter()
    .fold(said, |said, jargon| said.replace(jargon, "unexpected"));
    let reason: String = said.chars().take(200).collect();
    ConditionError::Syntax { line: place(first.pos.0), column: place(first.pos.1), reason }
}

struct CelCondition {
    text: String,
    environment: Arc<Env>,
    program: Program,
    patterns: Patterns,
    /// The members that the expression names, sorted: no others are read.
    members: Vec<String>,
}

impl std::fmt::Debug for CelCondition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CelCondition").field(&self.text).finish()
    }
}

impl Condition for CelCondition {
    fn text(&self) -> &str {
        &self.text
    }

    fn holds(&self, event: &Event) -> bool {
        // An admitted event is JSON, so this fails on none.
        let Ok(variables) = variables::read(event.json(), &self.members) else { return false };
        let mut context = Context::with_env(self.environment.clone());
        for (name, value) in variables {
            context.add_variable_from_value(name, value);
        }
        if self.patterns.declare(&mut context).is_err() {
            return false;
        }
        matches!(self.program.execute(&context), Ok(Value::Bool(true)))
    }
}
