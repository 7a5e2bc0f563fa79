//! Pure: credentials with which nodes fetch a service's image.
//!
//! They stand beside the spec, never in it: no answer shows them, and other credentials make no task
//! out of date. Each is the text of the header `X-Registry-Auth`.

use serde::{Deserialize, Serialize};

use crate::secret_text::SecretText;

/// What the managers keep of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryAccess {
    pub current: Option<SecretText>,
    /// Goes with the previous spec.
    pub previous: Option<SecretText>,
}

impl RegistryAccess {
    /// Returns the credentials as a rollback leaves them.
    #[must_use]
    pub fn rolled_back(self) -> Self {
        Self { current: self.previous, previous: self.current }
    }
}

/// Which credentials a changed service has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistryAuth {
    Given(SecretText),
    /// Those it has.
    #[default]
    OfSpec,
    OfPreviousSpec,
}
