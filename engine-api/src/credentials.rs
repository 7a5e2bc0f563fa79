//! Pure: the header `X-Registry-Auth`: with which nodes fetch the image of a service.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use http::HeaderMap;
use serde_json::Value;
use swarmnet_model::{RegistryAuth, SecretText};

use crate::error::ApiError;

/// As Docker's clients write it, with padding or without.
const CODE: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request says of credentials.
#[derive(Debug, PartialEq)]
pub(crate) enum Credentials {
    None,
    Given(SecretText),
    Unreadable,
}

impl Credentials {
    pub(crate) fn given(self) -> Option<SecretText> {
        match self {
            Self::Given(secret) => Some(secret),
            Self::None | Self::Unreadable => None,
        }
    }
}

/// Reads the header, and writes it as every engine reads it.
pub(crate) fn credentials(headers: &HeaderMap) -> Credentials {
    let header = headers.get("x-registry-auth").map(http::HeaderValue::as_bytes);
    let Some(header) = header.filter(|text| !text.is_empty()) else { return Credentials::None };
    let decoded = CODE.decode(header).ok();
    let object =
        |bytes: &Vec<u8>| serde_json::from_slice(bytes).is_ok_and(|v: Value| v.is_object());
    match decoded.filter(object) {
        Some(json) => Credentials::Given(SecretText::new(general_purpose::URL_SAFE.encode(json))),
        None => Credentials::Unreadable,
    }
}

/// Returns which credentials an update leaves.
///
/// # Errors
/// 400 for another word than `spec` and `previous-spec`.
pub(crate) fn registry_auth(given: &Credentials, from: &str) -> Result<RegistryAuth, ApiError> {
    let unless_given = match from {
        "" | "spec" => RegistryAuth::OfSpec,
        "previous-spec" => RegistryAuth::OfPreviousSpec,
        other => return Err(ApiError::bad_request(format!("invalid registryAuthFrom '{other}'"))),
    };
    Ok(match given {
        Credentials::Given(secret) => RegistryAuth::Given(secret.clone()),
        Credentials::None | Credentials::Unreadable => unless_given,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Credentials {
        let mut headers = HeaderMap::new();
        headers.insert("x-registry-auth", header.parse().unwrap());
        credentials(&headers)
    }

    #[test]
    fn credentials_are_read_with_and_without_padding() {
        let given = |text: &str| Credentials::Given(SecretText::new(text));
        assert_eq!(credentials(&HeaderMap::new()), Credentials::None);
        assert_eq!(read(""), Credentials::None);
        assert_eq!(read("e30="), given("e30="));
        assert_eq!(read("eyJ1c2VybmFtZSI6ImEifQ"), given("eyJ1c2VybmFtZSI6ImEifQ=="));
        for bad in ["zz!", "W10=", "e30==="] {
            assert_eq!(read(bad), Credentials::Unreadable, "{bad}");
        }
    }

    #[test]
    fn given_credentials_win_over_kept_ones() {
        let secret = SecretText::new("e30=");
        let given = Credentials::Given(secret.clone());
        let of = |given: &Credentials, from: &str| registry_auth(given, from).unwrap();
        assert_eq!(of(&given, "previous-spec"), RegistryAuth::Given(secret));
        assert_eq!(of(&Credentials::None, ""), RegistryAuth::OfSpec);
        assert_eq!(of(&Credentials::Unreadable, "previous-spec"), RegistryAuth::OfPreviousSpec);
        let refused = registry_auth(&Credentials::None, "zz").unwrap_err();
        assert_eq!(refused.message(), "invalid registryAuthFrom 'zz'");
    }
}
