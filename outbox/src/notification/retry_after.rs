//! `Retry-After`: how long an endpoint asks to be left alone (RFC 9110, section 10.2.3), in seconds or until a date.

use std::time::{Duration, SystemTime};

use hyper::{HeaderMap, header};

/// No more seconds are read: 31 years, longer than any limit.
const LONGEST: u64 = 1_000_000_000;

/// What the head of an answer asks for; nothing when it asks for nothing, or for what nobody can read. A date is compared
/// with the answer's own `Date`, if it has one, so that the two machines' clocks need not agree; else with `now_ms`.
pub(super) fn asked(head: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = |name| head.get(name)?.to_str().ok().map(str::trim);
    let asked: &str = text(header::RETRY_AFTER)?;
    if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(asked.parse().unwrap_or(LONGEST).min(LONGEST)));
    }
    let until = httpdate::parse_http_date(asked).ok()?;
    let now = || SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(now_ms).ok()?));
    let sent: Option<SystemTime> = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    Some(until.duration_since(sent.or_else(now)?).unwrap_or_default()) // in the past: at once
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tue, 14 Nov 2023 22:13:20 GMT.
    const NOW_MS: i64 = 1_700_000_000_000;

    fn asked_by(fields: &[(header::HeaderName, &str)]) -> Option<u64> {
        let head = fields.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        asked(&head, NOW_MS).map(|pause| pause.as_secs())
    }

    #[test]
    fn seconds_and_dates_in_all_three_forms_are_read() {
        for (text, seconds) in [
            ("0", 0),
            ("120", 120),
            ("99999999999999999999999999", 1_000_000_000),
            ("Tue, 14 Nov 2023 22:15:20 GMT", 120),
            ("Tuesday, 14-Nov-23 22:15:20 GMT", 120),
            ("Tue Nov 14 22:15:20 2023", 120),
            ("Tue, 14 Nov 2023 22:13:19 GMT", 0),
        ] {
            assert_eq!(asked_by(&[(header::RETRY_AFTER, text)]), Some(seconds), "{text}");
        }
    }

    #[test]
    fn a_date_counts_from_the_answers_own_date() {
        let fields = [
            (header::RETRY_AFTER, "Tue, 14 Nov 2023 23:14:20 GMT"),
            (header::DATE, "Tue, 14 Nov 2023 23:13:50 GMT"), // its clock is an hour ahead
        ];
        assert_eq!(asked_by(&fields), Some(30));
    }

    #[test]
    fn what_nobody_can_read_asks_for_nothing() {
        for text in ["", "-1", "+5", "1.5", "soon", "Tue, 14 Nov 2023"] {
            assert_eq!(asked_by(&[(header::RETRY_AFTER, text)]), None, "{text}");
        }
        assert_eq!(asked_by(&[]), None);
    }
}
