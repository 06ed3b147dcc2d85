//! The names of numbered entities: people, courses, plans and machines.

/// First names, as written and as part of an e-mail address.
pub(crate) const FIRST_NAMES: [(&str, &str); 24] = [
    ("Amara", "amara"),
    ("Björn", "bjorn"),
    ("Chidi", "chidi"),
    ("Daniela", "daniela"),
    ("Emre", "emre"),
    ("Fatima", "fatima"),
    ("Grace", "grace"),
    ("Hiroshi", "hiroshi"),
    ("Ingrid", "ingrid"),
    ("João", "joao"),
    ("Katarzyna", "katarzyna"),
    ("Liam", "liam"),
    ("Mei", "mei"),
    ("Nadia", "nadia"),
    ("Olga", "olga"),
    ("Priya", "priya"),
    ("Quentin", "quentin"),
    ("Rosa", "rosa"),
    ("Søren", "soren"),
    ("Thandiwe", "thandiwe"),
    ("Uma", "uma"),
    ("Viktor", "viktor"),
    ("Wei", "wei"),
    ("Zoë", "zoe"),
];

/// Last names, as written and as part of an e-mail address.
pub(crate) const LAST_NAMES: [(&str, &str); 23] = [
    ("Almeida", "almeida"),
    ("Bauer", "bauer"),
    ("Chen", "chen"),
    ("Dubois", "dubois"),
    ("Eriksson", "eriksson"),
    ("Fernández", "fernandez"),
    ("García", "garcia"),
    ("Haddad", "haddad"),
    ("Ivanova", "ivanova"),
    ("Johnson", "johnson"),
    ("Kowalski", "kowalski"),
    ("Lindqvist", "lindqvist"),
    ("Müller", "mueller"),
    ("Nakamura", "nakamura"),
    ("O'Brien", "obrien"),
    ("Patel", "patel"),
    ("Rossi", "rossi"),
    ("Şahin", "sahin"),
    ("Tanaka", "tanaka"),
    ("Usman", "usman"),
    ("van Dijk", "vandijk"),
    ("Williams", "williams"),
    ("Zhang", "zhang"),
];

pub(crate) fn first_name(user: u32) -> (&'static str, &'static str) {
    FIRST_NAMES[user as usize % FIRST_NAMES.len()]
}

pub(crate) fn last_name(user: u32) -> (&'static str, &'static str) {
    LAST_NAMES[user as usize % LAST_NAMES.len()]
}

/// The number in the first user's id: `user-100`.
pub(crate) const FIRST_USER: u32 = 100;

const SUBJECTS: [&str; 17] = [
    "Kubernetes Networking",
    "Terraform Modules",
    "Serverless Event Pipelines",
    "PostgreSQL Tuning",
    "Linux Hardening",
    "Cloud Cost Control",
    "Container Security",
    "Observability with OpenTelemetry",
    "Redis in Production",
    "Site Reliability Engineering",
    "Data Lakes on Object Storage",
    "Identity and Access Management",
    "Continuous Delivery",
    "Stream Processing",
    "Disaster Recovery",
    "Service Meshes",
    "Machine Learning Operations",
];
const LEVELS: [(&str, &str); 3] =
    [("beginner", "Foundations"), ("intermediate", "In Practice"), ("advanced", "Deep Dive")];
const CATEGORIES: [&str; 5] = ["cloud", "devops", "security", "data", "architecture"];

pub(crate) fn subject(number: u32) -> &'static str {
    SUBJECTS[number as usize % SUBJECTS.len()]
}

/// Returns a difficulty, and the words for it in a title.
pub(crate) fn level(number: u32) -> (&'static str, &'static str) {
    LEVELS[number as usize % LEVELS.len()]
}

pub(crate) fn category(number: u32) -> &'static str {
    CATEGORIES[number as usize % CATEGORIES.len()]
}

/// Returns the price of a course, in cents.
pub(crate) fn course_cents(course: u32) -> u32 {
    [1999, 4950, 7905, 12_900, 435, 8999][course as usize % 6]
}

/// Returns the duration of a course or lab, in minutes.
pub(crate) fn minutes(number: u32) -> u32 {
    30 + 15 * (number % 11)
}

/// Returns the number of steps of a path.
pub(crate) fn path_steps(path: u32) -> u32 {
    4 + path % 9
}

/// A subscription plan.
pub(crate) struct SubscriptionPlan {
    pub(crate) id: &'static str,
    pub(crate) tier: &'static str,
    pub(crate) cycle: &'static str,
    pub(crate) days: i64,
    pub(crate) cents: u32,
}

/// The subscription plans.
pub(crate) const PLANS: [SubscriptionPlan; 6] = [
    SubscriptionPlan { id: "plan-basic-monthly", tier: "basic", cycle: "monthly", days: 30, cents: 999 },
    SubscriptionPlan { id: "plan-pro-monthly", tier: "pro", cycle: "monthly", days: 30, cents: 2995 },
    SubscriptionPlan { id: "plan-team-monthly", tier: "team", cycle: "monthly", days: 30, cents: 14_900 },
    SubscriptionPlan { id: "plan-basic-yearly", tier: "basic", cycle: "yearly", days: 365, cents: 9990 },
    SubscriptionPlan { id: "plan-pro-yearly", tier: "pro", cycle: "yearly", days: 365, cents: 29_950 },
    SubscriptionPlan { id: "plan-team-yearly", tier: "team", cycle: "yearly", days: 365, cents: 149_000 },
];

/// The currencies. A user always pays in the same currency.
pub(crate) const CURRENCIES: [&str; 4] = ["EUR", "USD", "GBP", "CHF"];

pub(crate) fn currency(user: u32) -> usize {
    [0, 1, 0, 1, 2, 1, 0, 3][user as usize % 8]
}

pub(crate) const USER_AGENTS: [&str; 6] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "CloudMastersHub-Android/4.18.2 (Android 14; Pixel 8; build 41820)",
    "CloudMastersHub-CLI/2.3.0",
];

/// Pairs of a cloud provider and one of its regions.
pub(crate) const CLOUDS: [(&str, &str); 5] = [
    ("aws", "eu-central-1"),
    ("aws", "us-east-1"),
    ("azure", "westeurope"),
    ("gcp", "europe-west4"),
    ("gcp", "us-central1"),
];

pub(crate) const ERRORS: [&str; 6] = [
    "Card was declined by the issuer: insufficient funds",
    "Timed out after 30000 ms waiting for the environment to become ready",
    "connect ECONNREFUSED 10.4.17.23:5432",
    "Unexpected response 503 from the provisioning API; body: \"upstream connect error\"",
    "Quota 'standard-vcpus' exceeded in region: limit 64, in use 62, requested 4",
    "Cannot read properties of undefined (reading 'email')\n    at ProfileHandler.handle (profile.handler.js:88:31)",
];
