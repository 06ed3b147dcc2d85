//! The generator's decisions about an event, before the encoding as JSON.

use crate::{ident::Ident, kind::Kind};

/// One decided event. Users, courses, labs, paths, instructors and admins are numbers.
/// [`vocabulary`](crate::vocabulary) maps the numbers to names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact {
    pub(crate) id: Ident,
    pub(crate) at_ms: i64,
    pub(crate) correlation: Ident,
    pub(crate) cause: Option<Ident>,
    pub(crate) detail: Detail,
}

/// The state of a subscription after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    Upgraded,
    Cancelled,
}

/// The subject of a payment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bought {
    Plan { subscription: u64 },
    Course { course: u32 },
}

/// The type of an event, and the content that depends on the type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Detail {
    Registered { user: u32 },
    ProfileUpdated { user: u32 },
    SubscriptionUpdated { user: u32, plan: usize, standing: Standing },
    CourseCreated { course: u32, instructor: u32 },
    CourseUpdated { course: u32, published: bool },
    Enrolled { course: u32, user: u32 },
    CourseCompleted { course: u32, user: u32 },
    LabCreated { lab: u32, instructor: u32 },
    LabStarted { lab: u32, user: u32, session: u64 },
    LabCompleted { lab: u32, user: u32, session: u64, minutes: u32, failed: bool },
    Payment { user: u32, payment: u64, cents: u32, failed: bool, bought: Bought },
    SubscriptionCreated { user: u32, subscription: u64, plan: usize },
    PathCreated { path: u32, instructor: u32 },
    PathCompleted { path: u32, user: u32 },
    AdminAction { admin: u32, target: u32 },
    SystemError { original: Kind },
}

impl Detail {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Registered { .. } => Kind::Registered,
            Self::ProfileUpdated { .. } => Kind::ProfileUpdated,
            Self::SubscriptionUpdated { .. } => Kind::SubscriptionUpdated,
            Self::CourseCreated { .. } => Kind::CourseCreated,
            Self::CourseUpdated { .. } => Kind::CourseUpdated,
            Self::Enrolled { .. } => Kind::Enrolled,
            Self::CourseCompleted { .. } => Kind::CourseCompleted,
            Self::LabCreated { .. } => Kind::LabCreated,
            Self::LabStarted { .. } => Kind::LabStarted,
            Self::LabCompleted { .. } => Kind::LabCompleted,
            Self::Payment { .. } => Kind::Payment,
            Self::SubscriptionCreated { .. } => Kind::SubscriptionCreated,
            Self::PathCreated { .. } => Kind::PathCreated,
            Self::PathCompleted { .. } => Kind::PathCompleted,
            Self::AdminAction { .. } => Kind::AdminAction,
            Self::SystemError { .. } => Kind::SystemError,
        }
    }

    /// Returns the user that the event names.
    pub(crate) fn user(&self) -> Option<u32> {
        match *self {
            Self::Registered { user }
            | Self::ProfileUpdated { user }
            | Self::SubscriptionUpdated { user, .. }
            | Self::Enrolled { user, .. }
            | Self::CourseCompleted { user, .. }
            | Self::LabStarted { user, .. }
            | Self::LabCompleted { user, .. }
            | Self::Payment { user, .. }
            | Self::SubscriptionCreated { user, .. }
            | Self::PathCompleted { user, .. } => Some(user),
            Self::AdminAction { target, .. } => Some(target),
            Self::CourseCreated { .. }
            | Self::CourseUpdated { .. }
            | Self::LabCreated { .. }
            | Self::PathCreated { .. }
            | Self::SystemError { .. } => None,
        }
    }
}
