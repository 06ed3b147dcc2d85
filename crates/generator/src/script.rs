//! The workflows: the order of their events, and the frequency of each workflow.

use crate::dice::Dice;

use Step::{
    Admin, Cancelled, CourseCompleted, CourseCreated, CourseUpdated, Enrolled, Failure, LabCompleted,
    LabCreated, LabFailed, LabStarted, PaidCourse, PaidPlan, PathCompleted, PathCreated, PaymentFailed,
    Profile, Published, Registered, SubscriptionActive, SubscriptionCreated, Upgraded,
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

/// The events of a workflow in order.
pub(crate) type Script = &'static [Step];

const REGISTRATION: Script = &[Registered, Profile];
const PURCHASE: Script = &[PaidPlan, SubscriptionCreated, SubscriptionActive];
const LEARNING: Script = &[Enrolled, LabStarted, LabCompleted, CourseCompleted];
const LAB: Script = &[LabStarted, LabCompleted];

/// Every workflow with its weight out of [`TOTAL_WEIGHT`]. The first workflows of a run begin in this order, so that
/// short runs also have all types.
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
    (
        3,
        &[
            Registered,
            Profile,
            PaidPlan,
            SubscriptionCreated,
            SubscriptionActive,
            Enrolled,
            LabStarted,
            LabCompleted,
            CourseCompleted,
            PathCompleted,
        ],
    ),
    (2, &[PaidPlan, SubscriptionCreated, SubscriptionActive, Admin, Cancelled]),
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

/// Draws the script of the next workflow. `begun` is the number of workflows that were drawn before in the run.
pub(crate) fn draw(begun: u64, dice: &mut Dice) -> Script {
    if let Some((_, script)) = usize::try_from(begun).ok().and_then(|begun| SCRIPTS.get(begun)) {
        return script;
    }
    let mut throw = dice.below(TOTAL_WEIGHT);
    for (weight, script) in SCRIPTS {
        match throw.checked_sub(weight) {
            Some(rest) => throw = rest,
            None => return script,
        }
    }
    LAB
}

/// The script that replaces a registration after all users are registered.
pub(crate) const NOBODY_LEFT: Script = LAB;

/// A workflow of `user-123` at a fixed share of every run. The examples of the documentation find its events.
#[derive(Debug)]
pub(crate) struct Landmark {
    /// The start of the workflow, in thousandths of the run's events.
    pub(crate) per_mille: u64,
    pub(crate) script: Script,
    /// The correlation id, if the documentation names it.
    pub(crate) correlation: Option<&'static str>,
    /// The id of the first event, if the documentation names it.
    pub(crate) first_id: Option<&'static str>,
}

const fn landmark(
    per_mille: u64,
    script: Script,
    correlation: Option<&'static str>,
    first_id: Option<&'static str>,
) -> Landmark {
    Landmark { per_mille, script, correlation, first_id }
}

/// The landmarks in their order.
pub(crate) const LANDMARKS: [Landmark; 6] = [
    landmark(0, REGISTRATION, Some("correlation-123"), None),
    landmark(50, PURCHASE, Some("workflow-payment-123"), None),
    landmark(100, LEARNING, Some("workflow-abc-123"), None),
    landmark(250, LAB, None, Some("event-456789")),
    landmark(500, LEARNING, None, Some("last-processed-event-id")),
    landmark(600, &[Profile, PaidPlan, Upgraded], None, None),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workflows_have_two_to_ten_events_and_registration_comes_first() {
        for script in
            SCRIPTS.iter().map(|(_, script)| script).chain(LANDMARKS.iter().map(|mark| &mark.script))
        {
            assert!((2..=10).contains(&script.len()), "{script:?}");
            assert!(script.iter().skip(1).all(|step| *step != Registered), "{script:?}");
        }
    }

    #[test]
    fn every_workflow_is_begun_about_as_often_as_it_weighs() {
        let mut dice = Dice::new(3);
        let labs = (0..20_000).filter(|_| draw(u64::MAX, &mut dice) == LAB).count() as u64;
        let expected = 20_000 * 15 / TOTAL_WEIGHT;
        assert!(labs.abs_diff(expected) < expected / 5, "{labs} of {expected}");
    }
}
