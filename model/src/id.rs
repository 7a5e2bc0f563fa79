//! Pure: typed object ids, 25 characters of base 36 made from 128 random bits.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

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

/// Longest text that is held in place: every id, and no more than what an `Arc<str>` needs anyway.
const SHORT_MAX: usize = 30;

/// The text of an id, in place: whoever compares the ids of a hundred thousand tasks does not follow a
/// pointer for each. Longer text, which no id has, is held elsewhere. Ordered as text.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
enum IdText {
    /// Filled up with zeros.
    Short([u8; SHORT_MAX], u8),
    Long(Arc<str>),
}

impl IdText {
    fn as_str(&self) -> &str {
        match self {
            Self::Short(bytes, length) => {
                let text = bytes.get(..usize::from(*length)).unwrap_or_default();
                std::str::from_utf8(text).expect("it was made of text")
            }
            Self::Long(text) => text,
        }
    }
}

impl From<String> for IdText {
    fn from(text: String) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(text.as_bytes());
                Self::Short(bytes, length)
            }
            _ => Self::Long(text.into()),
        }
    }
}

impl Serialize for IdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Hash for IdText {
    /// Half the time of one byte after the other.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Short(bytes, _) => numbers(bytes).hash(state),
            Self::Long(text) => text.hash(state),
        }
    }
}

impl Ord for IdText {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // A text that continues another one differs from its zeros, or is longer.
            (Self::Short(a, len_a), Self::Short(b, len_b)) => {
                numbers(a).cmp(&numbers(b)).then(len_a.cmp(len_b))
            }
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

/// Returns two numbers that are ordered as the bytes are; they share two bytes in the middle.
fn numbers(bytes: &[u8; SHORT_MAX]) -> (u128, u128) {
    let number = |half: Option<&[u8; 16]>| half.map_or(0, |half| u128::from_be_bytes(*half));
    (number(bytes.first_chunk()), number(bytes.last_chunk()))
}

impl PartialOrd for IdText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(IdText);

        impl $name {
            /// Makes a fresh id.
            pub fn generate(ids: &mut dyn IdSource) -> Self {
                Self(IdText::from(base36(ids.bits())))
            }

            /// Takes text that is known to be an id (from the store or a certificate).
            pub fn from_text(text: impl Into<String>) -> Self {
                Self(IdText::from(text.into()))
            }

            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_are_compared_and_read_as_their_text(
            a in "[\\x00ab\u{e4}]{0,33}",
            b in "[\\x00ab\u{e4}]{0,33}",
        ) {
            let (one, other) = (TaskId::from_text(a.as_str()), TaskId::from_text(b.as_str()));
            prop_assert_eq!(one.as_str(), a.as_str());
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            prop_assert_eq!(one == other, a == b);
        }
    }

    #[test]
    fn ids_have_25_base36_characters() {
        assert_eq!(base36(0), "0".repeat(25));
        assert_eq!(base36(35).chars().last(), Some('z'));
        assert_eq!(base36(u128::MAX), "f5lxx1zz5pnorynqglhzmsp33");
    }
}
