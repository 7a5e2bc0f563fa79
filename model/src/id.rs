//! Pure: typed object ids, 25 characters of base 36 made from 128 random bits.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Characters of every object id; the width Docker Swarm's clients expect.
pub const ID_LENGTH: usize = 25;

/// Gives 128 random bits per call; planners take it as an argument so that they stay pure.
pub trait IdSource {
    /// Returns fresh random bits.
    fn bits(&mut self) -> u128;
}

impl<F: FnMut() -> u128> IdSource for F {
    fn bits(&mut self) -> u128 {
        self()
    }
}

/// Renders 128 bits as lower-case base 36, zero-padded to [`ID_LENGTH`].
pub fn base36(mut bits: u128) -> String {
    let mut digits = [b'0'; ID_LENGTH];
    for digit in digits.iter_mut().rev() {
        let value = u8::try_from(bits % 36).expect("a remainder of 36 fits a byte");
        *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        bits /= 36;
    }
    String::from_utf8(digits.to_vec()).expect("base 36 digits are ASCII")
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Makes a fresh id.
            pub fn generate(ids: &mut dyn IdSource) -> Self {
                Self(base36(ids.bits()).into())
            }

            /// Takes text that is known to be an id (from the store or a certificate).
            pub fn from_text(text: impl Into<String>) -> Self {
                Self(text.into().into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

ids! {
    /// Of the cluster; the O of every certificate.
    ClusterId,
    /// Of a node; the CN of its certificate.
    NodeId,
    ServiceId,
    TaskId,
    NetworkId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_25_base36_characters() {
        assert_eq!(base36(0), "0".repeat(25));
        assert_eq!(base36(35).chars().last(), Some('z'));
        assert_eq!(base36(u128::MAX), "f5lxx1zz5pnorynqglhzmsp33");
    }
}
