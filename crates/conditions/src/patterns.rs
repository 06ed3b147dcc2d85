//! Regular expressions of `matches`. A literal pattern is compiled once, with its condition.
//!
//! CEL would compile the pattern again for every event. It would also treat an invalid pattern as a pattern without
//! matches.

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

/// The name of the function.
const MATCHES: &str = "matches";
/// Maximum size of a compiled pattern, in bytes.
const MAX_COMPILED_BYTES: usize = 1024 * 1024;
/// Maximum number of cached patterns that come from events.
const MOST_TAKEN: usize = 64;

/// The patterns of a condition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patterns {
    /// Literal patterns of the condition.
    written: Arc<HashMap<String, Regex>>,
    /// A cache of patterns that are computed from events.
    taken: Arc<Mutex<HashMap<String, Regex>>>,
    is_called: bool,
}

impl Patterns {
    /// Compiles the literal patterns of a condition.
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

    /// Declares the function if the condition calls it.
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

/// Compiles a pattern. The error is one line.
fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(most) => format!("compiled it takes more than {most} bytes"),
        // The message shows the pattern with a mark below it. Its last line has the reason.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            last.strip_prefix("error: ").unwrap_or(last).to_owned()
        }
    })
}
