//! Environment variables that look like a setting but set nothing.

use super::keys::KEYS;

/// The prefix of all variables of this project.
const PREFIX: &str = "EVENT_REPLAY_";
/// Variables that other parts of the project read. They are not settings.
const OTHERS: &[&str] =
    &["EVENT_REPLAY_FROM", "EVENT_REPLAY_LOG", "EVENT_REPLAY_OLD_REDIS", "EVENT_REPLAY_OPERATOR"];
/// The edit distance, in characters, up to which short names count as similar. A longer name may differ by a third of
/// its length.
const FAR: usize = 2;

/// A variable that is probably misspelt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misspelt {
    /// The name of the variable.
    pub variable: String,
    /// The name that was probably meant.
    pub meant: String,
}

/// Returns the environment variables that begin with `EVENT_REPLAY_`, set nothing, and are similar to a known variable.
pub fn misspelt_variables() -> Vec<Misspelt> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut found: Vec<Misspelt> = names.filter_map(|name| misspelt(&name)).collect();
    found.sort_by(|one, other| one.variable.cmp(&other.variable));
    found
}

fn misspelt(name: &str) -> Option<Misspelt> {
    let rest = name.strip_prefix(PREFIX)?;
    let known =
        || KEYS.iter().flat_map(|key| key.variables()).chain(OTHERS.iter().map(|&name| name.to_owned()));
    if known().any(|known| known == name) {
        return None;
    }
    let far = FAR.max(rest.len() / 3);
    let distance = |known: &String| {
        let known = known.strip_prefix(PREFIX)?;
        Some(strsim::damerau_levenshtein(rest, known)).filter(|distance| *distance <= far)
    };
    let (_, meant) = known().filter_map(|known| Some((distance(&known)?, known))).min()?;
    Some(Misspelt { variable: name.to_owned(), meant })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_nearly_one_is_noticed() {
        let meant = |name| misspelt(name).map(|misspelt| misspelt.meant);
        for (name, expected) in [
            ("EVENT_REPLAY_STOER", "EVENT_REPLAY_STORE"),
            ("EVENT_REPLAY_RETRIES_MAXX", "EVENT_REPLAY_RETRIES_MAX"),
            ("EVENT_REPLAY_REDIS_PASWORD", "EVENT_REPLAY_REDIS_PASSWORD"),
            ("EVENT_REPLAY_LOGS", "EVENT_REPLAY_LOG"),
            ("EVENT_REPLAY_RETRY_MAX", "EVENT_REPLAY_RETRIES_MAX"),
        ] {
            assert_eq!(meant(name), Some(expected.to_owned()), "{name}");
        }
        for name in [
            "EVENT_REPLAY_STORE",
            "EVENT_REPLAY_TIMEOUT",
            "EVENT_REPLAY_MY_OWN",
            // Variables that Kubernetes sets for a service with the name `event-replay`.
            "EVENT_REPLAY_SERVICE_HOST",
            "EVENT_REPLAY_SERVICE_PORT",
            "EVENT_REPLAY_PORT",
            "EVENT_REPLAY_PORT_8080_TCP",
            "EVENT_REPLAY_PORT_8080_TCP_ADDR",
            "EVENT_REPLAY_PORT_8080_TCP_PROTO",
            "REDIS_ULR",
            "EVENT_REPLAY_LOG",
        ] {
            assert_eq!(meant(name), None, "{name}");
        }
    }
}
