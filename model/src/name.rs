//! Pure: which names an object may carry.

use crate::error::CallError;
use crate::limits::NAME_LENGTH_MAX;

/// Checks the name of a service, network or node: a DNS component of at most 63 characters.
///
/// # Errors
/// `InvalidArgument` with Docker's three texts: absent, not a DNS component, too long.
pub fn check_dns_name(name: &str) -> Result<(), CallError> {
    if name.is_empty() {
        return Err(CallError::invalid("meta: name must be provided"));
    }
    if name.len() > NAME_LENGTH_MAX {
        return Err(CallError::invalid("name must be 63 characters or fewer"));
    }
    if is_dns_component(name) {
        Ok(())
    } else {
        Err(CallError::invalid("name must be valid as a DNS name component"))
    }
}

/// `^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`
fn is_dns_component(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    name.chars().all(inner)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_docker_rules() {
        for good in ["a", "web-1", "a_b", "A9", &"x".repeat(63)] {
            assert!(check_dns_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a.b", "ä", "a b", &"x".repeat(64), "a\u{1b}[0m"] {
            assert!(check_dns_name(bad).is_err(), "{bad}");
        }
    }
}
