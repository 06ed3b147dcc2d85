//! The built-in schemas. They are the files of `schemas/`.

/// Every built-in schema: event type and JSON text, sorted by type. Each schema describes the whole event.
pub const SCHEMAS: [(&str, &str); 16] = [
    ("admin.user.action", include_str!("../schemas/admin.user.action.json")),
    ("course.completed", include_str!("../schemas/course.completed.json")),
    ("course.created", include_str!("../schemas/course.created.json")),
    ("course.enrolled", include_str!("../schemas/course.enrolled.json")),
    ("course.updated", include_str!("../schemas/course.updated.json")),
    ("lab.created", include_str!("../schemas/lab.created.json")),
    ("lab.session.completed", include_str!("../schemas/lab.session.completed.json")),
    ("lab.session.started", include_str!("../schemas/lab.session.started.json")),
    ("path.completed", include_str!("../schemas/path.completed.json")),
    ("path.created", include_str!("../schemas/path.created.json")),
    ("payment.processed", include_str!("../schemas/payment.processed.json")),
    ("subscription.created", include_str!("../schemas/subscription.created.json")),
    ("system.error", include_str!("../schemas/system.error.json")),
    ("user.profile.updated", include_str!("../schemas/user.profile.updated.json")),
    ("user.registered", include_str!("../schemas/user.registered.json")),
    ("user.subscription.updated", include_str!("../schemas/user.subscription.updated.json")),
];
