//! Pure: API versions: what is announced, accepted, and asked of the engine.

use std::fmt;

use crate::error::ApiError;

/// `major.minor` of the Docker Engine API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ApiVersion {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl ApiVersion {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads `1.41`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Digits only: `parse` alone would take `+1`.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Lowest version accepted: old SDKs and Traefik name it.
pub(crate) const LOWEST: ApiVersion = ApiVersion::new(1, 24);
/// Highest version whose swarm shapes are implemented; 1.52 adds network status and event types.
pub(crate) const SHAPES_MAX: ApiVersion = ApiVersion::new(1, 51);
/// Announced even with an older engine: clients 29.0 accept no less.
pub(crate) const ANNOUNCED_MIN: ApiVersion = ApiVersion::new(1, 44);

/// The versions an engine serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineRange {
    pub(crate) min: ApiVersion,
    pub(crate) max: ApiVersion,
}

impl EngineRange {
    /// Returns the version in which the engine is asked for what a client asked in `wanted`.
    pub(crate) fn clamp(self, wanted: ApiVersion) -> ApiVersion {
        wanted.min(self.max).max(self.min)
    }
}

/// Returns the version that clients are told; `None` = the engine was never seen.
pub(crate) fn announced(engine: Option<EngineRange>) -> ApiVersion {
    let engine_max = engine.map_or(ANNOUNCED_MIN, |range| range.max);
    SHAPES_MAX.min(engine_max.max(ANNOUNCED_MIN))
}

/// Returns the version a request is served in.
///
/// # Errors
/// Docker's two texts for clients that are too old (plain text) or too new.
pub(crate) fn negotiate(
    requested: Option<ApiVersion>,
    announced: ApiVersion,
) -> Result<ApiVersion, ApiError> {
    match requested {
        Some(version) if version < LOWEST => Err(ApiError::plain(format!(
            "client version {version} is too old. Minimum supported API version is {LOWEST}, \
             please upgrade your client to a newer version"
        ))),
        Some(version) if version > announced => Err(ApiError::bad_request(format!(
            "client version {version} is too new. Maximum supported API version is {announced}"
        ))),
        Some(version) => Ok(version),
        None => Ok(announced),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> ApiVersion {
        ApiVersion::parse(text).unwrap()
    }

    #[test]
    fn only_two_plain_numbers_are_a_version() {
        assert_eq!(v("1.41"), ApiVersion::new(1, 41));
        assert!(v("1.9") < v("1.24"), "minor numbers compare as numbers");
        for bad in ["1", "1.", ".1", "1.2.3", "+1.2", "1.-2", "1.99999999999", "a.b", ""] {
            assert_eq!(ApiVersion::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_announced_version_lies_between_old_clients_and_our_shapes() {
        let engine = |max: &str| Some(EngineRange { min: v("1.12"), max: v(max) });
        assert_eq!(announced(None), v("1.44"));
        assert_eq!(announced(engine("1.41")), v("1.44"));
        assert_eq!(announced(engine("1.47")), v("1.47"));
        assert_eq!(announced(engine("1.99")), SHAPES_MAX);
    }

    #[test]
    fn the_engine_is_asked_in_a_version_it_serves() {
        let old = EngineRange { min: v("1.12"), max: v("1.41") };
        assert_eq!(old.clamp(v("1.44")), v("1.41"));
        assert_eq!(old.clamp(v("1.30")), v("1.30"));
        let new = EngineRange { min: v("1.44"), max: v("1.52") };
        assert_eq!(new.clamp(v("1.24")), v("1.44"));
    }

    #[test]
    fn clients_out_of_range_are_told_in_dockers_words() {
        let too_old = negotiate(Some(v("1.1")), v("1.44")).unwrap_err();
        assert!(too_old.is_plain_text());
        assert_eq!(
            too_old.message(),
            "client version 1.1 is too old. Minimum supported API version is 1.24, please upgrade \
             your client to a newer version"
        );
        let too_new = negotiate(Some(v("1.99")), v("1.44")).unwrap_err();
        assert!(!too_new.is_plain_text());
        assert_eq!(
            too_new.message(),
            "client version 1.99 is too new. Maximum supported API version is 1.44"
        );
        assert_eq!(negotiate(Some(v("1.24")), v("1.44")).unwrap(), v("1.24"));
        assert_eq!(negotiate(None, v("1.44")).unwrap(), v("1.44"));
    }
}
