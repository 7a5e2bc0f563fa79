//! Pure: points in time as users of the command line write them (`until`, `since`).

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::clock::Timestamp;

/// Reads a duration before `now` (`24h`, `1h30m`), a date or time (UTC unless it names a zone), or
/// seconds since 1970 with an optional fraction. `None` for anything else.
pub fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ago) = duration(text) {
        let nanoseconds = i64::try_from(ago.as_nanos()).ok()?;
        return now.0.checked_sub(nanoseconds).map(Timestamp);
    }
    let zoned = text.parse::<jiff::Timestamp>().ok();
    let plain =
        || text.parse::<DateTime>().ok().or_else(|| Some(text.parse::<Date>().ok()?.into()));
    let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    match zoned.or_else(|| plain().and_then(utc)) {
        Some(time) => i64::try_from(time.as_nanosecond()).ok().map(Timestamp),
        None => seconds(text),
    }
}

/// Reads Go's form of a duration: numbers with units, largest first or not.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let after = &rest[number..];
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let seconds = match &after[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let value: f64 = rest[..number].parse().ok()?;
        sum = sum.checked_add(Duration::try_from_secs_f64(value * seconds).ok()?)?;
        rest = &after[unit..];
    }
    (!text.is_empty()).then_some(sum)
}

fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanoseconds).map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T14:11:24Z
    const NOW: Timestamp = Timestamp(1_795_356_684_000_000_000);

    #[test]
    fn every_form_of_the_command_line_is_read() {
        for (text, time) in [
            ("24h", "2026-11-21T14:11:24.000000000Z"),
            ("1h30m", "2026-11-22T12:41:24.000000000Z"),
            ("1.5h", "2026-11-22T12:41:24.000000000Z"),
            ("500ms", "2026-11-22T14:11:23.500000000Z"),
            ("2026-11-22", "2026-11-22T00:00:00.000000000Z"),
            ("2026-11-22T10:00", "2026-11-22T10:00:00.000000000Z"),
            ("2026-11-22T10:00:01", "2026-11-22T10:00:01.000000000Z"),
            ("2026-11-22T10:00:01.5", "2026-11-22T10:00:01.500000000Z"),
            ("2026-11-22T10:00:01+02:00", "2026-11-22T08:00:01.000000000Z"),
            ("2026-11-22T10:00:01Z", "2026-11-22T10:00:01.000000000Z"),
            ("1795356684", "2026-11-22T14:11:24.000000000Z"),
            ("1795356684.5", "2026-11-22T14:11:24.500000000Z"),
        ] {
            assert_eq!(
                parse(text, NOW).map(|time| time.to_string()).as_deref(),
                Some(time),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        for bad in ["", "x", "1d", "h", "1h2", "-1", "2026-13-01", "1795356684.x", "9e99h"] {
            assert_eq!(parse(bad, NOW), None, "{bad}");
        }
    }
}
