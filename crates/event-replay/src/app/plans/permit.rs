//! When a replay needs another operator's approval.

use replay::Plan;

use crate::{
    app::error::{AppError, Conflict},
    handle::StoreHandle,
    settings::Settings,
    text::{escape, plural::count},
};

/// Which replays need another operator's approval: those of many events, and those to certain groups or targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalRule {
    /// More events than this; none: any number is permitted.
    pub above: Option<u64>,
    /// Groups by their names, and other targets as they are shown.
    pub targets: Vec<String>,
}

impl ApprovalRule {
    /// The rule of the settings.
    pub fn of(settings: &Settings) -> Self {
        Self { above: settings.plans.approval_above, targets: settings.plans.approval_targets.clone() }
    }

    /// Why a replay of so many events to these groups, or to this target, needs an approval; none: it does not.
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

/// That a replay may run: the settings ask for no approval, or it was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permitted {
    /// The kept plan that it runs.
    pub(super) plan: Option<String>,
}

impl Permitted {
    /// The kept plan that the replay runs.
    pub fn plan(&self) -> Option<&str> {
        self.plan.as_deref()
    }
}

/// Permits a replay that no kept plan is of. `target` is none for consumer groups, and no groups are all.
///
/// # Errors
/// [`Conflict::NeedsApproval`] where the settings ask for an approval; or when the store fails.
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
