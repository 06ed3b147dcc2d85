//! Encodes a decided event as a JSON line: the envelope, the entities, and the data of each type.

use crate::{
    dice::Dice,
    fact::{Bought, Detail, Fact, Standing},
    fault::Fault,
    generator::{Generated, Validity},
    json::{Json, Val},
    kind::Kind,
    vocabulary as words,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const LONG_ID: &str = "event-with-an-id-that-repeats-itself-event-with-an-id-that-repeats-itself-\
                       event-with-an-id-that-repeats-itself-event-with-an-id-that-repeats-itself-";

/// Writes an event, with a fault if one is given.
pub(crate) fn encode(fact: &Fact, fault: Option<Fault>, dice: &mut Dice) -> Generated {
    let required = fact.detail.kind().required_members();
    let mut json = Json::new(fault.and_then(|fault| fault.damage(required, dice)));
    envelope(&mut json, fact, fault);
    entities(&mut json, &fact.detail);
    metadata(&mut json, fact, fault, dice);
    json.open("data", "/data");
    data(&mut json, fact, dice);
    json.close();
    let (mut json, struck) = json.finish();
    let Some(fault) = fault else { return Generated { json, validity: Validity::Valid } };
    if fault == Fault::Cut {
        let middle = json.len() / 2;
        json.truncate((0..=middle).rev().find(|at| json.is_char_boundary(*at)).unwrap_or(1));
    }
    let (pointer, rule) = fault.verdict();
    Generated {
        json,
        validity: Validity::Invalid { pointer: struck.unwrap_or_else(|| pointer.to_owned()), rule },
    }
}

fn envelope(json: &mut Json, fact: &Fact, fault: Option<Fault>) {
    let kind = fact.detail.kind();
    match fault {
        Some(Fault::EmptyId) => json.put("id", Val::Text("")),
        Some(Fault::LongId) => json.put("id", Val::Pieces(format_args!("{LONG_ID}{}", fact.at_ms))),
        _ => json.put("id", Val::Ident(fact.id)),
    }
    match fault {
        Some(Fault::UnknownType) => json.put("type", Val::Pieces(format_args!("{}.draft", kind.name()))),
        _ => json.put("type", Val::Text(kind.name())),
    }
    json.put("version", Val::Text("1.0"));
    match fault {
        Some(Fault::NoSuchDay) => json.put("timestamp", Val::Text("2024-02-30T09:15:00.000Z")),
        Some(Fault::NoZone) => json.put("timestamp", Val::Text("2024-01-15T10:30:00.000")),
        _ => json.put("timestamp", Val::Time(fact.at_ms)),
    }
    match fault {
        Some(Fault::NoSource) => {}
        Some(Fault::TwiceTheSource) => {
            json.put("source", Val::Text(kind.source()));
            json.put("source", Val::Text("api-gateway"));
        }
        _ => json.put("source", Val::Text(kind.source())),
    }
    json.put("correlationId", Val::Ident(fact.correlation));
    if let Some(cause) = fact.cause {
        json.put("causationId", Val::Ident(cause));
    }
}

fn user_id(user: u32) -> Val<'static> {
    Val::Numbered("user-", u64::from(user) + u64::from(words::FIRST_USER))
}

fn numbered(prefix: &'static str, number: u32) -> Val<'static> {
    Val::Numbered(prefix, number.into())
}

/// Writes the members that name entities. The schema of the type requires all of them.
fn entities(json: &mut Json, detail: &Detail) {
    match *detail {
        Detail::CourseCreated { course, .. }
        | Detail::CourseUpdated { course, .. }
        | Detail::Enrolled { course, .. }
        | Detail::CourseCompleted { course, .. } => json.require("courseId", numbered("course-", course)),
        Detail::LabCreated { lab, .. }
        | Detail::LabStarted { lab, .. }
        | Detail::LabCompleted { lab, .. } => {
            json.require("labId", numbered("lab-", lab));
        }
        Detail::PathCreated { path, .. } | Detail::PathCompleted { path, .. } => {
            json.require("pathId", numbered("path-", path));
        }
        Detail::AdminAction { admin, .. } => json.require("adminId", numbered("admin-", admin)),
        _ => {}
    }
    match (*detail, detail.user()) {
        (Detail::AdminAction { target, .. }, _) => json.require("targetUserId", user_id(target)),
        (_, Some(user)) => json.require("userId", user_id(user)),
        _ => {}
    }
    match *detail {
        Detail::CourseCreated { instructor, .. }
        | Detail::LabCreated { instructor, .. }
        | Detail::PathCreated { instructor, .. } => {
            json.require("instructorId", numbered("instructor-", instructor));
        }
        Detail::LabStarted { session, .. } | Detail::LabCompleted { session, .. } => {
            json.require("sessionId", Val::Hex("session-", session));
        }
        Detail::Payment { payment, .. } => json.require("paymentId", Val::Hex("payment-", payment)),
        Detail::SubscriptionCreated { subscription, .. } => {
            json.require("subscriptionId", Val::Hex("subscription-", subscription));
        }
        _ => {}
    }
}

fn metadata(json: &mut Json, fact: &Fact, fault: Option<Fault>, dice: &mut Dice) {
    if fault == Some(Fault::MetadataList) {
        return json.raw("metadata", r#"["correlation","retry"]"#);
    }
    let source = fact.detail.kind().source();
    json.open("metadata", "/metadata");
    json.put("serviceVersion", Val::Text(dice.pick(&["2.14.3", "2.14.4", "2.15.0", "3.0.0-rc.2"])));
    json.put("host", Val::Pieces(format_args!("{source}-{:05x}", dice.below(1 << 20))));
    json.put("requestId", Val::Hex("req-", dice.bits()));
    if let (Detail::SystemError { .. }, Some(cause)) = (fact.detail, fact.cause) {
        json.put("originalEventId", Val::Ident(cause));
    }
    if fact.detail.user().is_some() {
        // This address range is reserved for documentation.
        json.put("ipAddress", Val::Pieces(format_args!("203.0.113.{}", dice.below(256))));
        if dice.one_in(2) {
            json.put("userAgent", Val::Text(dice.pick(&words::USER_AGENTS)));
        }
        if dice.one_in(3) {
            json.put("locale", Val::Text(dice.pick(&["en-GB", "de-DE", "pt-BR", "fr-FR", "sv-SE"])));
        }
    } else if dice.one_in(2) {
        json.put("traceparent", Val::Pieces(format_args!("00-{:032x}-{:016x}-01", dice.bits(), dice.bits())));
    }
    json.close();
}

fn data(json: &mut Json, fact: &Fact, dice: &mut Dice) {
    let at_ms = fact.at_ms;
    match fact.detail {
        Detail::Registered { user } => registered(json, user, dice),
        Detail::ProfileUpdated { user } => profile(json, user, dice),
        Detail::SubscriptionUpdated { plan, standing, .. } => {
            subscription_updated(json, plan, standing, at_ms, dice);
        }
        Detail::CourseCreated { course, .. } => course_created(json, course),
        Detail::CourseUpdated { course, published } => course_updated(json, course, published, dice),
        Detail::Enrolled { user, course } => enrolled(json, user, course, at_ms, dice),
        Detail::CourseCompleted { course, .. } => course_completed(json, course, at_ms, dice),
        Detail::LabCreated { lab, .. } => lab_created(json, lab),
        Detail::LabStarted { .. } => lab_started(json, at_ms, dice),
        Detail::LabCompleted { minutes, failed, .. } => lab_completed(json, minutes, failed, at_ms, dice),
        Detail::Payment { user, cents, failed, bought, .. } => {
            payment(json, Charge { user, cents, failed, bought }, at_ms, dice);
        }
        Detail::SubscriptionCreated { plan, .. } => subscription_created(json, plan, at_ms, dice),
        Detail::PathCreated { path, .. } => path_created(json, path),
        Detail::PathCompleted { path, .. } => path_completed(json, path, at_ms, dice),
        Detail::AdminAction { .. } => admin_action(json, at_ms, dice),
        Detail::SystemError { original } => system_error(json, original, dice),
    }
}

fn registered(json: &mut Json, user: u32, dice: &mut Dice) {
    let method = dice.pick(&["email", "email", "oauth", "invitation"]);
    json.require("email", Val::Email(user));
    json.require("registrationMethod", Val::Text(method));
    json.put("firstName", Val::Text(words::first_name(user).0));
    json.put("lastName", Val::Text(words::last_name(user).0));
    if method == "oauth" {
        json.put("provider", Val::Text(dice.pick(&["google", "github", "microsoft"])));
    }
    json.put("acceptedTerms", Val::Text("2023-11"));
    json.put("marketingConsent", Val::Bool(dice.one_in(3)));
}

fn profile(json: &mut Json, user: u32, dice: &mut Dice) {
    let subject = words::subject(dice.below(100) as u32);
    json.put("firstName", Val::Text(words::first_name(user).0));
    json.put("lastName", Val::Text(words::last_name(user).0));
    if dice.one_in(4) {
        json.put("email", Val::Email(user));
    }
    if dice.one_in(3) {
        json.put("phone", Val::Pieces(format_args!("+1-555-01{:02}", dice.below(100))));
    }
    if dice.one_in(2) {
        json.put(
            "avatar",
            Val::Pieces(format_args!("https://cdn.example.com/avatars/{:016x}.webp", dice.bits())),
        );
    }
    json.put(
        "bio",
        Val::Pieces(format_args!("Engineer, now learning \"{subject}\".\nOpen to questions & reviews.")),
    );
    if dice.one_in(2) {
        json.raw("previousValues", r#"{"bio":"","phone":null}"#);
    }
}

fn subscription_updated(json: &mut Json, plan: usize, standing: Standing, at_ms: i64, dice: &mut Dice) {
    let plan = &words::PLANS[plan];
    let (status, before, previous) = match standing {
        Standing::Active => ("active", "pending", "free"),
        Standing::Upgraded => ("active", "active", "basic"),
        Standing::Cancelled => ("cancelled", "active", plan.tier),
    };
    json.require("subscriptionType", Val::Text(plan.tier));
    json.require("status", Val::Text(status));
    json.put("previousType", Val::Text(previous));
    json.put("previousStatus", Val::Text(before));
    json.put("expiresAt", Val::Time(at_ms + plan.days * DAY_MS));
    json.put("billingCycle", Val::Text(plan.cycle));
    if standing == Standing::Cancelled {
        json.put(
            "cancellationReason",
            Val::Text(dice.pick(&["too expensive", "project ended", "switched employer"])),
        );
    }
}

fn course_created(json: &mut Json, course: u32) {
    let (subject, (difficulty, depth)) = (words::subject(course), words::level(course));
    json.require("title", Val::Pieces(format_args!("{subject}: {depth}")));
    let description = format_args!(
        "From first principles to a running system: {subject}, with hands-on labs, reviews and a final project. \
         Estimated effort: {} minutes.",
        words::minutes(course) * 8
    );
    json.require("description", Val::Pieces(description));
    json.require("category", Val::Text(words::category(course)));
    json.require("difficulty", Val::Text(difficulty));
    json.require("status", Val::Text("draft"));
    json.put("duration", Val::Int((words::minutes(course) * 8).into()));
    json.put("price", Val::Cents(words::course_cents(course).into()));
    json.list("tags", [words::category(course), difficulty, "hands-on"].into_iter().map(Val::Text));
}

fn course_updated(json: &mut Json, course: u32, published: bool, dice: &mut Dice) {
    let (subject, (difficulty, depth)) = (words::subject(course), words::level(course));
    json.put("title", Val::Pieces(format_args!("{subject}: {depth}")));
    if published {
        json.put("status", Val::Text("published"));
        json.put("previousStatus", Val::Text("draft"));
    } else {
        let chapter = 1 + dice.below(12);
        let about = format_args!(
            "{subject}, revised: chapter {chapter} now covers failure modes and how to test them."
        );
        json.put("description", Val::Pieces(about));
        json.put("difficulty", Val::Text(difficulty));
    }
    json.put("duration", Val::Int((words::minutes(course) * 8 + 15).into()));
    json.put("price", Val::Cents(words::course_cents(course).into()));
    json.list("changedFields", ["title", "duration", "price", "description"].into_iter().map(Val::Text));
}

fn enrolled(json: &mut Json, user: u32, course: u32, at_ms: i64, dice: &mut Dice) {
    json.require(
        "enrollmentType",
        Val::Text(dice.pick(&["paid", "subscription", "subscription", "free", "gift"])),
    );
    json.require("enrolledAt", Val::Time(at_ms));
    json.require("progress", Val::Int(0));
    json.put("courseTitle", Val::Text(words::subject(course)));
    json.put("notify", Val::Email(user));
    if dice.one_in(5) {
        json.put("campaign", Val::Text(dice.pick(&["new-year-2024", "team-onboarding", "newsletter"])));
    }
}

fn course_completed(json: &mut Json, course: u32, at_ms: i64, dice: &mut Dice) {
    let score = 6000 + dice.below(4001);
    json.require("progress", Val::Int(100));
    json.require("completedAt", Val::Time(at_ms));
    json.put("finalScore", Val::Cents(score));
    json.put("completionTime", Val::Int(u64::from(words::minutes(course)) * 8 + dice.below(600)));
    json.put("certificateEligible", Val::Bool(score >= 7000));
    json.put("courseTitle", Val::Text(words::subject(course)));
}

fn lab_created(json: &mut Json, lab: u32) {
    let (subject, (difficulty, _)) = (words::subject(lab), words::level(lab));
    json.require("title", Val::Pieces(format_args!("Lab {lab}: {subject}")));
    json.require("type", Val::Text(["guided", "challenge", "sandbox"][lab as usize % 3]));
    json.require("difficulty", Val::Text(difficulty));
    json.require("status", Val::Text("published"));
    json.require("duration", Val::Int(words::minutes(lab).into()));
    json.put(
        "instructions",
        Val::Pieces(format_args!(
            "https://docs.example.com/labs/{lab}/instructions?format=markdown&level={difficulty}"
        )),
    );
    json.list(
        "requirements",
        ["kubectl >= 1.28", "terraform >= 1.6", "a terminal"].into_iter().map(Val::Text),
    );
}

fn lab_started(json: &mut Json, at_ms: i64, dice: &mut Dice) {
    let (cloud, region) = dice.pick(&words::CLOUDS);
    json.require("cloudProvider", Val::Text(cloud));
    json.require("region", Val::Text(region));
    json.require("startedAt", Val::Time(at_ms));
    json.require("status", Val::Text("running"));
    json.put("environmentId", Val::Pieces(format_args!("env-{region}-{:06x}", dice.below(1 << 24))));
    let machines = 1 + dice.below(3);
    json.list("resources", (0..machines).map(|_| Val::Hex("vm-", dice.bits())));
}

fn lab_completed(json: &mut Json, minutes: u32, failed: bool, at_ms: i64, dice: &mut Dice) {
    json.require("sessionDuration", Val::Int(minutes.into()));
    json.require("completedAt", Val::Time(at_ms));
    json.require("status", Val::Text(if failed { "failed" } else { "completed" }));
    if !failed {
        json.put("solutionScore", Val::Int(50 + dice.below(51)));
    }
    json.put("cost", Val::Cents(u64::from(minutes) * 3 + dice.below(40)));
    json.put("checksPassed", Val::Int(dice.below(13)));
    json.put(
        "feedback",
        Val::Text(dice.pick(&["Clear steps, good pace.", "Step 4 needs a screenshot.", ""])),
    );
}

#[derive(Clone, Copy)]
struct Charge {
    user: u32,
    cents: u32,
    failed: bool,
    bought: Bought,
}

fn payment(json: &mut Json, charge: Charge, at_ms: i64, dice: &mut Dice) {
    json.require("amount", Val::Cents(charge.cents.into()));
    json.require("currency", Val::Text(words::CURRENCIES[words::currency(charge.user)]));
    json.require("status", Val::Text(if charge.failed { "failed" } else { "succeeded" }));
    json.require("paymentMethod", Val::Text(dice.pick(&["card", "card", "paypal", "sepa_debit"])));
    json.require("processedAt", Val::Time(at_ms));
    match charge.bought {
        Bought::Plan { subscription } => {
            json.put("subscriptionId", Val::Hex("subscription-", subscription));
            json.put("description", Val::Text("Subscription fee"));
        }
        Bought::Course { course } => {
            json.put("courseId", numbered("course-", course));
            json.put("description", Val::Pieces(format_args!("Course: {}", words::subject(course))));
        }
    }
    if charge.failed {
        json.put("failureCode", Val::Text(dice.pick(&["card_declined", "expired_card", "processing_error"])));
    }
}

fn subscription_created(json: &mut Json, plan: usize, at_ms: i64, dice: &mut Dice) {
    let plan = &words::PLANS[plan];
    json.require("planId", Val::Text(plan.id));
    json.require("status", Val::Text("active"));
    json.require("startDate", Val::Time(at_ms));
    json.require("billingCycle", Val::Text(plan.cycle));
    json.put("endDate", Val::Time(at_ms + plan.days * DAY_MS));
    if dice.one_in(4) {
        json.put("trialEndDate", Val::Time(at_ms + 14 * DAY_MS));
    }
    json.put("amount", Val::Cents(plan.cents.into()));
}

fn path_created(json: &mut Json, path: u32) {
    let subject = words::subject(path);
    json.require("title", Val::Pieces(format_args!("Becoming an expert: {subject}")));
    let about =
        format_args!("A guided path through courses and labs on {subject}, from the basics to a capstone.");
    json.require("description", Val::Pieces(about));
    json.require("status", Val::Text("published"));
    json.require("totalSteps", Val::Int(words::path_steps(path).into()));
    let steps = (0..words::path_steps(path)).map(|step| numbered("course-", path + step));
    json.list("steps", steps);
}

fn path_completed(json: &mut Json, path: u32, at_ms: i64, dice: &mut Dice) {
    let steps = u64::from(words::path_steps(path));
    json.require("progress", Val::Int(100));
    json.require("completedSteps", Val::Int(steps));
    json.require("totalSteps", Val::Int(steps));
    json.require("completedAt", Val::Time(at_ms));
    json.put("completionTime", Val::Int(steps * 420 + dice.below(900)));
    json.put("certificateEligible", Val::Bool(dice.per_mille(900)));
    json.put("pathTitle", Val::Text(words::subject(path)));
}

fn admin_action(json: &mut Json, at_ms: i64, dice: &mut Dice) {
    let (action, before, after) = dice.pick(&[
        ("role_changed", "student", "instructor"),
        ("account_suspended", "active", "suspended"),
        ("account_restored", "suspended", "active"),
        ("limit_raised", "3 sessions", "5 sessions"),
    ]);
    json.require("action", Val::Text(action));
    json.require("performedAt", Val::Time(at_ms));
    json.put("reason", Val::Pieces(format_args!("Support ticket #{}", 10_000 + dice.below(90_000))));
    json.put("previousValue", Val::Text(before));
    json.put("newValue", Val::Text(after));
}

fn system_error(json: &mut Json, original: Kind, dice: &mut Dice) {
    json.require("error", Val::Text(dice.pick(&words::ERRORS)));
    json.require("originalEvent", Val::Text(original.name()));
    json.put("handler", Val::Pieces(format_args!("{}-handler", original.source())));
    json.put("attempt", Val::Int(1 + dice.below(4)));
    json.put("retryable", Val::Bool(dice.one_in(2)));
}
