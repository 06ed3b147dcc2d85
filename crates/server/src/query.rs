//! Query parameters. An unknown parameter is refused, not ignored.

use percent_encoding::percent_decode_str;

use crate::{
    problem::{Code, Problem},
    shape::Shape,
};

/// A query parameter of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// The name of the parameter.
    pub name: &'static str,
    /// The effect of the parameter, in one sentence.
    pub about: &'static str,
    /// The values of the parameter.
    pub shape: Shape,
    /// Whether the parameter may occur several times. Its values are alternatives.
    pub repeats: bool,
    /// Whether a request without the parameter is refused.
    pub required: bool,
}

impl Parameter {
    /// A parameter that may be left out, and may occur once.
    pub(crate) const fn new(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, about, shape, repeats: false, required: false }
    }

    /// A parameter that may occur several times.
    pub(crate) const fn repeated(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { repeats: true, ..Self::new(name, shape, about) }
    }

    /// A parameter that every request has.
    pub(crate) const fn required(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { required: true, ..Self::new(name, shape, about) }
    }
}

/// The parsed query of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query. A parameter that is not in `known` is refused.
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

    /// Returns the value of a parameter that occurs at most once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Parses the value of a parameter that occurs at most once.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        self.one(name).map(|value| read(value).map_err(|error| bad(name, &error))).transpose()
    }

    /// Parses all values of a parameter.
    pub(crate) fn all<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, Problem> {
        let values = self.0.iter().filter(|(known, _)| known == name);
        values.map(|(_, value)| read(value).map_err(|error| bad(name, &error))).collect()
    }

    /// Returns the value of a boolean parameter, or false if the parameter is missing.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        let read = |text: &str| match text {
            "true" | "" => Ok(true),
            "false" => Ok(false),
            _ => Err("it is true or false".to_owned()),
        };
        Ok(self.read(name, read)?.unwrap_or(false))
    }

    /// Returns the choice that a parameter names, or refuses the value if it is not a listed word.
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

/// Returns the problem for an invalid value of a parameter.
pub(crate) fn bad(name: &str, error: &str) -> Problem {
    Problem::new(Code::BadParameter, format!("{name}: {error}"))
}

/// Returns the problem for a request whose values are valid one by one, but not together.
pub(crate) fn contradiction(name: &str, error: &str) -> Problem {
    Problem::new(Code::Invalid, format!("{name}: {error}"))
}

/// Returns the problem for an unknown name. The hint contains the nearest known name.
pub(crate) fn unknown<'k>(name: &str, known: impl Iterator<Item = &'k str> + Clone) -> Problem {
    /// Number of shown characters. Longer names are cut, because clients choose the names.
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

    const KNOWN: &[Parameter] =
        &[Parameter::new("limit", Shape::Whole(1, 1000), ""), Parameter::repeated("type", Shape::Name, "")];

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
