//! Pure: which lines a request for logs wants.

use swarmnet_model::{LogOptions, Timestamp};

use crate::error::ApiError;
use crate::query::Query;

/// Reads the query of a request for logs.
///
/// # Errors
/// 400 with Docker's texts.
pub(crate) fn read(query: &Query) -> Result<LogOptions, ApiError> {
    let (stdout, stderr) = (query.is_on("stdout"), query.is_on("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::bad_request("must specify at least one of 'stdout' or 'stderr'"));
    }
    Ok(LogOptions {
        stdout,
        stderr,
        follow: query.is_on("follow"),
        // 0 is Docker's way to say "from the beginning".
        since: query.time("since")?.filter(|since| *since > Timestamp::UNSET),
        tail: tail(query.get("tail"))?,
        timestamps: query.is_on("timestamps"),
        details: query.is_on("details"),
    })
}

fn tail(text: &str) -> Result<Option<u64>, ApiError> {
    if matches!(text, "" | "all") {
        return Ok(None);
    }
    if text.strip_prefix('-').is_some_and(|rest| rest.parse::<u64>().is_ok()) {
        return Err(ApiError::bad_request("negative tail values not supported"));
    }
    let invalid = |_| ApiError::bad_request("tail value must be a positive integer or \"all\"");
    text.parse().map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(query: &str) -> String {
        let error = read(&Query::parse(query)).unwrap_err();
        assert_eq!(error.status().as_u16(), 400);
        error.message().to_owned()
    }

    #[test]
    fn what_the_cli_asks_for_is_read() {
        let query = "details=1&follow=1&since=1795356684.5&stderr=1&stdout=1&tail=7&timestamps=1";
        let expected = LogOptions {
            stdout: true,
            stderr: true,
            follow: true,
            since: Some(Timestamp(1_795_356_684_500_000_000)),
            tail: Some(7),
            timestamps: true,
            details: true,
        };
        assert_eq!(read(&Query::parse(query)).unwrap(), expected);
        let plain = LogOptions { stdout: true, ..LogOptions::default() };
        assert_eq!(read(&Query::parse("stdout=1&tail=all&since=0")).unwrap(), plain);
    }

    #[test]
    fn wrong_values_get_dockers_texts() {
        assert_eq!(refusal("follow=1"), "must specify at least one of 'stdout' or 'stderr'");
        let tail = "tail value must be a positive integer or \"all\"";
        assert_eq!(refusal("stdout=1&tail=x"), tail);
        assert_eq!(refusal("stdout=1&tail=1.5"), tail);
        assert_eq!(refusal("stdout=1&tail=-1"), "negative tail values not supported");
        assert_eq!(
            refusal("stdout=1&since=yesterday"),
            "invalid value for \"since\": strconv.ParseInt: parsing \"yesterday\": invalid syntax"
        );
        assert!(refusal("stdout=1&since=99999999999999999999").ends_with("value out of range"));
    }
}
