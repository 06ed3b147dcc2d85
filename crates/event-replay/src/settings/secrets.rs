//! Environment variables that contain passwords of stores. Started programs must not inherit them.

use super::keys::{KEYS, set};

/// Settings that hold a password.
const PASSWORDS: &[&str] = &["redis.password", "redis.sentinel_password"];
/// Variables with an address, which may contain a password.
const ADDRESSES: &[&str] =
    &["EVENT_REPLAY_STORE", "EVENT_REPLAY_FROM", "EVENT_REPLAY_OLD_REDIS", "REDIS_URL"];

/// Returns the names of the variables that contain a password of a store: variables for a password, and addresses with
/// a password.
pub fn secret_variables() -> Vec<String> {
    let passwords = KEYS.iter().filter(|key| PASSWORDS.contains(&key.name)).flat_map(|key| key.variables());
    let addresses = ADDRESSES.iter().filter(|name| set(name).is_some_and(|value| has_password(&value)));
    passwords.chain(addresses.map(|&name| name.to_owned())).collect()
}

/// Returns whether an address contains a password before its host.
pub fn has_password(address: &str) -> bool {
    let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_is_known_from_one_without() {
        for address in
            ["redis://:secret@host", "rediss://me:se@cret@host:6379/0", "redis+cluster://a:b@h1,h2"]
        {
            assert!(has_password(address), "{address}");
        }
        for address in ["redis://host", "redis://me@host", "redis://host/a:b@c", "sqlite:/tmp/a", "memory:"] {
            assert!(!has_password(address), "{address}");
        }
    }

    #[test]
    fn passwords_are_kept_back_by_every_name() {
        let names = secret_variables();
        for name in ["EVENT_REPLAY_REDIS_PASSWORD", "REDIS_PASSWORD", "EVENT_REPLAY_REDIS_SENTINEL_PASSWORD"]
        {
            assert!(names.iter().any(|found| found == name), "{name}");
        }
    }
}
