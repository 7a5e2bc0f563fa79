//! Pure: text that must never reach a log: private keys, token secrets, credentials of registries.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Secret text. `Debug` prints nothing of it; serde carries it only inside sealed log records and
/// between nodes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret itself. Grep for callers of this function to audit its use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
