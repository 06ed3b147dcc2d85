//! Regular expressions of `matches`: each that stands in a condition is compiled once, with the condition. The language would compile
//! it again for every event, and would take one that is invalid for one that matches nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use cel::{
    Context, DeclarationError, ExecutionError, IdedExpr,
    common::ast::{Expr, LiteralValue},
    extractors::This,
};
use regex::{Regex, RegexBuilder};

use crate::{ConditionError, bounds::children};

/// The function's name.
const MATCHES: &str = "matches";
/// Bytes that a compiled pattern may take.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;
/// Patterns that are taken from events and kept.
const MOST_TAKEN: usize = 64;

/// The patterns of a condition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns {
    /// Those that the condition writes out.
    written: Arc<HashMap<String, Regex>>,
    /// Those that it takes from events, as far as they are kept.
    taken: Arc<Mutex<HashMap<String, Regex>>>,
    is_called: bool,
}

impl Patterns {
    /// Compiles the patterns that a condition writes out.
    pub(crate) fn of(root: &IdedExpr) -> Result<Self, ConditionError> {
        let (mut written, mut is_called) = (HashMap::new(), false);
        let mut open = vec![root];
        while let Some(expression) = open.pop() {
            if let Expr::Call(call) = &expression.expr
                && call.func_name.trim_start_matches('.') == MATCHES
            {
                is_called = true;
                if let Some(Expr::Literal(LiteralValue::String(pattern))) =
                    call.args.last().map(|it| &it.expr)
                {
                    let pattern = pattern.inner();
                    let compiled = compile(pattern).map_err(|reason| ConditionError::Pattern {
                        pattern: pattern.chars().take(100).collect(),
                        reason,
                    })?;
                    written.insert(pattern.to_owned(), compiled);
                }
            }
            open.extend(children(expression));
        }
        Ok(Self { written: Arc::new(written), taken: Arc::default(), is_called })
    }

    /// Lets a condition call the function, if it does.
    pub(crate) fn declare(&self, context: &mut Context<'_, '_>) -> Result<(), DeclarationError> {
        if !self.is_called {
            return Ok(());
        }
        let patterns = self.clone();
        context.add_function(MATCHES, move |This(text): This<Arc<String>>, pattern: Arc<String>| {
            patterns.is_match(&text, &pattern)
        })
    }

    fn is_match(&self, text: &str, pattern: &str) -> Result<bool, ExecutionError> {
        if let Some(compiled) = self.written.get(pattern) {
            return Ok(compiled.is_match(text));
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = taken.get(pattern) {
            return Ok(compiled.is_match(text));
        }
        let compiled = compile(pattern).map_err(|reason| ExecutionError::function_error(MATCHES, reason))?;
        let is_match = compiled.is_match(text);
        if taken.len() < MOST_TAKEN {
            taken.insert(pattern.to_owned(), compiled);
        }
        Ok(is_match)
    }
}

/// A compiled pattern, or why it is none, in one line.
fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(most) => format!("compiled it takes more than {most} bytes"),
        // The parser draws the pattern with a mark below it; its last line has the reason.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    })
}
