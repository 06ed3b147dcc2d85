//! The rule for replays that need the approval of another operator.

use replay::Plan;

use crate::{
    app::error::{AppError, Conflict},
    handle::StoreHandle,
    settings::Settings,
    text::{escape, plural::count},
};

/// The replays that need the approval of another operator: replays of many events, and replays to certain groups or
/// targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalRule {
    /// The number of events above which a replay needs an approval. `None`: no number needs one.
    pub above: Option<u64>,
    /// Groups by name, and other targets in their display form.
    pub targets: Vec<String>,
}

impl ApprovalRule {
    /// Returns the rule of the settings.
    pub fn of(settings: &Settings) -> Self {
        Self { above: settings.plans.approval_above, targets: settings.plans.approval_targets.clone() }
    }

    /// Returns the reason for which a replay to these destinations needs an approval. Returns `None` if it needs none.
    ///
    /// ```
    /// use event_replay::app::plans::ApprovalRule;
    /// let rule = ApprovalRule { above: Some(1_000), targets: vec!["billing".to_owned()] };
    /// assert_eq!(rule.reason(1_000, &["mail"]), None);
    /// assert!(rule.reason(1_001, &["mail"]).is_some() && rule.reason(1, &["mail", "billing"]).is_some());
    /// ```
    pub fn reason(&self, events: u64, destinations: &[&str]) -> Option<String> {
        let named = destinations.iter().find(|name| self.targets.iter().any(|target| target == *name));
        match (self.above, named) {
            (Some(above), _) if events > above => {
                let (events, above) = (count(events, "event"), count(above, "event"));
                Some(format!("{events} are more than {above}, the setting plans.approval_above"))
            }
            (_, Some(name)) => {
                Some(format!("the setting plans.approval_targets names {}", escape::line(name)))
            }
            _ => None,
        }
    }
}

/// The permission of a replay: the settings require no approval, or another operator approved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted {
    /// The id of the kept plan.
    pub(super) plan: Option<String>,
}

impl Permitted {
    /// Returns the id of the kept plan that the replay runs.
    pub fn plan(&self) -> Option<&str> {
        self.plan.as_deref()
    }
}

/// Permits a replay without a kept plan. `target` is `None` for consumer groups. Empty `groups` means all groups.
///
/// # Errors
/// Returns [`Conflict::NeedsApproval`] when the settings require an approval. Returns another [`AppError`] when the
/// store fails.
pub async fn permit(
    store: &StoreHandle,
    settings: &Settings,
    plan: &Plan,
    target: Option<&str>,
    groups: &[String],
) -> Result<Permitted, AppError> {
    let rule = ApprovalRule::of(settings);
    let all: Vec<String> = match (target, groups) {
        (Some(target), _) => vec![target.to_owned()],
        (None, []) => store.groups().await?.into_iter().map(|group| group.spec.name).collect(),
        (None, groups) => groups.to_vec(),
    };
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    match rule.reason(plan.total_events, &names) {
        Some(reason) => Err(Conflict::NeedsApproval { reason }.into()),
        None => Ok(Permitted { plan: None }),
    }
}
