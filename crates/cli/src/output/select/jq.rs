//! `--jq EXPRESSION`: applies a filter in the language of jq. Numbers keep their original digits.

use jaq_core::{
    Compiler, Ctx, Filter, Vars, data,
    load::{Arena, File, Loader},
    unwrap_valr,
};
use jaq_json::{Val, read};

use crate::{errors::CliError, output::escape};

/// A compiled expression.
pub(crate) struct Jq {
    filter: Filter<data::JustLut<Val>>,
}

impl Jq {
    /// Compiles an expression.
    pub(crate) fn compile(expression: &str) -> Result<Self, CliError> {
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let refused = || {
            CliError::usage(format!("--jq: {:?} is not a valid expression", escape::short(expression, 200)))
                .hint("write it as for jq: --jq '.events[].event.id'")
        };
        let modules = Loader::new(definitions)
            .load(&arena, File { code: expression, path: () })
            .map_err(|_| refused())?;
        let filter = Compiler::default().with_funs(functions).compile(modules).map_err(|_| refused())?;
        Ok(Self { filter })
    }

    /// Returns the results of the expression for a document. Strings are returned without quotes, other values as JSON.
    pub(crate) fn run(&self, document: &[u8]) -> Result<Vec<String>, CliError> {
        let input = read::parse_single(document)
            .map_err(|error| CliError::failed(format!("--jq: the output is not JSON: {error:?}")))?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
        let results = self.filter.id.run((context, input)).map(unwrap_valr);
        results
            .map(|result| {
                result
                    .map(|value| text_of(&value))
                    .map_err(|error| CliError::failed(format!("--jq: {}", escape::line(&error.to_string()))))
            })
            .collect()
    }
}

fn text_of(value: &Val) -> String {
    match value {
        Val::TStr(text) => String::from_utf8_lossy(text).into_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_plain_and_numbers_keep_their_digits() {
        let run = |expression: &str, document: &str| {
            Jq::compile(expression).unwrap().run(document.as_bytes()).unwrap()
        };
        let page = r#"{"events":[{"id":"a","n":123456789012345678901234567890},{"id":"b","n":1.50}]}"#;
        assert_eq!(run(".events[].id", page), ["a", "b"]);
        assert_eq!(run(".events[].n", page), ["123456789012345678901234567890", "1.50"]);
        assert_eq!(run(".events | length", page), ["2"]);
        assert_eq!(run(".events[0] | {id}", page), [r#"{"id":"a"}"#]);
        assert!(Jq::compile(".[").is_err() && Jq::compile("nothing_of_this_name").is_err());
        assert!(Jq::compile("error(\"no\")").unwrap().run(b"1").is_err());
    }
}
