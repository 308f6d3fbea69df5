//! Fire times, also where clocks change, and refusals.

use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn next(cron: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
    let schedule = Schedule::parse(cron, Some(zone)).unwrap();
    schedule.next(at(after), n).iter().map(DateTime::to_rfc3339).collect()
}

#[test]
fn the_seeds_schedule() {
    let schedule = Schedule::parse("0 2 * * *", None).unwrap();
    assert_eq!((schedule.cron(), schedule.zone()), ("0 2 * * *", Tz::UTC));
    assert_eq!(
        next("0 2 * * *", "UTC", "2026-11-22T10:00:00Z", 2),
        ["2026-11-23T02:00:00+00:00", "2026-11-24T02:00:00+00:00"]
    );
    assert_eq!(schedule.clock_change(at("2026-01-01T00:00:00Z")), None);
}

#[test]
fn the_instant_itself_is_not_after_it() {
    assert_eq!(next("0 2 * * *", "UTC", "2026-11-22T02:00:00Z", 1), ["2026-11-23T02:00:00+00:00"]);
    assert_eq!(next("0 2 * * *", "UTC", "2026-11-22T01:59:59.5Z", 1), ["2026-11-22T02:00:00+00:00"]);
}

#[test]
fn a_fixed_time_that_clocks_skip_fires_right_after_the_gap() {
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    let schedule = Schedule::parse("30 2 * * *", Some("Europe/Berlin")).unwrap();
    assert_eq!(
        schedule.clock_change(at("2026-03-01T00:00:00Z")).unwrap(),
        "on 2026-03-29 the clocks of Europe/Berlin skip 02:30: it fires at 03:00 that day"
    );
}

#[test]
fn a_fixed_time_that_comes_twice_fires_once() {
    assert_eq!(
        next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
    let schedule = Schedule::parse("30 1 * * *", Some("America/New_York")).unwrap();
    assert_eq!(
        schedule.clock_change(at("2026-05-01T00:00:00Z")).unwrap(),
        "on 2026-11-01 01:30 comes twice in America/New_York: it fires at the first one only"
    );
}

#[test]
fn intervals_follow_the_wall_clock() {
    assert_eq!(
        next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3),
        ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
    );
    assert_eq!(
        next("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:15:00Z", 4),
        [
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:00:00+01:00"
        ]
    );
    let schedule = Schedule::parse("*/30 * * * *", Some("Europe/Berlin")).unwrap();
    let remark = schedule.clock_change(at("2026-09-01T00:00:00Z")).unwrap();
    assert_eq!(remark, "on 2026-10-25 02:00 to 03:00 comes twice in Europe/Berlin: it fires in both");
    let noon = Schedule::parse("0 12 * * *", Some("Europe/Berlin")).unwrap();
    assert_eq!(noon.clock_change(at("2026-09-01T00:00:00Z")), None);
}

#[test]
fn what_is_not_a_schedule_is_refused_with_its_field() {
    for cron in [
        "",
        "* * * *",
        "0 0 2 * * *",
        "60 * * * *",
        "0 24 * * *",
        "daily",
        "0 2 * * MOO",
        "0 0 30 2 *",
        "@yearly @daily",
        "\0",
        "* * * * * * *",
        &"1,".repeat(200),
    ] {
        let violations = Schedule::parse(cron, None).unwrap_err().0;
        assert_eq!(violations.len(), 1, "{cron:?}");
        assert_eq!(
            (violations[0].field.as_str(), violations[0].reason),
            ("schedule", Reason::InvalidSchedule),
            "{cron:?}"
        );
    }
    let both = Schedule::parse("x", Some("Europe/Berlim")).unwrap_err().0;
    assert_eq!(both.len(), 2);
    assert!(both[0].message.ends_with("did you mean \"Europe/Berlin\"?"), "{}", both[0].message);
    for zone in ["", "CEST+2", "Mars/Olympus", "\0"] {
        assert!(Schedule::parse("0 2 * * *", Some(zone)).is_err(), "{zone:?}");
    }
}

#[test]
fn usual_forms_are_accepted() {
    for cron in [
        "@daily",
        "@hourly",
        "*/15 9-17 * * MON-FRI",
        "0 0 1 JAN *",
        "0 0 L * *",
        "0 0 * * 5#2",
        "5,35 * * * 0",
        "0 0 29 2 *",
    ] {
        assert!(Schedule::parse(cron, Some("Asia/Kolkata")).is_ok(), "{cron}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(cron in "\\PC{0,30}", zone in "\\PC{0,20}") {
        let _ = Schedule::parse(&cron, Some(&zone));
    }

    #[test]
    fn instants_are_in_order_and_later(
        minute in 0..60_u32, hour in 0..24_u32, step in 1..60_u32, interval in any::<bool>(),
        zone in prop::sample::select(chrono_tz::TZ_VARIANTS.to_vec()), start in 0..4_000_000_000_i64,
    ) {
        let cron = if interval { format!("*/{step} * * * *") } else { format!("{minute} {hour} * * *") };
        let after = DateTime::from_timestamp(start, 0).unwrap();
        let schedule = Schedule::parse(&cron, Some(zone.name())).unwrap();
        let mut last = after;
        for instant in schedule.next(after, 5) {
            prop_assert!(instant > last, "{cron} {zone} {instant} after {last}");
            last = instant.to_utc();
        }
    }
}
