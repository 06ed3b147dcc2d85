//! `--fields` and `--jq`: what is kept of the JSON that a command prints.

mod documents;
mod fields;
mod jq;

pub(crate) use self::{documents::Documents, fields::Fields, jq::Jq};
use crate::{args::Format, errors::CliError};

/// What is kept of each document.
pub(crate) enum Selection {
    /// Some members of each row.
    Fields(Fields),
    /// What an expression makes of it.
    Jq(Jq),
}

impl Selection {
    /// The selection that flags name, if any.
    pub(crate) fn of(fields: &[String], jq: Option<&str>) -> Result<Option<Self>, CliError> {
        match jq {
            Some(expression) => Ok(Some(Self::Jq(Jq::compile(expression)?))),
            None if fields.is_empty() => Ok(None),
            None => Ok(Some(Self::Fields(Fields::new(fields)?))),
        }
    }

    /// The format in which a command has to print, so that this can select from it.
    pub(crate) fn format(&self, asked: Format) -> Format {
        match (self, asked) {
            (Self::Fields(_), Format::Table) => Format::Ndjson,
            (Self::Jq(_), Format::Table) => Format::Json,
            (_, format) => format,
        }
    }
}
