//! The filter flags. Every command that selects a slice of history has the same set.

use std::{
    collections::HashSet,
    fs,
    io::{self, BufRead, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use domain::{Entity, Filter};
use event_replay::app::filter::{FilterRequest, FilterRequestError};
pub(crate) use event_replay::text::name::{entity, name};
use jiff::Timestamp;

use super::time;
use crate::{complete, errors::CliError, output::escape};

/// Which events. Flags are ANDed; the values of a flag that is repeated are ORed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which events (flags are ANDed, a repeated flag's values are ORed)")]
pub(crate) struct FilterArgs {
    /// Events of this type; `*` stands for any characters (`user.*`).
    #[arg(long = "type", value_name = "TYPE", value_parser = name, add = complete::types())]
    pub(crate) types: Vec<String>,
    /// Events that this service published.
    #[arg(long = "source", value_name = "NAME", value_parser = name, add = complete::sources())]
    pub(crate) sources: Vec<String>,
    /// Events of this workflow.
    #[arg(long = "correlation-id", value_name = "ID", value_parser = name)]
    pub(crate) correlation_ids: Vec<String>,
    /// Events that name this user (`userId`).
    #[arg(long = "user-id", value_name = "ID", value_parser = name)]
    pub(crate) user_ids: Vec<String>,
    /// Events that name this course (`courseId`).
    #[arg(long = "course-id", value_name = "ID", value_parser = name)]
    pub(crate) course_ids: Vec<String>,
    /// Events that name this lab (`labId`).
    #[arg(long = "lab-id", value_name = "ID", value_parser = name)]
    pub(crate) lab_ids: Vec<String>,
    /// Events that name any entity: `payment=pay-7` is `paymentId: "pay-7"`.
    #[arg(long = "entity", value_name = "KIND=ID", value_parser = entity)]
    pub(crate) entities: Vec<Entity>,
    /// The event of this id.
    #[arg(long = "event-id", value_name = "ID", value_parser = name)]
    pub(crate) event_ids: Vec<String>,
    /// The events whose ids this file lists, one a line (`-`: stdin).
    #[arg(long = "ids", value_name = "FILE")]
    pub(crate) id_files: Vec<PathBuf>,
    /// Events whose content satisfies a CEL expression, such as 'data.amount > 100'.
    #[arg(long = "where", value_name = "EXPRESSION")]
    pub(crate) conditions: Vec<String>,
    /// Events that happened at or after this time: RFC 3339, a date, `2h` (ago), `today 09:00`, `yesterday`.
    #[arg(long, value_name = "TIME", value_parser = time::point, allow_hyphen_values = true)]
    pub(crate) from: Option<Timestamp>,
    /// Events that happened at or before this time; a date is its last moment.
    #[arg(long, value_name = "TIME", value_parser = time::last_point, allow_hyphen_values = true)]
    pub(crate) to: Option<Timestamp>,
}

impl FilterArgs {
    /// Returns the filter that the flags describe.
    pub(crate) fn filter(&self) -> Result<Filter, CliError> {
        let mut request = FilterRequest {
            types: self.types.clone(),
            sources: self.sources.clone(),
            correlation_ids: self.correlation_ids.clone(),
            entities: self.named_entities(),
            event_ids: self.event_ids.clone(),
            conditions: self.conditions.clone(),
            from: self.from,
            to: self.to,
        };
        for file in &self.id_files {
            request.event_ids.extend(read_ids(file)?);
        }
        request.filter().map_err(|error| match error {
            FilterRequestError::Condition(error) => CliError::usage(format!("--where: {error}")),
            error => CliError::usage(error.to_string())
                .hint("--from is the earlier end; both ends are part of the range"),
        })
    }

    /// Returns all entities that the flags name.
    pub(crate) fn named_entities(&self) -> Vec<Entity> {
        let of = |kind: &str, ids: &[String]| -> Vec<Entity> {
            ids.iter().map(|id| Entity::new(kind, id)).collect()
        };
        let mut entities = of("user", &self.user_ids);
        entities.extend(of("course", &self.course_ids));
        entities.extend(of("lab", &self.lab_ids));
        entities.extend(self.entities.iter().cloned());
        entities
    }
}

/// Bytes at which a line is too long for an id, line feed included. No id is that long. The limit detects a file
/// without line feeds.
const LONGEST_ID_LINE: usize = 1024;

fn read_ids(file: &Path) -> Result<HashSet<String>, CliError> {
    let name = escape::line(&file.display().to_string()).into_owned();
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => CliError::failed(format!("--ids {name}: there is no such file")),
        io::ErrorKind::IsADirectory => {
            CliError::failed(format!("--ids {name}: this is a folder; name a file"))
        }
        _ => CliError::failed(format!("--ids {name}: the file cannot be read: {error}")),
    };
    let mut reader: Box<dyn BufRead> = match file == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(io::BufReader::new(fs::File::open(file).map_err(unreadable)?)),
    };
    let mut ids = HashSet::new();
    for number in 1u64.. {
        let mut line = Vec::new();
        let most = LONGEST_ID_LINE as u64;
        if reader.by_ref().take(most).read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            break;
        }
        if line.len() == LONGEST_ID_LINE {
            return Err(CliError::failed(format!(
                "--ids {name}: line {number} has {most} bytes or more, and ids have 1 to 128: write one id a line"
            )));
        }
        let line = String::from_utf8(line)
            .map_err(|_| CliError::failed(format!("--ids {name}: the file is not UTF-8 text")))?;
        let line = line.strip_suffix('\n').unwrap_or(&line);
        let id = line.strip_suffix('\r').unwrap_or(line);
        if !id.is_empty() {
            ids.insert(id.to_owned());
        }
    }
    if ids.is_empty() {
        // An empty list of ids would select every event.
        return Err(CliError::usage(format!("--ids {name}: the file lists no ids; write one a line")));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_courses_and_labs_are_entities_like_any_other() {
        let args = FilterArgs {
            user_ids: vec!["u1".to_owned()],
            entities: vec![Entity::new("user", "u2"), Entity::new("payment", "p")],
            ..FilterArgs::default()
        };
        let filter = args.filter().unwrap();
        assert_eq!(
            serde_json::to_string(&filter).unwrap(),
            r#"{"entities":{"payment":["p"],"user":["u1","u2"]}}"#
        );
    }
}
