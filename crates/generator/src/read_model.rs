//! The read model of a typical consumer: progress of users and courses, revenue and counts.

use std::{collections::BTreeMap, fmt::Write as _};

use sha2::{Digest as _, Sha256};

/// The progress of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserProgress {
    /// Events that name the user.
    pub events: i64,
    /// Enrolments in courses.
    pub enrolments: i64,
    /// Courses completed.
    pub completions: i64,
    /// Learning paths completed.
    pub paths_completed: i64,
    /// Created subscriptions minus cancelled ones.
    pub active_subscriptions: i64,
    /// Minutes in completed lab sessions.
    pub lab_minutes: i64,
}

/// The progress of a course.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CourseProgress {
    /// Enrolments in the course.
    pub enrolments: i64,
    /// Completions of the course.
    pub completions: i64,
}

/// A read model. Every event changes it, and the order of the events does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadModel {
    /// Progress by user id.
    pub users: BTreeMap<String, UserProgress>,
    /// Progress by course id.
    pub courses: BTreeMap<String, CourseProgress>,
    /// Successful payments in cents, by currency.
    pub revenue_cents: BTreeMap<String, i64>,
    /// Errors, by the type of the original event.
    pub errors: BTreeMap<String, i64>,
    /// Events by type.
    pub by_type: BTreeMap<String, i64>,
    /// Events by source.
    pub by_source: BTreeMap<String, i64>,
    /// Events by UTC day, such as `2024-01-15`.
    pub by_day: BTreeMap<String, i64>,
}

/// The name of a figure: its group, its key, and a figure name if the key has several figures.
type Name<'a> = (&'static str, &'a str, &'static str);

impl ReadModel {
    /// The number of counted events.
    pub fn events(&self) -> i64 {
        self.by_type.values().sum()
    }

    /// The number of figures that are not zero.
    pub fn figure_count(&self) -> usize {
        self.figures().count()
    }

    /// Returns every figure that is not zero, ordered by name.
    fn figures(&self) -> impl Iterator<Item = (Name<'_>, i64)> {
        let users = self.users.iter().flat_map(|(id, user)| {
            [
                (("users", id.as_str(), "activeSubscriptions"), user.active_subscriptions),
                (("users", id, "completions"), user.completions),
                (("users", id, "enrolments"), user.enrolments),
                (("users", id, "events"), user.events),
                (("users", id, "labMinutes"), user.lab_minutes),
                (("users", id, "pathsCompleted"), user.paths_completed),
            ]
        });
        let courses = self.courses.iter().flat_map(|(id, course)| {
            [
                (("courses", id.as_str(), "completions"), course.completions),
                (("courses", id, "enrolments"), course.enrolments),
            ]
        });
        // The groups are in the order of their names, so that all figures are ordered.
        counts("byDay", &self.by_day)
            .chain(counts("bySource", &self.by_source))
            .chain(counts("byType", &self.by_type))
            .chain(courses)
            .chain(counts("errors", &self.errors))
            .chain(counts("revenueCents", &self.revenue_cents))
            .chain(users)
            .filter(|(_, value)| *value != 0)
    }

    /// Returns the SHA-256 of all figures in hexadecimal. Equal read models have equal digests on every machine.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for ((group, key, figure), value) in self.figures() {
            // The length before the key makes keys with line feeds unambiguous.
            hash.update(format!("{group}/{}:{key}/{figure}={value}\n", key.len()));
        }
        let mut text = String::with_capacity(64);
        for byte in hash.finalize() {
            crate::ident::push_hex(&mut text, byte);
        }
        text
    }

    /// Returns one line for each figure that differs, ordered by name. This model has the expected figures. The result
    /// is empty if both models agree. A missing figure counts as 0.
    ///
    /// ```
    /// use event_replay_generator::ReadModel;
    /// let (mut expected, found) = (ReadModel::default(), ReadModel::default());
    /// expected.revenue_cents.insert("EUR".to_owned(), 4950);
    /// assert_eq!(expected.diff(&found), ["revenueCents EUR: expected 4950, found 0"]);
    /// ```
    pub fn diff(&self, found: &Self) -> Vec<String> {
        let (mut left, mut right) = (self.figures().peekable(), found.figures().peekable());
        let mut lines = Vec::new();
        loop {
            let name = match (left.peek(), right.peek()) {
                (None, None) => return lines,
                (Some((name, _)), None) | (None, Some((name, _))) => *name,
                (Some((name, _)), Some((other, _))) => *name.min(other),
            };
            let expected = left.next_if(|(at, _)| *at == name).map_or(0, |(_, value)| value);
            let found = right.next_if(|(at, _)| *at == name).map_or(0, |(_, value)| value);
            if expected != found {
                lines.push(line(name, expected, found));
            }
        }
    }
}

fn counts<'a>(group: &'static str, map: &'a BTreeMap<String, i64>) -> impl Iterator<Item = (Name<'a>, i64)> {
    map.iter().map(move |(key, value)| ((group, key.as_str(), ""), *value))
}

fn line((group, key, figure): Name<'_>, expected: i64, found: i64) -> String {
    let mut text = format!("{group} {key}");
    if !figure.is_empty() {
        text.push(' ');
        text.push_str(figure);
    }
    let _ = write!(text, ": expected {expected}, found {found}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(enrolments: i64, euros: i64) -> ReadModel {
        let mut model = ReadModel::default();
        model.courses.insert("course-1".into(), CourseProgress { enrolments, completions: 1 });
        model.revenue_cents.insert("EUR".into(), euros);
        model
    }

    #[test]
    fn a_difference_is_named_from_both_sides() {
        let mut other = model(3, 0);
        other.users.insert("user-1".into(), UserProgress { events: 2, ..UserProgress::default() });
        let lines = model(2, 10).diff(&other);
        assert_eq!(
            lines,
            [
                "courses course-1 enrolments: expected 2, found 3",
                "revenueCents EUR: expected 10, found 0",
                "users user-1 events: expected 0, found 2",
            ]
        );
        assert_eq!(other.diff(&model(2, 10)).len(), 3);
        assert_ne!(other.digest(), model(2, 10).digest());
    }

    #[test]
    fn a_missing_figure_is_a_zero() {
        let mut without = model(2, 0);
        without.revenue_cents.clear();
        assert_eq!(model(2, 0).diff(&without), Vec::<String>::new());
        assert_eq!((model(2, 0).figure_count(), model(2, 1).figure_count()), (2, 3));
        assert_eq!(model(2, 0).digest(), without.digest());
    }
}
