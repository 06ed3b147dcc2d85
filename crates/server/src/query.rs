//! Query parameters, read strictly: an unknown one is refused and not ignored.

use percent_encoding::percent_decode_str;

use crate::problem::{Code, Problem};

/// A query parameter of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its effect, in a sentence.
    pub about: &'static str,
    /// Whether it may be given several times; its values are alternatives.
    pub repeats: bool,
}

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query. Every parameter must be one of the route's.
    pub(crate) fn parse(text: Option<&str>, known: &[Parameter]) -> Result<Self, Problem> {
        let mut pairs = vec![];
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name)?, decoded(value)?);
            let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
                return Err(unknown(&name, known.iter().map(|parameter| parameter.name)));
            };
            if !parameter.repeats && pairs.iter().any(|(known, _)| *known == name) {
                return Err(Problem::new(Code::BadParameter, format!("{name} is given twice")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter that is given at most once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Its value, read.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        self.one(name).map(|value| read(value).map_err(|error| bad(name, &error))).transpose()
    }

    /// The values of a parameter, read.
    pub(crate) fn all<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Problem> {
        let values = self.0.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| read(value).map_err(|error| bad(name, &error))).collect()
    }

    /// Whether something is wanted; not where nothing is said.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        let read = |text: &str| match text {
            "true" | "" => Ok(true),
            "false" => Ok(false),
            _ => Err("it is true or false".to_owned()),
        };
        Ok(self.read(name, read)?.unwrap_or(false))
    }

    /// One of some words.
    pub(crate) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Problem> {
        self.read(name, |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                format!("it is one of {}", words.join(", "))
            })
        })
    }
}

/// A parameter whose value it cannot have.
pub(crate) fn bad(name: &str, error: &str) -> Problem {
    Problem::new(Code::BadParameter, format!("{name}: {error}"))
}

/// A name that does not exist, with the nearest one that does.
pub(crate) fn unknown<'k>(name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Problem {
    /// Longer names are cut: they come from outside.
    const SHOWN: usize = 60;
    let shown: String = name.chars().take(SHOWN).collect();
    let problem = Problem::new(Code::UnknownParameter, format!("there is no parameter {shown:?} here"));
    let near = known.clone().map(|known| (strsim::damerau_levenshtein(&shown, known), known)).min();
    match near {
        Some((distance, near)) if distance <= 3 => problem.hint(format!("did you mean {near}?")),
        Some(_) => problem.hint(format!("there are: {}", known.collect::<Vec<_>>().join(", "))),
        None => problem.hint("this route takes none"),
    }
}

fn decoded(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| {
        Problem::new(Code::BadRequest, "the query is not UTF-8 once its percent signs are decoded")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter { name: "limit", about: "", repeats: false },
        Parameter { name: "type", about: "", repeats: true },
    ];

    #[test]
    fn values_are_decoded_and_may_repeat_where_they_are_alternatives() {
        let query = Query::parse(Some("type=a%2Ab&limit=5&type=x+y%3D&type="), KNOWN).unwrap();
        assert_eq!(query.one("limit"), Some("5"));
        assert_eq!(query.all("type", |text| Ok(text.to_owned())).unwrap(), ["a*b", "x y=", ""]);
        assert_eq!(Query::parse(Some("limit=1&limit=2"), KNOWN).unwrap_err().code(), Code::BadParameter);
        assert_eq!(Query::parse(Some("type=%C0%A0"), KNOWN).unwrap_err().code(), Code::BadRequest);
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_the_nearest_name() {
        let problem = Query::parse(Some("limt=5"), KNOWN).unwrap_err();
        assert_eq!(problem.code(), Code::UnknownParameter);
        assert!(format!("{problem:?}").contains("did you mean limit?"), "{problem:?}");
    }
}
