//! Pure: the path of a request: version prefix and decoded segments.

use crate::version::ApiVersion;

/// A request's path. Routing works on decoded segments, so that no spelling of a path reaches the
/// engine past a route of ours; the engine gets the bytes the client wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) version: Option<ApiVersion>,
    /// Percent-decoded once, without the version.
    pub(crate) segments: Vec<String>,
    /// As written, from the first `/` after the version.
    pub(crate) rest: String,
}

impl Path {
    pub(crate) fn parse(raw: &str) -> Self {
        let trimmed = raw.strip_prefix('/').unwrap_or(raw);
        let (first, after) = trimmed.split_once('/').unwrap_or((trimmed, ""));
        let version = decode(first).strip_prefix('v').and_then(ApiVersion::parse);
        let rest = if version.is_some() { after } else { trimmed };
        Self { version, segments: rest.split('/').map(decode).collect(), rest: format!("/{rest}") }
    }

    pub(crate) fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// True if a segment could mean another place once somebody else decodes it.
    pub(crate) fn is_devious(&self) -> bool {
        self.segments.iter().any(|s| s == ".." || s == "." || s.contains(['/', '\0', '\u{fffd}']))
    }
}

/// Decodes `%xx` once; a broken escape stays as it is, bytes that are no UTF-8 become U+FFFD.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1..at + 3).and_then(hex)) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Encodes a text for use as one path segment or query value.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn hex(pair: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    match pair {
        [high, low] => Some(digit(*high)? * 16 + digit(*low)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_taken_off_and_the_rest_kept_as_written() {
        let path = Path::parse("/v1.41/images/a%2Fb/json");
        assert_eq!(path.version, Some(ApiVersion::new(1, 41)));
        assert_eq!(path.segments(), ["images", "a/b", "json"]);
        assert_eq!(path.rest, "/images/a%2Fb/json");
        let bare = Path::parse("/services");
        assert_eq!((bare.version, bare.segments()), (None, vec!["services"]));
        assert_eq!(Path::parse("/v1.x/services").version, None);
    }

    #[test]
    fn another_spelling_of_a_route_is_the_same_route() {
        assert_eq!(Path::parse("/v1%2e41/%73ervices").segments(), ["services"]);
    }

    #[test]
    fn ids_that_climb_or_hide_are_noticed() {
        for devious in ["/services/..", "/services/%2e%2e", "/services/a%2fb", "/services/a%00"] {
            assert!(Path::parse(devious).is_devious(), "{devious}");
        }
        assert!(!Path::parse("/services/a.b..c").is_devious());
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz"), "%zz");
        assert_eq!(decode(&encode("a/ü b%")), "a/ü b%");
    }
}
