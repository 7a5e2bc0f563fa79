//! Pure: availability and role as words.

use swarmnet_model::{Availability, Role};

use crate::error::ApiError;

/// Reads an availability; the API writes them in lower case, clients in any.
///
/// # Errors
/// `invalid Availability: "x"`.
pub(crate) fn availability(word: &str) -> Result<Availability, ApiError> {
    match word.to_ascii_lowercase().as_str() {
        "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        _ => Err(ApiError::bad_request(format!("invalid Availability: {word:?}"))),
    }
}

/// As [`availability`]; an empty word means active.
///
/// # Errors
/// As [`availability`].
pub(crate) fn availability_or_active(word: &str) -> Result<Availability, ApiError> {
    if word.is_empty() { Ok(Availability::Active) } else { availability(word) }
}

/// Reads a role.
///
/// # Errors
/// `invalid Role: "x"`.
pub(crate) fn role(word: &str) -> Result<Role, ApiError> {
    match word.to_ascii_lowercase().as_str() {
        "worker" => Ok(Role::Worker),
        "manager" => Ok(Role::Manager),
        _ => Err(ApiError::bad_request(format!("invalid Role: {word:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_are_quoted() {
        assert_eq!(availability("Drain").unwrap(), Availability::Drain);
        assert_eq!(availability_or_active("").unwrap(), Availability::Active);
        assert_eq!(availability("").unwrap_err().message(), "invalid Availability: \"\"");
        assert_eq!(role("boss").unwrap_err().message(), "invalid Role: \"boss\"");
    }
}
