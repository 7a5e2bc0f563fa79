//! Pure: names as they stand in a message: labels with their lengths, lower case, without the root.
//!
//! A table keyed like this is asked with the bytes of the query; nothing is converted on the way.

use std::borrow::Borrow;
use std::fmt;

/// Bytes of one label (RFC 1035).
const LABEL_MAX: usize = 63;
/// Bytes of a name without its root label (RFC 1035: 255 with it).
pub const NAME_MAX: usize = 254;

/// A name in lower case, as queries are compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Returns the name of a text; `None` if no query could ask for it.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut bytes = labels_of(text)?;
        bytes.make_ascii_lowercase();
        Some(Self(bytes.into()))
    }

    /// Returns this name below another: `web` in `net` is `web.net`.
    pub fn below(&self, parent: &Self) -> Option<Self> {
        let bytes = [&*self.0, &*parent.0].concat();
        (bytes.len() <= NAME_MAX).then(|| Self(bytes.into()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text_of(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn labels_of(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() + 1);
    for label in text.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if label.is_empty() || label.len() > LABEL_MAX {
            return None;
        }
        bytes.push(length);
        bytes.extend_from_slice(label.as_bytes());
    }
    (bytes.len() <= NAME_MAX).then_some(bytes)
}

/// Returns the labels of a name from first to last; the name is well-formed.
pub fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first()?;
        let (label, behind) = behind.split_at_checked(usize::from(*length))?;
        rest = behind;
        Some(label)
    })
}

/// Returns a name as people write it; bytes that are no ASCII graphics are escaped.
pub fn text_of(name: &[u8]) -> String {
    let labels: Vec<_> = labels(name).map(|label| label.escape_ascii().to_string()).collect();
    if labels.is_empty() { ".".to_owned() } else { labels.join(".") }
}

/// Returns what stands before `suffix` in `name`, if that is at least one whole label.
pub fn before<'a>(name: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let head = name.strip_suffix(suffix)?;
    let mut at = 0;
    while at < head.len() {
        at += 1 + usize::from(head[at]);
    }
    (at == head.len() && at != 0).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_labels_with_their_lengths() {
        let name = Name::from_text("Tasks.Web").unwrap();
        assert_eq!(name.as_bytes(), b"\x05tasks\x03web");
        assert_eq!(name.to_string(), "tasks.web");
        assert_eq!(text_of(b""), ".");
        assert_eq!(text_of(b"\x03a\x1bb"), "a\\x1bb");
    }

    #[test]
    fn what_no_query_can_ask_for_is_no_name() {
        let long = "a".repeat(64);
        let deep = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(63)].join(".");
        for text in ["", ".", "a..b", ".a", "a.", &long, &deep] {
            assert!(Name::from_text(text).is_none(), "{text}");
        }
        let full = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        let name = Name::from_text(&full).unwrap();
        assert!(name.below(&Name::from_text("n").unwrap()).is_none());
    }

    #[test]
    fn a_suffix_counts_only_at_a_label() {
        let net = b"\x03net";
        assert_eq!(before(b"\x03web\x03net", net), Some(&b"\x03web"[..]));
        assert_eq!(before(b"\x03net", net), None);
        assert_eq!(before(b"\x03web", net), None);
        // One label of eight bytes that ends like a label of the network.
        assert_eq!(before(b"\x08webb\x03net", net), None);
    }
}
