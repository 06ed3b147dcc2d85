//! The functions that a condition may call. CEL looks a function up only at the call. An unknown function would
//! silently make the condition false for every event.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, Expr},
};

use crate::{ConditionError, bounds::children};

/// Functions that take all arguments in brackets: `size(data.tags)`.
const FREE: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "matches",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "size",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// Functions that are called on a value: `type.startsWith("user.")`.
const METHODS: &[&str] = &[
    "contains",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "matches",
    "or",
    "orValue",
    "size",
    "startsWith",
    "value",
];

/// Macros that compilation expands. If one remains in an expression, it was called with wrong arguments.
const LOOPS: &[&str] = &["all", "exists", "exists_one", "filter", "map"];

/// The least similarity, from 0 to 1, at which a name is suggested for another name.
const ALIKE: f64 = 0.7;

/// Refuses the first call of an unknown function.
pub(crate) fn check(root: &IdedExpr) -> Result<(), ConditionError> {
    let mut open = vec![root];
    while let Some(expression) = open.pop() {
        if let Expr::Call(call) = &expression.expr {
            check_call(call)?;
        }
        open.extend(children(expression));
    }
    Ok(())
}

fn check_call(call: &CallExpr) -> Result<(), ConditionError> {
    let name = call.func_name.as_str();
    if is_operator(name) {
        return Ok(());
    }
    let qualified = match &call.target {
        None => name.strip_prefix('.').unwrap_or(name).to_owned(),
        Some(target) => match &target.expr {
            // `optional.of(x)` is one function, and not a method of a value `optional`.
            Expr::Ident(namespace) => format!("{namespace}.{name}"),
            _ => String::new(),
        },
    };
    if FREE.contains(&qualified.as_str()) || (call.target.is_some() && METHODS.contains(&name)) {
        return Ok(());
    }
    Err(ConditionError::UnknownFunction {
        name: name.to_owned(),
        advice: advice(name, call.target.is_some()),
    })
}

/// Operators are also calls. No identifier in a condition can have the name of an operator.
fn is_operator(name: &str) -> bool {
    !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)) || name.starts_with('_')
}

fn advice(name: &str, on_a_value: bool) -> String {
    if METHODS.contains(&name) && !on_a_value {
        return format!("it is called on a value, as type.{name}(…)");
    }
    if FREE.contains(&name) && on_a_value {
        return format!("it is called with its value in brackets, as {name}(data.amount)");
    }
    if LOOPS.contains(&name) {
        return format!(
            "it is called on a list, with a name and an expression: data.items.{name}(item, item.price > 5)"
        );
    }
    let known = || FREE.iter().chain(METHODS).chain(LOOPS).copied().chain(["has"]);
    let likeness = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    let nearest = known().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|nearest| likeness(nearest) >= ALIKE) {
        Some(nearest) if METHODS.contains(&nearest) && !FREE.contains(&nearest) => {
            format!("did you mean {nearest}, as in type.{nearest}(…)?")
        }
        Some(nearest) => format!("did you mean {nearest}?"),
        None => {
            let mut names: Vec<&str> = known().collect();
            names.sort_unstable();
            names.dedup();
            format!("there are: {}", names.join(", "))
        }
    }
}
