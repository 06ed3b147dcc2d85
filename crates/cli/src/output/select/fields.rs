//! `--fields a,b`: selects members of each row, in the order of the flag.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::value::RawValue;

use crate::{errors::CliError, output::escape};

type Members<'a> = Vec<(String, &'a RawValue)>;

/// The selected members.
#[derive(Debug)]
pub(crate) struct Fields {
    names: Vec<String>,
    /// Members that rows have.
    known: BTreeSet<String>,
    /// Names that no row has had yet.
    missing: BTreeSet<String>,
    rows: u64,
}

impl Fields {
    pub(crate) fn new(names: &[String]) -> Result<Self, CliError> {
        if names.iter().any(|name| name.is_empty() || name.split('.').any(str::is_empty)) {
            return Err(CliError::usage("--fields has an empty name")
                .hint("write --fields id,group or --fields event.id"));
        }
        let missing = names.iter().cloned().collect();
        Ok(Self { names: names.to_vec(), known: BTreeSet::new(), missing, rows: 0 })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the selected values of each row of a document, as JSON.
    pub(crate) fn rows(&mut self, document: &str) -> Vec<Vec<String>> {
        rows_of(document).into_iter().map(|row| self.values(&row)).collect()
    }

    /// Returns a document whose rows have only the selected members.
    pub(crate) fn document(&mut self, document: &str) -> String {
        if let Some((name, rest)) = wrapper(document) {
            let rows: Vec<String> = rows_of(document).iter().map(|row| self.object(row)).collect();
            return format!("{{{}:[{}]{rest}}}", json_text(&name), rows.join(","));
        }
        let rows: Vec<String> = rows_of(document).iter().map(|row| self.object(row)).collect();
        match document.starts_with('[') {
            true => format!("[{}]", rows.join(",")),
            false => rows.join(","),
        }
    }

    /// Fails if no row had one of the names.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        let Some(name) = self.missing.first().filter(|_| self.rows > 0) else { return Ok(()) };
        let known: Vec<_> = self.known.iter().map(|name| escape::line(name)).collect();
        Err(CliError::usage(format!("--fields: no row has a member {:?}", escape::line(name)))
            .hint(format!("the members are {}", known.join(", "))))
    }

    fn values(&mut self, row: &Members<'_>) -> Vec<String> {
        self.rows += 1;
        self.known.extend(row.iter().map(|(name, _)| name.clone()));
        let mut values = Vec::with_capacity(self.names.len());
        for name in &self.names {
            let value = member(row, name);
            if value.is_some() {
                self.missing.remove(name);
            }
            values.push(value.unwrap_or_else(|| "null".to_owned()));
        }
        values
    }

    fn object(&mut self, row: &Members<'_>) -> String {
        let values = self.values(row);
        let mut text = String::from("{");
        for (at, (name, value)) in self.names.iter().zip(values).enumerate() {
            let comma = if at > 0 { "," } else { "" };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}{}:{value}", json_text(name));
        }
        text.push('}');
        text
    }
}

/// Returns the rows of a document: the elements of an array, the elements of a page's array, or the document itself.
fn rows_of(document: &str) -> Vec<Members<'_>> {
    if let Some(rows) = elements_of(document) {
        return rows;
    }
    let members = members(document);
    match page(&members).and_then(|(_, array)| elements_of(array.get())) {
        Some(rows) => rows,
        None => vec![members],
    }
}

fn elements_of(text: &str) -> Option<Vec<Members<'_>>> {
    let elements = serde_json::from_str::<Vec<&RawValue>>(text).ok()?;
    Some(elements.into_iter().map(|element| members(element.get())).collect())
}

/// Returns the name and the array of a page. A page is an object of one array, with or without `nextCursor`.
fn page<'a, 'm>(members: &'m Members<'a>) -> Option<(&'m str, &'a RawValue)> {
    let mut others = members.iter().filter(|(name, _)| name != "nextCursor");
    match (others.next(), others.next()) {
        (Some((name, value)), None) if value.get().starts_with('[') => Some((name, value)),
        _ => None,
    }
}

/// Returns the name of a page's array, and the JSON text after the array.
fn wrapper(document: &str) -> Option<(String, String)> {
    let members = members(document);
    let (name, _) = page(&members)?;
    let next = members.iter().find(|(name, _)| name == "nextCursor");
    Some((name.to_owned(), next.map_or_else(String::new, |(_, value)| format!(",\"nextCursor\":{value}"))))
}

fn members(text: &str) -> Members<'_> {
    struct InOrder<'a>(Members<'a>);
    impl<'de> serde::Deserialize<'de> for InOrder<'de> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visit;
            impl<'de> serde::de::Visitor<'de> for Visit {
                type Value = InOrder<'de>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<InOrder<'de>, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                        members.push(member);
                    }
                    Ok(InOrder(members))
                }
            }
            deserializer.deserialize_map(Visit)
        }
    }
    serde_json::from_str::<InOrder<'_>>(text).map(|found| found.0).unwrap_or_default()
}

/// Returns the value at a path such as `event.id`, as JSON. A member whose name is the whole path takes precedence.
fn member(row: &Members<'_>, path: &str) -> Option<String> {
    if let Some((_, value)) = row.iter().find(|(name, _)| name == path) {
        return Some(value.get().to_owned());
    }
    let (first, rest) = path.split_once('.')?;
    let (_, value) = row.iter().find(|(name, _)| name == first)?;
    member(&members(value.get()), rest)
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(names: &[&str]) -> Fields {
        Fields::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn members_keep_their_order_and_their_digits() {
        let page = r#"{"events":[{"event":{"id":"e1","n":123456789012345678901234567890},"position":"0:1"}],"nextCursor":"c"}"#;
        assert_eq!(
            fields(&["position", "event.n"]).document(page),
            r#"{"events":[{"position":"0:1","event.n":123456789012345678901234567890}],"nextCursor":"c"}"#
        );
        assert_eq!(fields(&["a"]).document(r#"[{"a":1,"b":2},{"b":3}]"#), r#"[{"a":1},{"a":null}]"#);
        assert_eq!(fields(&["b"]).document(r#"{"a":1,"b":[{"c":2}]}"#), r#"{"b":[{"c":2}]}"#);
    }

    #[test]
    fn a_name_that_no_row_has_is_an_error_that_lists_the_members() {
        let mut asked = fields(&["a", "x"]);
        assert!(asked.check().is_ok(), "there was no row yet");
        let _ = asked.document(r#"[{"a":1,"b":2}]"#);
        let said = asked.check().unwrap_err().to_string();
        assert_eq!(said, "--fields: no row has a member \"x\"; the members are a, b");
        assert!(Fields::new(&["a.".to_owned()]).is_err());
    }
}
