//! What a change of the clocks does to a schedule, in words.

use chrono::{DateTime, Duration, NaiveDateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use croner::{Cron, JobType};

/// How far ahead a change is looked for.
const HORIZON: Duration = Duration::days(366);
/// Zones change at most a few times a year, and never twice within this.
const STRIDE: Duration = Duration::hours(6);

/// What the first change of the clocks that touches a schedule does to it.
pub(super) fn remark(cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Option<String> {
    let end = after.checked_add_signed(HORIZON)?;
    let mut from = after;
    while from < end {
        let to = from.checked_add_signed(STRIDE)?;
        let (before, behind) = (offset(zone, from), offset(zone, to));
        if before != behind
            && let Some(remark) = describe(cron, zone, first_with(zone, behind, from, to)?, before, behind)
        {
            return Some(remark);
        }
        from = to;
    }
    None
}

fn offset(zone: Tz, at: DateTime<Utc>) -> i32 {
    zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()
}

/// The first minute at which the new offset is in force.
fn first_with(zone: Tz, behind: i32, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let minutes = (to - from).num_minutes();
    let (mut low, mut high) = (0, minutes);
    while low < high {
        let middle = low.midpoint(high);
        match offset(zone, from + Duration::minutes(middle)) == behind {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    let at = from.checked_add_signed(Duration::minutes(high))?;
    Some(at - Duration::seconds(at.timestamp() % 60))
}

fn describe(cron: &Cron, zone: Tz, at: DateTime<Utc>, before: i32, behind: i32) -> Option<String> {
    let jump = |offset: i32| at.naive_utc().checked_add_signed(Duration::seconds(offset.into()));
    let (old, new) = (jump(before)?, jump(behind)?);
    let (from, to) = (old.min(new), old.max(new));
    let hit = first_match(cron, from, to)?;
    let (day, hit) = (from.format("%Y-%m-%d"), hit.format("%H:%M"));
    let (from, to) = (from.format("%H:%M"), to.format("%H:%M"));
    let fixed = cron.determine_job_type() == JobType::FixedTime;
    Some(match (new > old, fixed) {
        (true, true) => format!("on {day} the clocks of {zone} skip {hit}: it fires at {to} that day"),
        (true, false) => {
            format!("on {day} the clocks of {zone} skip {from} to {to}: times in between are left out")
        }
        (false, true) => format!("on {day} {hit} comes twice in {zone}: it fires at the first one only"),
        (false, false) => format!("on {day} {from} to {to} comes twice in {zone}: it fires in both"),
    })
}

/// The first wall-clock minute in a range that the schedule names.
fn first_match(cron: &Cron, from: NaiveDateTime, to: NaiveDateTime) -> Option<NaiveDateTime> {
    let minutes = (to - from).num_minutes();
    (0..minutes)
        .map(|minute| from + Duration::minutes(minute))
        .find(|wall| cron.is_time_matching(&wall.and_utc()).unwrap_or(false))
}
