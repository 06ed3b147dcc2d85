//! The built-in event types and the services that publish them.

/// A built-in event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Registered,
    ProfileUpdated,
    SubscriptionUpdated,
    CourseCreated,
    CourseUpdated,
    Enrolled,
    CourseCompleted,
    LabCreated,
    LabStarted,
    LabCompleted,
    Payment,
    SubscriptionCreated,
    PathCreated,
    PathCompleted,
    AdminAction,
    SystemError,
}

/// Each type with its name, its service, and the number of members that its schema requires in entities and data.
const KINDS: [(Kind, &str, usize, u8); Kind::COUNT] = [
    (Kind::Registered, "user.registered", 0, 3),
    (Kind::ProfileUpdated, "user.profile.updated", 0, 1),
    (Kind::SubscriptionUpdated, "user.subscription.updated", 0, 3),
    (Kind::CourseCreated, "course.created", 1, 7),
    (Kind::CourseUpdated, "course.updated", 1, 1),
    (Kind::Enrolled, "course.enrolled", 1, 5),
    (Kind::CourseCompleted, "course.completed", 1, 4),
    (Kind::LabCreated, "lab.created", 2, 7),
    (Kind::LabStarted, "lab.session.started", 2, 7),
    (Kind::LabCompleted, "lab.session.completed", 2, 6),
    (Kind::Payment, "payment.processed", 3, 7),
    (Kind::SubscriptionCreated, "subscription.created", 3, 6),
    (Kind::PathCreated, "path.created", 4, 6),
    (Kind::PathCompleted, "path.completed", 4, 6),
    (Kind::AdminAction, "admin.user.action", 5, 4),
    (Kind::SystemError, "system.error", 6, 2),
];

/// The services, by the number that [`Kind::service`] returns.
pub(crate) const SERVICES: [&str; 7] = [
    "user-service",
    "course-service",
    "lab-service",
    "payment-service",
    "path-service",
    "admin-service",
    "error-handler",
];

impl Kind {
    pub(crate) const COUNT: usize = 16;

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        KINDS.iter().map(|(kind, ..)| *kind)
    }

    pub(crate) fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    pub(crate) fn service(self) -> usize {
        KINDS[self as usize].2
    }

    pub(crate) fn source(self) -> &'static str {
        SERVICES[self.service()]
    }

    pub(crate) fn required_members(self) -> u8 {
        KINDS[self as usize].3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_types() {
        assert!(Kind::all().enumerate().all(|(at, kind)| kind as usize == at));
    }
}
