//! An open workflow: its entities, and the decisions about its next event.

use crate::{
    dice::Dice,
    fact::{Bought, Detail, Standing},
    ident::Ident,
    kind::Kind,
    script::{Script, Step},
    vocabulary as words,
};

/// The entities of a workflow. Only sessions change within a workflow.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub(crate) user: u32,
    pub(crate) course: u32,
    pub(crate) lab: u32,
    pub(crate) path: u32,
    pub(crate) instructor: u32,
    pub(crate) admin: u32,
    pub(crate) plan: usize,
    pub(crate) subscription: u64,
    pub(crate) session: u64,
}

/// An open workflow.
#[derive(Debug, Clone)]
pub(crate) struct Workflow {
    pub(crate) correlation: Ident,
    pub(crate) cast: Cast,
    /// The id of the next event, if the documentation names it.
    pub(crate) next_id: Option<Ident>,
    /// The last event.
    pub(crate) last: Option<Last>,
    left: Script,
}

/// The last event of a workflow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Last {
    pub(crate) id: Ident,
    pub(crate) at_ms: i64,
    pub(crate) kind: Kind,
}

impl Workflow {
    /// Creates a workflow that ends after its script, or after `length` events if the script is longer.
    pub(crate) fn new(script: Script, length: u64, correlation: Ident, cast: Cast) -> Self {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let left = script.get(..length).unwrap_or(script);
        Self { correlation, cast, next_id: None, last: None, left }
    }

    /// The number of remaining events.
    pub(crate) fn left(&self) -> u64 {
        self.left.len() as u64
    }

    /// Decides the next event. Returns none at the end of the workflow.
    pub(crate) fn next_detail(&mut self, dice: &mut Dice) -> Option<Detail> {
        let step = *self.left.first()?;
        Some(self.detail(step, dice))
    }

    /// Advances the workflow after its next event was written.
    pub(crate) fn advance(&mut self, last: Last) {
        self.left = self.left.get(1..).unwrap_or_default();
        self.last = Some(last);
        self.next_id = None;
    }

    fn detail(&mut self, step: Step, dice: &mut Dice) -> Detail {
        let Cast { user, course, lab, path, instructor, admin, plan, subscription, session } = self.cast;
        match step {
            Step::Registered => Detail::Registered { user },
            Step::Profile => Detail::ProfileUpdated { user },
            Step::SubscriptionActive => {
                Detail::SubscriptionUpdated { user, plan, standing: Standing::Active }
            }
            Step::Upgraded => Detail::SubscriptionUpdated { user, plan, standing: Standing::Upgraded },
            Step::Cancelled => Detail::SubscriptionUpdated { user, plan, standing: Standing::Cancelled },
            Step::CourseCreated => Detail::CourseCreated { course, instructor },
            Step::CourseUpdated => Detail::CourseUpdated { course, published: false },
            Step::Published => Detail::CourseUpdated { course, published: true },
            Step::Enrolled => Detail::Enrolled { course, user },
            Step::CourseCompleted => Detail::CourseCompleted { course, user },
            Step::LabCreated => Detail::LabCreated { lab, instructor },
            Step::LabStarted => {
                self.cast.session = dice.bits();
                Detail::LabStarted { lab, user, session: self.cast.session }
            }
            Step::LabCompleted => {
                let minutes = 5 + dice.below(u64::from(words::minutes(lab)) + 20) as u32;
                Detail::LabCompleted { lab, user, session, minutes, failed: false }
            }
            Step::LabFailed => {
                Detail::LabCompleted { lab, user, session, minutes: 1 + dice.below(5) as u32, failed: true }
            }
            Step::PaidPlan => {
                self.payment(words::PLANS[plan].cents, Bought::Plan { subscription }, false, dice)
            }
            Step::PaidCourse => {
                self.payment(words::course_cents(course), Bought::Course { course }, false, dice)
            }
            Step::PaymentFailed => {
                self.payment(words::course_cents(course), Bought::Course { course }, true, dice)
            }
            Step::SubscriptionCreated => Detail::SubscriptionCreated { user, subscription, plan },
            Step::PathCreated => Detail::PathCreated { path, instructor },
            Step::PathCompleted => Detail::PathCompleted { path, user },
            Step::Admin => Detail::AdminAction { admin, target: user },
            Step::Failure => {
                Detail::SystemError { original: self.last.map_or(Kind::LabStarted, |last| last.kind) }
            }
        }
    }

    fn payment(&self, list_cents: u32, bought: Bought, failed: bool, dice: &mut Dice) -> Detail {
        let rebate = dice.pick(&[0, 0, 0, 0, 10, 15, 20]);
        let cents = list_cents * (100 - rebate) / 100;
        Detail::Payment { user: self.cast.user, payment: dice.bits(), cents, failed, bought }
    }
}
