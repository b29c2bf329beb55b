use proptest::prelude::*;

use super::*;

const SECOND_MS: i64 = 1_000;

fn finding(rule: &str, severity: Severity) -> Finding {
    let (group, part, text) = ("messaging".to_owned(), "outbox".to_owned(), "so many".to_owned());
    Finding { group, rule: rule.to_owned(), part, severity, text }
}

fn warning(rule: &str) -> Finding {
    finding(rule, Severity::Warning)
}

/// Observes every ten seconds from one minute to another; returns when (in seconds) what was told.
fn watch(alerts: &mut Alerts, minutes: std::ops::Range<i64>, findings: &[Finding]) -> Vec<(i64, Kind)> {
    let mut told = Vec::new();
    for ten in minutes.start * 6..minutes.end * 6 {
        let notices = alerts.observe(ten * 10 * SECOND_MS, findings);
        told.extend(notices.into_iter().map(|notice| (ten * 10, notice.kind)));
    }
    told
}

#[test]
fn one_outage_is_one_notice_then_escalation_reminder_and_resolved() {
    let mut alerts = Alerts::new(AlertSettings::default());
    let outage: Vec<Finding> = ["old", "exhausted", "failing"].map(warning).into();
    let told = watch(&mut alerts, 0..300, &outage);
    assert_eq!(told, [(30, Kind::Opened), (30 + 1_800, Kind::Escalated(1)), (1_830 + 14_400, Kind::Reminder)]);
    assert_eq!(watch(&mut alerts, 300..310, &[]), [(18_000 + 120, Kind::Resolved)]);
    assert!(watch(&mut alerts, 310..400, &[]).is_empty());
}

#[test]
fn what_is_gone_before_it_is_told_is_not_told() {
    let mut alerts = Alerts::new(AlertSettings::default());
    assert!(alerts.observe(0, &[warning("old")]).is_empty());
    assert!(alerts.observe(10 * SECOND_MS, &[]).is_empty());
    assert!(watch(&mut alerts, 1..60, &[]).is_empty());
}

#[test]
fn what_comes_and_goes_is_one_outage() {
    let mut alerts = Alerts::new(AlertSettings { escalate: Vec::new(), ..AlertSettings::default() });
    let mut told = Vec::new();
    for minute in 0..60 {
        let findings: &[Finding] = if minute % 2 == 0 { &[warning("old")] } else { &[] };
        told.extend(watch(&mut alerts, minute..minute + 1, findings));
    }
    assert_eq!(told, [(30, Kind::Opened)]);
}

#[test]
fn more_and_worse_is_told_but_not_at_every_turn() {
    let mut alerts = Alerts::new(AlertSettings { escalate: Vec::new(), ..AlertSettings::default() });
    watch(&mut alerts, 0..1, &[warning("a")]);
    assert_eq!(watch(&mut alerts, 1..15, &[warning("a"), warning("b")]), [(630, Kind::Changed)]);
    let worse = finding("a", Severity::Critical);
    assert_eq!(watch(&mut alerts, 15..40, &[worse, warning("b")]), [(1_230, Kind::Changed)]);
}

#[test]
fn who_takes_it_on_is_not_reminded_and_hears_when_it_is_over() {
    let mut alerts = Alerts::new(AlertSettings::default());
    assert!(!alerts.take_on("messaging"));
    watch(&mut alerts, 0..1, &[warning("old")]);
    assert!(alerts.take_on("messaging"));
    assert!(watch(&mut alerts, 1..1_000, &[warning("old")]).is_empty());
    assert_eq!(watch(&mut alerts, 1_000..1_010, &[]).len(), 1);
}

#[test]
fn quiet_hours_hold_back_what_is_not_that_bad_and_tell_what_still_is_afterwards() {
    let night =
        QuietHours { from_minute: 22 * 60, to_minute: 7 * 60, utc_offset_minutes: 60, except: Severity::Critical };
    assert!(
        night.cover(21 * HOUR_MS)
            && night.cover(5 * HOUR_MS)
            && !night.cover(6 * HOUR_MS)
            && !night.cover(20 * HOUR_MS)
    );
    let mut alerts = Alerts::new(AlertSettings { quiet_hours: Some(night), ..AlertSettings::default() });
    let (from, to) = (22 * 60, 30 * 60); // 23:00 to 7:00 with them
    assert!(watch(&mut alerts, from..to, &[warning("old")]).is_empty());
    assert_eq!(watch(&mut alerts, to..to + 1, &[warning("old")]), [(to * 60, Kind::Opened)]);
    let mut alerts = Alerts::new(AlertSettings { quiet_hours: Some(night), ..AlertSettings::default() });
    assert_eq!(watch(&mut alerts, from..from + 1, &[finding("exhausted", Severity::Critical)]).len(), 1);
    let mut alerts = Alerts::new(AlertSettings { quiet_hours: Some(night), ..AlertSettings::default() });
    watch(&mut alerts, from..from + 60, &[warning("old")]);
    assert!(watch(&mut alerts, from + 60..to + 60, &[]).is_empty(), "it was over by the morning");
}

#[test]
fn nothing_is_told_while_it_is_muted() {
    let mut alerts = Alerts::new(AlertSettings::default());
    alerts.mute_until(10 * MINUTE_MS);
    assert!(watch(&mut alerts, 0..10, &[finding("x", Severity::Critical)]).is_empty());
    assert_eq!(watch(&mut alerts, 10..11, &[finding("x", Severity::Critical)]), [(600, Kind::Opened)]);
}

fn settings() -> impl Strategy<Value = AlertSettings> {
    (0_u64..120, 0_u64..300, 1_u32..4, any::<bool>()).prop_map(|(gather, settle, most_per_hour, is_quiet)| {
        AlertSettings {
            gather: Duration::from_secs(gather),
            settle: Duration::from_secs(settle),
            most_per_hour,
            quiet_hours: is_quiet.then_some(QuietHours {
                from_minute: 60,
                to_minute: 90,
                utc_offset_minutes: 0,
                except: Severity::Critical,
            }),
            ..AlertSettings::default()
        }
    })
}

proptest! {
    #[test]
    fn whatever_happens_notices_are_few_and_in_order_and_all_is_resolved_in_the_end(
        settings in settings(),
        steps in prop::collection::vec((-30_i64..600, prop::collection::vec((0_u8..3, 0_u8..3, any::<bool>()), 0..4)), 1..200),
    ) {
        let mut alerts = Alerts::new(settings.clone());
        let mut now_ms = 0;
        let mut open = BTreeSet::new();
        let mut made: Vec<i64> = Vec::new();
        let end = steps.iter().map(|(seconds, _)| seconds.max(&0)).sum::<i64>();
        let quiet_end = (0..600).map(|_| (60, Vec::new()));
        for (seconds, findings) in steps.into_iter().chain(quiet_end) {
            now_ms += seconds * SECOND_MS;
            // the hour that is over does not come back with a clock that is set back
            made.iter_mut().for_each(|at_ms| *at_ms = now_ms.min(*at_ms));
            made.retain(|at_ms| now_ms - HOUR_MS < *at_ms);
            let findings: Vec<Finding> = findings.into_iter().map(|(group, rule, is_bad)| Finding {
                group: format!("g{group}"),
                ..finding(&format!("r{rule}"), if is_bad { Severity::Critical } else { Severity::Warning })
            }).collect();
            for notice in alerts.observe(now_ms, &findings) {
                match notice.kind {
                    Kind::Opened => prop_assert!(open.insert(notice.group.clone()), "opened twice"),
                    Kind::Resolved => prop_assert!(open.remove(&notice.group), "resolved and never opened"),
                    _ => prop_assert!(open.contains(&notice.group), "{:?} and never opened", notice.kind),
                }
                prop_assert_eq!(notice.findings.is_empty(), notice.kind == Kind::Resolved);
                let is_quiet = settings.quiet_hours.is_some_and(|quiet| quiet.cover(now_ms));
                prop_assert!(!is_quiet || notice.severity == Severity::Critical);
                made.push(now_ms);
                prop_assert!(made.len() <= settings.most_per_hour as usize, "{} within an hour", made.len());
            }
        }
        prop_assert!(open.is_empty(), "{:?} never resolved, {} s", open, end);
        prop_assert!(alerts.groups.is_empty());
    }

    #[test]
    fn what_stays_wrong_is_told_as_soon_as_it_may_be(gather in 0_u64..600, step in 1_i64..60) {
        let mut alerts = Alerts::new(AlertSettings { gather: Duration::from_secs(gather), ..AlertSettings::default() });
        let mut told = None;
        for turn in 0..=600 / step + 1 {
            if !alerts.observe(turn * step * SECOND_MS, &[warning("old")]).is_empty() {
                told = Some(turn * step);
                break;
            }
        }
        let gather = i64::try_from(gather).unwrap();
        prop_assert!(told.is_some_and(|at| (gather..gather + step).contains(&at)), "{:?}", told);
    }
}
