//! Pure: join tokens: `SWMTKN-1-<digest of the root, 50>-<secret, 25>`, as Docker Swarm writes them.

use std::fmt;

use num_bigint::BigUint;
use subtle::ConstantTimeEq;
use swarmnet_model::id::base36;
use swarmnet_model::{IdSource, JoinTokens, Role, SecretText};
use swarmnet_proto::transport::RootDigest;

const PREFIX: &str = "SWMTKN";
const VERSION: &str = "1";
/// Marks tokens of clusters in FIPS mode, which have a fifth part.
const FIPS_VERSION: &str = "2";
/// Digits of a 256-bit number.
const DIGEST_DIGITS: usize = 50;
/// Digits of a 128-bit number.
const SECRET_DIGITS: usize = 25;
const RADIX: u32 = 36;

/// A join token whose form is right; whether its secret is, only the managers know.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    digest: RootDigest,
    text: SecretText,
}

/// Why a text is no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    #[error("invalid join token")]
    Malformed,
    #[error("invalid join token: tokens of FIPS clusters (SWMTKN-2-1) are not supported")]
    Fips,
}

impl JoinToken {
    /// Makes a token with a fresh secret for the cluster with this root.
    pub fn generate(digest: RootDigest, ids: &mut dyn IdSource) -> Self {
        let number = BigUint::from_bytes_be(&digest.0).to_str_radix(RADIX);
        let secret = base36(ids.bits());
        let text = format!("{PREFIX}-{VERSION}-{number:0>DIGEST_DIGITS$}-{secret}");
        Self { digest, text: SecretText::new(text) }
    }

    /// Reads a token.
    ///
    /// # Errors
    /// `Malformed` unless it has exactly four parts of exactly the right lengths, all of lower-case
    /// base-36 digits, none above its number of bits. `Fips` for the five-part form.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let parts: Vec<&str> = text.split('-').collect();
        match parts.as_slice() {
            [PREFIX, FIPS_VERSION, VERSION, digest, secret] => {
                number(digest, DIGEST_DIGITS, 256).ok_or(BadToken::Malformed)?;
                number(secret, SECRET_DIGITS, 128).ok_or(BadToken::Malformed)?;
                Err(BadToken::Fips)
            }
            [PREFIX, VERSION, digest, secret] => {
                let digest = number(digest, DIGEST_DIGITS, 256).ok_or(BadToken::Malformed)?;
                number(secret, SECRET_DIGITS, 128).ok_or(BadToken::Malformed)?;
                let digest = RootDigest(padded(&digest.to_bytes_be()));
                Ok(Self { digest, text: SecretText::new(text) })
            }
            _ => Err(BadToken::Malformed),
        }
    }

    /// Returns what the root certificate of the cluster must hash to.
    pub fn digest(&self) -> RootDigest {
        self.digest
    }

    pub fn as_secret(&self) -> &SecretText {
        &self.text
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(secret)")
    }
}

/// Returns the role that the token gives, `None` if it is neither.
///
/// Takes the same time for every wrong token of the right length: both comparisons always run.
pub fn role_of(tokens: &JoinTokens, token: &str) -> Option<Role> {
    let is_worker = tokens.worker.expose().as_bytes().ct_eq(token.as_bytes());
    let is_manager = tokens.manager.expose().as_bytes().ct_eq(token.as_bytes());
    match (bool::from(is_worker), bool::from(is_manager)) {
        (true, _) => Some(Role::Worker),
        (false, true) => Some(Role::Manager),
        (false, false) => None,
    }
}

fn number(text: &str, digits: usize, bits: u64) -> Option<BigUint> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    BigUint::parse_bytes(text.as_bytes(), RADIX).filter(|number| number.bits() <= bits)
}

fn padded(bytes: &[u8]) -> [u8; 32] {
    let mut all = [0; 32];
    all[32 - bytes.len()..].copy_from_slice(bytes);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(digest: [u8; 32], secret: u128) -> String {
        JoinToken::generate(RootDigest(digest), &mut move || secret).as_secret().expose().to_owned()
    }

    #[test]
    fn tokens_have_dockers_form_and_read_back() {
        for (digest, secret) in [([0; 32], 0), ([0xff; 32], u128::MAX), ([7; 32], 42)] {
            let text = token(digest, secret);
            assert_eq!(text.len(), "SWMTKN-1-".len() + 50 + 1 + 25, "{text}");
            assert_eq!(JoinToken::parse(&text).unwrap().digest(), RootDigest(digest));
        }
    }

    #[test]
    fn the_digest_is_the_number_that_docker_reads() {
        // Recorded: an engine that was given this token expected this fingerprint.
        let text = "SWMTKN-1-0xdwn4gbg2dw815sd1iujcxomvqxt5dlm3fuqqphewrclky7xb-\
                    8grb89se7fgg71dttahmugmux";
        let digest = JoinToken::parse(text).unwrap().digest();
        let again = JoinToken::generate(digest, &mut || 0);
        assert_eq!(again.as_secret().expose()[..59], text[..59]);
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let good = token([7; 32], 42);
        let (digest, secret) = (&good[9..59], &good[60..]);
        let cases = [
            ("empty", String::new()),
            ("prefix", good.replace("SWMTKN", "SWMKEY")),
            ("lower-case prefix", good.replace("SWMTKN", "swmtkn")),
            ("version 3", good.replace("-1-", "-3-")),
            ("three parts", format!("SWMTKN-1-{digest}")),
            ("five parts", format!("{good}-1")),
            ("short digest", format!("SWMTKN-1-{}-{secret}", &digest[1..])),
            ("long digest", format!("SWMTKN-1-0{digest}-{secret}")),
            ("short secret", format!("SWMTKN-1-{digest}-{}", &secret[1..])),
            ("long secret", format!("SWMTKN-1-{digest}-0{secret}")),
            ("upper case", format!("SWMTKN-1-{digest}-{}", "A".repeat(25))),
            ("not base 36", format!("SWMTKN-1-{}-{secret}", "!".repeat(50))),
            ("plus sign", format!("SWMTKN-1-+{}-{secret}", &digest[1..])),
            ("not ASCII", format!("SWMTKN-1-{}-{secret}", "é".repeat(25))),
            ("digest too large", format!("SWMTKN-1-{}-{secret}", "z".repeat(50))),
            ("secret too large", format!("SWMTKN-1-{digest}-{}", "z".repeat(25))),
            ("space around", format!(" {good}")),
            ("line end", format!("{good}\n")),
        ];
        for (name, text) in cases {
            assert_eq!(JoinToken::parse(&text), Err(BadToken::Malformed), "{name}: {text}");
        }
    }

    #[test]
    fn a_fips_token_is_refused_with_its_reason() {
        let good = token([7; 32], 42);
        let fips = good.replace("SWMTKN-1-", "SWMTKN-2-1-");
        assert_eq!(JoinToken::parse(&fips), Err(BadToken::Fips));
        assert_eq!(JoinToken::parse("SWMTKN-2-1-x-y"), Err(BadToken::Malformed));
    }

    #[test]
    fn each_token_gives_its_role_and_nothing_else_gives_one() {
        let digest = RootDigest([7; 32]);
        let [worker, manager, other] = [1, 2, 3]
            .map(|secret| JoinToken::generate(digest, &mut move || secret).as_secret().clone());
        let tokens = JoinTokens { worker: worker.clone(), manager: manager.clone() };
        assert_eq!(role_of(&tokens, worker.expose()), Some(Role::Worker));
        assert_eq!(role_of(&tokens, manager.expose()), Some(Role::Manager));
        assert_eq!(role_of(&tokens, other.expose()), None);
        assert_eq!(role_of(&tokens, ""), None);
        assert_eq!(role_of(&tokens, &worker.expose()[..84]), None);
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let token = JoinToken::parse(&token([7; 32], 42)).unwrap();
        assert_eq!(format!("{token:?}"), "JoinToken(secret)");
    }
}
