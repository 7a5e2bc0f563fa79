//! Pure: the query of a request.

use swarmnet_model::{Timestamp, Version};

use crate::error::ApiError;
use crate::path::decode;

/// Decoded parameters in the order written; the first of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(raw: &str) -> Self {
        let pair = |part: &str| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        };
        Self(raw.split('&').filter(|part| !part.is_empty()).map(pair).collect())
    }

    /// Returns the value, empty if absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Returns whether a switch is on, read leniently: empty, `0`, `no`, `false`, `none` are off.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        !matches!(self.get(name).to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// Returns a truth value as Go's `ParseBool` reads it, false if absent.
    ///
    /// # Errors
    /// Docker's text with the name and value.
    pub(crate) fn truth(&self, name: &str) -> Result<bool, ApiError> {
        let value = self.get(name);
        parse_bool(value).ok_or_else(|| {
            ApiError::bad_request(format!(
                "invalid value for {name}: {value}: strconv.ParseBool: parsing \"{value}\": \
                 invalid syntax"
            ))
        })
    }

    /// As [`Self::truth`], with the shorter text of the rotation switches.
    pub(crate) fn rotation(&self, name: &str) -> Result<bool, ApiError> {
        let value = self.get(name);
        parse_bool(value)
            .ok_or_else(|| ApiError::bad_request(format!("invalid value for {name}: {value}")))
    }

    /// Returns a time in seconds since 1970 with an optional fraction: clients turn everything else
    /// that users write into it.
    ///
    /// # Errors
    /// Docker's text with the name and value.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let text = self.get(name);
        if text.is_empty() {
            return Ok(None);
        }
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let invalid = |part: &str, reason: &str| {
            let parsing = format!("strconv.ParseInt: parsing {part:?}: {reason}");
            ApiError::bad_request(format!("invalid value for {name:?}: {parsing}"))
        };
        if whole.is_empty() || !digits(whole) {
            return Err(invalid(whole, "invalid syntax"));
        }
        if !digits(fraction) {
            return Err(invalid(fraction, "invalid syntax"));
        }
        let nanoseconds: String = format!("{fraction:0<9}").chars().take(9).collect();
        let out_of_range = || invalid(whole, "value out of range");
        let seconds = whole.parse::<i64>().map_err(|_| out_of_range())?;
        let nanoseconds = nanoseconds.parse::<i64>().map_err(|_| out_of_range())?;
        // What is later than the year 2262 is as good as the end of time.
        let time = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
        Ok(Some(Timestamp(time)))
    }

    /// Returns `version`, which every update names.
    ///
    /// # Errors
    /// Docker's text with the kind of object.
    pub(crate) fn version(&self, kind: &str) -> Result<Version, ApiError> {
        let value = self.get("version");
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let reason = if digits { "value out of range" } else { "invalid syntax" };
        let parsed = if digits { value.parse().ok() } else { None };
        parsed.map(Version).ok_or_else(|| {
            ApiError::bad_request(format!(
                "invalid {kind} version '{value}': strconv.ParseUint: parsing \"{value}\": {reason}"
            ))
        })
    }
}

fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_unsigned_numbers() {
        assert_eq!(Query::parse("version=71").version("node").unwrap(), Version(71));
        let text = |raw: &str| Query::parse(raw).version("node").unwrap_err().message().to_owned();
        assert_eq!(
            text(""),
            "invalid node version '': strconv.ParseUint: parsing \"\": invalid syntax"
        );
        assert_eq!(
            text("version=-1"),
            "invalid node version '-1': strconv.ParseUint: parsing \"-1\": invalid syntax"
        );
        assert!(text("version=99999999999999999999").ends_with("value out of range"));
    }

    #[test]
    fn truth_values_are_read_as_go_reads_them() {
        assert!(Query::parse("status=true").truth("status").unwrap());
        assert!(!Query::parse("").truth("status").unwrap());
        assert_eq!(
            Query::parse("status=zz").truth("status").unwrap_err().message(),
            "invalid value for status: zz: strconv.ParseBool: parsing \"zz\": invalid syntax"
        );
        assert_eq!(
            Query::parse("rotateWorkerToken=zz")
                .rotation("rotateWorkerToken")
                .unwrap_err()
                .message(),
            "invalid value for rotateWorkerToken: zz"
        );
        assert!(Query::parse("force=1").is_on("force") && !Query::parse("force=0").is_on("force"));
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("filters=%7B%22a%22%3A1%7D&b=x+y&c");
        assert_eq!(
            (query.get("filters"), query.get("b"), query.get("c")),
            ("{\"a\":1}", "x y", "")
        );
    }
}
