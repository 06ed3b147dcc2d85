//! Approving what cannot be undone, in two requests: the first says what would be done and its hash, the second repeats the hash.
//!
//! The hash covers the request and its figures. Where either is another by then, the second request changes nothing.

use sha2::{Digest, Sha256};

use super::{
    confirmation::Confirmation,
    error::{AppError, Conflict},
};

/// The hash of what is to be confirmed: SHA-256, in hexadecimal. `request` says what was asked for, in one way only.
pub fn hash(confirmation: &Confirmation, request: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(confirmation.to_string());
    // No text has NUL, so the two parts cannot be shifted into each other.
    hash.update([0]);
    hash.update(request);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses what is not what was confirmed.
///
/// # Errors
/// [`Conflict::PlanChanged`] where the hashes differ.
pub fn check(confirmed: &str, found: &str) -> Result<(), AppError> {
    match confirmed == found {
        true => Ok(()),
        false => {
            let (confirmed, found) = (confirmed.chars().take(64).collect(), found.to_owned());
            Err(Conflict::PlanChanged { confirmed, found }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_figure_or_request_has_another_hash() {
        let of = |letters, request| hash(&Confirmation::DiscardLetters { letters }, request);
        assert_eq!(of(3, "a"), of(3, "a"));
        assert_eq!(of(3, "a").len(), 64);
        assert_ne!(of(3, "a"), of(4, "a"));
        assert_ne!(of(3, "a"), of(3, "b"));
        assert!(check(&of(3, "a"), &of(3, "a")).is_ok());
        assert!(check(&of(3, "a"), &of(4, "a")).is_err());
    }
}
