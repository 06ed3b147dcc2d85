//! Conditions on the content of events, written in CEL, the Common Expression Language: `data.amount > 100`.
//!
//! Every top-level member of the event is a variable: `id`, `type`, `timestamp`, `source`, `metadata`, `data`, `userId`
//! and all others. Values keep their JSON types: strings, booleans, null, lists and maps. Whole numbers are integers,
//! and all other numbers are doubles. A whole number beyond 64 bits is a double too. Comparisons between integers and
//! doubles are by value. Times are strings, as published. `timestamp(timestamp) > timestamp("2024-01-15T00:00:00Z")`
//! compares them as instants.
//!
//! An event does not satisfy a condition that names a missing member. An event does not satisfy a condition either if
//! the expression fails or gives another value than true. Examples of failures are a comparison of a string with a
//! number, and a division by zero. `has(data.coupon)` checks whether a member exists. As in CEL, `a || b` holds if
//! either side holds, even if the other side fails.

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

/// The reason for which a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConditionError {
    /// The text is empty.
    #[error("the condition is empty; one looks like: data.amount > 100 && type == \"payment.processed\"")]
    Empty,
    /// The text is longer than [`MAX_TEXT_BYTES`].
    #[error("the condition has {0} bytes; the limit is {MAX_TEXT_BYTES}")]
    TooLong(usize),
    /// Brackets are nested deeper than [`MAX_NESTING`], or the parsed expression is deeper than four times this limit.
    #[error("the condition is nested deeper than {MAX_NESTING}: write it flatter, or as several conditions")]
    TooDeep,
    /// Loops (`all`, `exists`, `exists_one`, `map`, `filter`) are nested deeper than [`MAX_LOOPS_WITHIN_LOOPS`].
    #[error("the condition nests loops (all, exists, map, filter) deeper than {MAX_LOOPS_WITHIN_LOOPS}")]
    TooManyLoops,
    /// The condition calls an unknown function.
    #[error("{name:?} is no function that can be called like this: {advice}")]
    UnknownFunction {
        /// The name of the function.
        name: String,
        /// The function that was probably meant, or a list of all functions.
        advice: String,
    },
    /// A pattern of `matches` is not a regular expression, or is too large.
    #[error("{pattern:?} is no pattern that matches() can use: {reason}")]
    Pattern {
        /// The pattern, at most its first 100 characters.
        pattern: String,
        /// The reason for which the pattern is refused.
        reason: String,
    },
    /// The text is not CEL.
    #[error(
        "the condition does not parse at line {line}, column {column}: {reason}; \
         one looks like: data.amount > 100 && type == \"payment.processed\""
    )]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// The character in the line, counted from 1.
        column: usize,
        /// The message of the parser.
        reason: String,
    },
}

/// Compiles a condition.
///
/// # Errors
/// Returns [`ConditionError`] in these cases:
/// - The text is empty, too long, or not CEL.
/// - The expression is nested too deep.
/// - The condition calls an unknown function.
/// - The condition contains a literal pattern for `matches` that is not a regular expression.
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

/// Converts the first error of the parser. The other errors mostly follow from it.
fn syntax(errors: &ParseErrors) -> ConditionError {
    let Some(first) = errors.errors.iter().min_by_key(|error| error.pos) else {
        return ConditionError::Syntax { line: 1, column: 1, reason: "it is not an expression".to_owned() };
    };
    let place = |number: isize| usize::try_from(number).unwrap_or(1).max(1);
    // The second part of the message lists all tokens, which is no help for the user.
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
    /// The members that the expression names, sorted. Other members are not read.
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
        // An admitted event is valid JSON, so this does not fail.
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
