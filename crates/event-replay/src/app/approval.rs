//! The approval of an irreversible request in two steps. The first request returns the effect and its hash. The second
//! request repeats the hash.
//!
//! The hash covers the request and its figures. If either has changed, the second request changes nothing.

use sha2::{Digest, Sha256};

use super::{
    confirmation::Confirmation,
    error::{AppError, Conflict},
};

/// Returns the hash of a confirmation and its request: SHA-256, in hexadecimal. Equal requests must have equal
/// `request` texts.
pub fn hash(confirmation: &Confirmation, request: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(confirmation.to_string());
    // The NUL separates the two parts. Neither part contains NUL, so different pairs never have equal bytes.
    hash.update([0]);
    hash.update(request);
    domain::hex(&hash.finalize())
}

/// Compares the confirmed hash with the current hash.
///
/// # Errors
/// Returns [`Conflict::PlanChanged`] when the hashes differ.
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
