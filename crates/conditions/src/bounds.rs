//! Limits on the cost of a condition. Its text comes from outside, and the parser and the interpreter use recursion.

use cel::{
    IdedExpr,
    common::ast::{EntryExpr, Expr},
};

use crate::ConditionError;

/// Maximum length of a condition's text, in bytes.
pub const MAX_TEXT_BYTES: usize = 4 * 1024;
/// Maximum nesting of a condition's brackets. The parsed expression may be four times as deep, because macros expand to
/// several levels.
pub const MAX_NESTING: usize = 48;
/// Maximum nesting of `all`, `exists`, `exists_one`, `map` and `filter`. Each level multiplies the work by the length
/// of a list.
pub const MAX_LOOPS_WITHIN_LOOPS: usize = 2;

/// Checks the text before parsing.
pub(crate) fn check_text(text: &str) -> Result<(), ConditionError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(ConditionError::TooLong(text.len()));
    }
    if text.trim().is_empty() {
        return Err(ConditionError::Empty);
    }
    // Brackets in string literals count too. No practical literal reaches the limit.
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(ConditionError::TooDeep);
        }
    }
    Ok(())
}

/// Checks the parsed expression. The walk uses no recursion.
pub(crate) fn check_expression(root: &IdedExpr) -> Result<(), ConditionError> {
    let mut open = vec![(root, 1, 0)];
    while let Some((expression, depth, loops)) = open.pop() {
        // A macro expands to several levels, hence the factor.
        if depth > 4 * MAX_NESTING {
            return Err(ConditionError::TooDeep);
        }
        if loops > MAX_LOOPS_WITHIN_LOOPS {
            return Err(ConditionError::TooManyLoops);
        }
        let inner = loops + usize::from(matches!(expression.expr, Expr::Comprehension(_)));
        let children = children(expression);
        open.extend(children.into_iter().map(|child| (child, depth + 1, inner)));
    }
    Ok(())
}

/// Returns the direct children of an expression.
pub(crate) fn children(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(it) => {
            vec![&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Expr::Struct(it) => it.entries.iter().flat_map(|entry| of_entry(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        _ => Vec::new(),
    }
}

fn of_entry(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}
