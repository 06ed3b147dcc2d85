//! Builds a set of upcasters, and checks that every chain ends.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use serde_json::Value;

use super::{Step, Transform, Upcasters, UpcastersError};

struct Added {
    event_type: String,
    from: String,
    to: String,
    transform: Arc<Transform>,
}

/// Collects upcasters. [`UpcastersBuilder::build`] checks them.
#[derive(Default)]
#[must_use = "a builder upcasts nothing"]
pub struct UpcastersBuilder(Vec<Added>);

impl UpcastersBuilder {
    /// Adds an upcaster of the member `data`. All other members stay, except the version. An event without data passes
    /// null.
    pub fn data<E: fmt::Display>(
        self,
        event_type: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
        transform: impl Fn(Value) -> Result<Value, E> + Send + Sync + 'static,
    ) -> Self {
        self.event(event_type, from, to, move |mut event: Value| -> Result<Value, String> {
            let members = event.as_object_mut();
            let data = members.and_then(|members| members.remove("data")).unwrap_or_default();
            let data = transform(data).map_err(|error| format!("{error:#}"))?;
            if let Some(members) = event.as_object_mut().filter(|_| !data.is_null()) {
                members.insert("data".to_owned(), data);
            }
            Ok(event)
        })
    }

    /// Adds an upcaster of the whole event. It may change any member except those of
    /// [`KEPT_MEMBERS`](super::KEPT_MEMBERS). The set then writes the version itself.
    pub fn event<E: fmt::Display>(
        mut self,
        event_type: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
        transform: impl Fn(Value) -> Result<Value, E> + Send + Sync + 'static,
    ) -> Self {
        // The alternate form of an error has its causes, as those of `anyhow` do.
        let transform = move |event| transform(event).map_err(|error| format!("{error:#}"));
        let (event_type, from, to) = (event_type.into(), from.into(), to.into());
        self.0.push(Added { event_type, from, to, transform: Arc::new(transform) });
        self
    }

    /// Builds the set.
    ///
    /// # Errors
    /// Returns [`UpcastersError`] when two upcasters take one version of a type, when the upcasters of a type lead in a
    /// circle, or when a type or a version is empty.
    pub fn build(self) -> Result<Upcasters, UpcastersError> {
        let mut types: BTreeMap<String, BTreeMap<String, Step>> = BTreeMap::new();
        for Added { event_type, from, to, transform } in self.0 {
            if [&event_type, &from, &to].iter().any(|name| name.is_empty()) {
                return Err(UpcastersError::Unnamed { event_type, from, to });
            }
            let steps = types.entry(event_type.clone()).or_default();
            let step = Step { target: to.clone(), to, transform };
            if steps.insert(from.clone(), step).is_some() {
                return Err(UpcastersError::Duplicate { event_type, version: from });
            }
        }
        let mut checked = HashMap::new();
        for (event_type, steps) in types {
            let steps = with_targets(&event_type, &steps)?;
            checked.insert(event_type, steps);
        }
        Ok(Upcasters { types: checked })
    }
}

/// Finds the end of each chain.
fn with_targets(
    event_type: &str,
    steps: &BTreeMap<String, Step>,
) -> Result<HashMap<String, Step>, UpcastersError> {
    let mut found = HashMap::new();
    for (from, step) in steps {
        let mut versions = vec![from.clone()];
        let mut target = from;
        while let Some(next) = steps.get(target) {
            let repeated = versions.iter().position(|version| *version == next.to);
            versions.push(next.to.clone());
            if let Some(at) = repeated {
                let versions = versions.split_off(at);
                return Err(UpcastersError::Cycle { event_type: event_type.to_owned(), versions });
            }
            target = &next.to;
        }
        found.insert(from.clone(), Step { target: target.clone(), ..step.clone() });
    }
    Ok(found)
}

impl fmt::Debug for UpcastersBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|added| format!("{} {} to {}", added.event_type, added.from, added.to));
        f.debug_list().entries(names).finish()
    }
}
