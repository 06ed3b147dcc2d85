//! Names of attributes, and the members to which they map.

use std::collections::BTreeSet;

use serde_json::Value;

/// Attributes with a member of a different name.
pub(super) const RENAMED: [(&str, &str); 3] =
    [("time", "timestamp"), ("correlationid", "correlationId"), ("causationid", "causationId")];
/// The attribute that carries the metadata of an event, as JSON.
pub(super) const METADATA: &str = "eventmetadata";
/// The attribute that carries all members that fit no other attribute, as one JSON object.
pub(super) const OTHERS: &str = "eventmembers";
/// The attribute with the media type of the data.
pub(super) const MEDIA: &str = "datacontenttype";
/// The member with data that is neither JSON nor text, in base64.
pub(super) const BYTES: &str = "data_base64";
/// Entities that every event may name.
pub(super) const ENTITIES: [&str; 3] = ["userId", "courseId", "labId"];
/// Members of an event that are not attributes. An attribute with such a name would collide with the member.
const RESERVED: [&str; 4] = ["timestamp", "metadata", "data", "specversion"];

/// Whether an attribute of this name says something else than a member of this name.
pub(super) fn is_taken(name: &str) -> bool {
    name == "specversion"
        || name == METADATA
        || name == OTHERS
        || RENAMED.iter().any(|(attribute, _)| *attribute == name)
}

/// Whether a name is a valid attribute name: lower-case letters and digits only.
pub(super) fn is_attribute(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Refuses an invalid or reserved attribute name.
pub(super) fn check(name: &str) -> Result<(), String> {
    if !is_attribute(name) {
        let shown: String = name.chars().take(60).collect();
        return Err(format!(
            "{shown:?} is no name of an attribute: these have lower-case letters and digits"
        ));
    }
    match RESERVED.contains(&name) {
        true => Err(format!("an attribute cannot have the name {name:?}: events have a member of this name")),
        false => Ok(()),
    }
}

/// Names of members that end in `Id`. An attribute name is lower case, so the set restores the case of the member name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members(BTreeSet<String>);

impl Members {
    /// Returns the members that every event may have, together with the members of a setting.
    pub(crate) fn of_settings(ordering: &[String]) -> Self {
        let known = ENTITIES.into_iter().map(str::to_owned);
        Self(known.chain(ordering.iter().cloned()).collect())
    }

    /// Adds the members in a schema of whole events whose names end in `Id`.
    pub(crate) fn add_schema(&mut self, schema: &Value) {
        let parts = ["allOf", "anyOf", "oneOf"].iter().filter_map(|name| schema[*name].as_array()).flatten();
        for part in parts.chain([schema]) {
            let named = part["properties"].as_object().into_iter().flat_map(|properties| properties.keys());
            self.0.extend(named.filter(|name| name.ends_with("Id")).cloned());
        }
    }

    /// Returns the member to which an attribute maps.
    ///
    /// # Errors
    /// Returns a message when several members match the attribute.
    pub(super) fn of_attribute(&self, attribute: &str) -> Result<String, String> {
        if let Some((_, member)) = RENAMED.iter().find(|(name, _)| *name == attribute) {
            return Ok((*member).to_owned());
        }
        let mut found = self.0.iter().filter(|member| member.eq_ignore_ascii_case(attribute));
        match (found.next(), found.next()) {
            (None, _) => Ok(attribute.to_owned()),
            (Some(member), None) => Ok(member.clone()),
            (Some(one), Some(other)) => {
                Err(format!("the attribute {attribute:?} could be the member {one} or {other}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attributes_become_the_members_that_schemas_name() {
        let mut members = Members::of_settings(&["tenantId".to_owned()]);
        members.add_schema(&json!({
            "allOf": [{"properties": {"targetUserId": {}}}],
            "properties": {"paymentId": {}, "data": {"properties": {"deepId": {}}}},
        }));
        for (attribute, member) in [
            ("userid", "userId"),
            ("tenantid", "tenantId"),
            ("targetuserid", "targetUserId"),
            ("paymentid", "paymentId"),
            ("correlationid", "correlationId"),
            ("time", "timestamp"),
            ("deepid", "deepid"),
            ("paid", "paid"),
            ("subject", "subject"),
        ] {
            assert_eq!(members.of_attribute(attribute).unwrap(), member);
        }
        members.add_schema(&json!({"properties": {"UserId": {}}}));
        assert!(members.of_attribute("userid").unwrap_err().contains("UserId or userId"));
    }
}
