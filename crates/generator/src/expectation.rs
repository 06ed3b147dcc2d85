//! The read model that the generator expects, counted from its decisions, and never from the JSON that it wrote.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::Offset};

use crate::{
    fact::{Bought, Detail, Fact, Standing},
    kind::{Kind, SERVICES},
    read_model::{CourseProgress, ReadModel, UserProgress},
    vocabulary,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The expected state after all valid events up to now. Its size grows with users, courses and days, not with events.
#[derive(Debug, Clone, Default)]
pub struct Expectation {
    users: Vec<UserTally>,
    courses: Vec<(u32, u32)>,
    cents: [u64; vocabulary::CURRENCIES.len()],
    kinds: [u64; Kind::COUNT],
    errors: [u64; Kind::COUNT],
    days: BTreeMap<i64, u64>,
}

#[derive(Debug, Clone, Default)]
struct UserTally {
    touched: u32,
    enrolled: u32,
    completed: u32,
    paths: u32,
    begun: u32,
    cancelled: u32,
    minutes: u64,
}

impl Expectation {
    pub(crate) fn note(&mut self, fact: &Fact) {
        let kind = fact.detail.kind();
        self.kinds[kind as usize] += 1;
        *self.days.entry(fact.at_ms.div_euclid(DAY_MS)).or_default() += 1;
        if let Some(user) = fact.detail.user() {
            self.user(user).touched += 1;
        }
        match fact.detail {
            Detail::Enrolled { course, user } => {
                self.user(user).enrolled += 1;
                slot(&mut self.courses, course).0 += 1;
            }
            Detail::CourseCompleted { course, user } => {
                self.user(user).completed += 1;
                slot(&mut self.courses, course).1 += 1;
            }
            Detail::PathCompleted { user, .. } => self.user(user).paths += 1,
            Detail::SubscriptionCreated { user, .. } => self.user(user).begun += 1,
            Detail::SubscriptionUpdated { user, standing: Standing::Cancelled, .. } => {
                self.user(user).cancelled += 1;
            }
            Detail::LabCompleted { user, minutes, .. } => self.user(user).minutes += u64::from(minutes),
            Detail::Payment {
                user,
                cents,
                failed: false,
                bought: Bought::Plan { .. } | Bought::Course { .. },
                ..
            } => {
                self.cents[vocabulary::currency(user)] += u64::from(cents);
            }
            Detail::SystemError { original } => self.errors[original as usize] += 1,
            _ => {}
        }
    }

    fn user(&mut self, user: u32) -> &mut UserTally {
        slot(&mut self.users, user)
    }

    /// Returns the read model that a consumer of all valid events must end with.
    pub fn read_model(&self) -> ReadModel {
        let users = self.users.iter().enumerate().filter(|(_, tally)| tally.touched > 0);
        let courses =
            self.courses.iter().enumerate().filter(|(_, (enrolled, completed))| enrolled + completed > 0);
        let mut by_source = [0; SERVICES.len()];
        for kind in Kind::all() {
            by_source[kind.service()] += self.kinds[kind as usize];
        }
        let kinds = |counts: &[u64; Kind::COUNT]| named(Kind::all().map(Kind::name), counts);
        ReadModel {
            users: users.map(|(user, tally)| (user_id(user), tally.progress())).collect(),
            courses: courses
                .map(|(course, counts)| (format!("course-{course}"), progress(*counts)))
                .collect(),
            revenue_cents: named(vocabulary::CURRENCIES.into_iter(), &self.cents),
            errors: kinds(&self.errors),
            by_type: kinds(&self.kinds),
            by_source: named(SERVICES.into_iter(), &by_source),
            by_day: self.days.iter().map(|(day, count)| (day_text(*day), *count as i64)).collect(),
        }
    }

    /// Returns the number of valid events.
    pub fn valid_events(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// Returns the digest of [`Expectation::read_model`].
    pub fn digest(&self) -> String {
        self.read_model().digest()
    }

    /// Returns one line for each figure in which a consumer's read model differs. See [`ReadModel::diff`].
    pub fn diff(&self, found: &ReadModel) -> Vec<String> {
        self.read_model().diff(found)
    }
}

impl UserTally {
    fn progress(&self) -> UserProgress {
        UserProgress {
            events: self.touched.into(),
            enrolments: self.enrolled.into(),
            completions: self.completed.into(),
            paths_completed: self.paths.into(),
            active_subscriptions: i64::from(self.begun) - i64::from(self.cancelled),
            lab_minutes: self.minutes as i64,
        }
    }
}

fn progress((enrolled, completed): (u32, u32)) -> CourseProgress {
    CourseProgress { enrolments: enrolled.into(), completions: completed.into() }
}

fn user_id(user: usize) -> String {
    format!("user-{}", user as u64 + u64::from(vocabulary::FIRST_USER))
}

fn day_text(day: i64) -> String {
    let midnight = Timestamp::from_millisecond(day * DAY_MS).unwrap_or_default();
    Offset::UTC.to_datetime(midnight).date().to_string()
}

fn named(names: impl Iterator<Item = &'static str>, counts: &[u64]) -> BTreeMap<String, i64> {
    let counted = names.zip(counts).filter(|(_, count)| **count > 0);
    counted.map(|(name, count)| (name.to_owned(), *count as i64)).collect()
}

/// Returns the entry of a number, and extends the list if needed. The list stays small, because numbers are drawn below
/// fixed bounds.
fn slot<T: Default + Clone>(list: &mut Vec<T>, number: u32) -> &mut T {
    let at = number as usize;
    if at >= list.len() {
        list.resize(at + 1, T::default());
    }
    &mut list[at]
}
