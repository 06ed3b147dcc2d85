//! The workflows: which events follow each other, and how often each workflow is begun.

use Step::{
    Admin, Cancelled, CourseCompleted, CourseCreated, CourseUpdated, Enrolled, Failure, LabCompleted, LabCreated,
    LabFailed, LabStarted, PathCompleted, PathCreated, PaidCourse, PaidPlan, PaymentFailed, Profile, Published,
    Registered, SubscriptionActive, SubscriptionCreated, Upgraded,
};

/// One event of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Registered,
    Profile,
    SubscriptionActive,
    Upgraded,
    Cancelled,
    CourseCreated,
    CourseUpdated,
    Published,
    Enrolled,
    CourseCompleted,
    LabCreated,
    LabStarted,
    LabCompleted,
    LabFailed,
    PaidPlan,
    PaidCourse,
    PaymentFailed,
    SubscriptionCreated,
    PathCreated,
    PathCompleted,
    Admin,
    Failure,
}

/// A workflow's events in order.
pub(crate) type Script = &'static [Step];

/// The most events a workflow has.
#[cfg(test)]
pub(crate) const LONGEST: usize = 10;

const REGISTRATION: Script = &[Registered, Profile];
const PURCHASE: Script = &[PaidPlan, SubscriptionCreated, SubscriptionActive];
const LEARNING: Script = &[Enrolled, LabStarted, LabCompleted, CourseCompleted];
const LAB: Script = &[LabStarted, LabCompleted];

/// Every workflow, with how often of [`TOTAL_WEIGHT`] it is begun. The first of a run are begun in this order, so that
/// short runs have all types too.
const SCRIPTS: [(u64, Script); 18] = [
    (9, REGISTRATION),
    (8, PURCHASE),
    (16, LEARNING),
    (2, &[CourseCreated, CourseUpdated, Published]),
    (3, &[PaymentFailed, Failure]),
    (2, &[LabCreated, LabStarted, LabCompleted]),
    (1, &[PathCreated, CourseUpdated]),
    (4, &[CourseCompleted, PathCompleted]),
    (3, &[Admin, Profile]),
    (15, LAB),
    (4, &[LabStarted, Failure, LabFailed]),
    (2, &[PaidPlan, SubscriptionCreated, SubscriptionActive, Cancelled]),
    (2, &[PaidPlan, SubscriptionCreated, SubscriptionActive, PaidPlan, Upgraded]),
    (7, &[PaidCourse, Enrolled, LabStarted, LabCompleted, LabStarted, LabCompleted, CourseCompleted]),
    (10, &[Enrolled, LabStarted, LabCompleted]),
    (3, &[Registered, Profile, PaidPlan, SubscriptionCreated, SubscriptionActive, Enrolled, LabStarted, LabCompleted,
        CourseCompleted, PathCompleted]),
    (2, &[Admin, Cancelled, Failure]),
    (7, &[Profile, PaidCourse, Enrolled, LabStarted, LabCompleted]),
];

/// The sum of all weights.
const TOTAL_WEIGHT: u64 = {
    let (mut sum, mut at) = (0, 0);
    while at < SCRIPTS.len() {
        sum += SCRIPTS[at].0;
        at += 1;
    }
    sum
};
