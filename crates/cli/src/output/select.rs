//! `--fields` and `--jq`: select parts of the JSON that a command prints.

mod documents;
mod fields;
mod jq;

pub(crate) use self::{documents::Documents, fields::Fields, jq::Jq};
use crate::{args::Format, errors::CliError};

/// The selection from each document.
pub(crate) enum Selection {
    /// Named members of each row.
    Fields(Fields),
    /// The results of a jq expression.
    Jq(Jq),
}

impl Selection {
    /// Returns the selection that the flags name, if any.
    pub(crate) fn of(fields: &[String], jq: Option<&str>) -> Result<Option<Self>, CliError> {
        match jq {
            Some(expression) => Ok(Some(Self::Jq(Jq::compile(expression)?))),
            None if fields.is_empty() => Ok(None),
            None => Ok(Some(Self::Fields(Fields::new(fields)?))),
        }
    }

    /// The format in which the command must print its results for this selection.
    pub(crate) fn format(&self, asked: Format) -> Format {
        match (self, asked) {
            (Self::Fields(_), Format::Table) => Format::Ndjson,
            (Self::Jq(_), Format::Table) => Format::Json,
            (_, format) => format,
        }
    }
}
