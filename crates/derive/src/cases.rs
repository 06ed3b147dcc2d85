//! Spellings of names, by serde's rules for the fields of a struct.

/// Returns the name of a field under `#[serde(rename_all = "…")]`. Returns none if serde has no such rule.
pub(crate) fn renamed(field: &str, rule: &str) -> Option<String> {
    Some(match rule {
        "lowercase" | "snake_case" => field.to_owned(),
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => field.to_ascii_uppercase(),
        "camelCase" => camel(field),
        "PascalCase" => pascal(field),
        "kebab-case" => field.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => field.to_ascii_uppercase().replace('_', "-"),
        _ => return None,
    })
}

/// Converts `target_user` to `targetUser`.
pub(crate) fn camel(name: &str) -> String {
    let pascal = pascal(name);
    let mut rest = pascal.chars();
    rest.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(rest).collect()
}

fn pascal(name: &str) -> String {
    let capital = |word: &str| {
        let mut rest = word.chars();
        rest.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(rest).collect::<String>()
    };
    name.split('_').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_renamed_as_serde_renames_it() {
        for (rule, expected) in [
            ("lowercase", "target_user_id"),
            ("UPPERCASE", "TARGET_USER_ID"),
            ("camelCase", "targetUserId"),
            ("PascalCase", "TargetUserId"),
            ("snake_case", "target_user_id"),
            ("SCREAMING_SNAKE_CASE", "TARGET_USER_ID"),
            ("kebab-case", "target-user-id"),
            ("SCREAMING-KEBAB-CASE", "TARGET-USER-ID"),
        ] {
            assert_eq!(renamed("target_user_id", rule).as_deref(), Some(expected), "{rule}");
        }
        assert_eq!(renamed("target_user_id", "Title Case"), None);
    }
}
