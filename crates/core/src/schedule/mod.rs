//! Schedules: five cron fields and an IANA time zone, the instants they name, and what is to be done at each.
//!
//! [`Schedule`] is the rule, [`State`] a schedule as it stands, [`advance`](State::advance) the decisions.
//!
//! Minute, hour, day of month, month, day of week; names (`MON`, `JAN`), lists, ranges, steps, `L`, `#`, `W` and
//! nicknames such as `@daily` as the `croner` crate reads them. Without a zone, UTC.
//!
//! Where clocks change, a schedule at *fixed* times (no `*` or step in minute and hour) fires once on that day: a
//! time that the clocks jump over is made up for at the first minute after the gap, and of a time that comes twice
//! only the first counts. A schedule at *intervals* (`*/15 * * * *`) follows the clock on the wall: what is jumped
//! over is left out, and an hour that comes twice is served twice.
//!
//! Invariant: no clock is read; the same schedule after the same instant always yields the same instants.

mod advance;
mod clock_change;
mod state;
#[cfg(test)]
mod tests;

use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, Weekday};
use serde::{Deserialize, Serialize};

use crate::violation::{Reason, Violations, nearest};

pub use advance::{Events, MAX_QUEUE, ON_TIME};
pub use state::{CatchUp, Command, Definition, Outcome, Overlap, Past, Request, Skip, Slot, State};

/// Longest cron text, in bytes.
const MAX_LENGTH: usize = 128;
/// Every day of the year has fallen on every day of the week within these years, the 29th of February included.
const CALENDAR_START: i32 = 2024;
const CALENDAR_YEARS: i32 = 28;

/// When something starts again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Texts", into = "Texts")]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: Tz,
}

/// A schedule as it is kept.
#[derive(Serialize, Deserialize)]
struct Texts {
    cron: String,
    timezone: String,
}

impl TryFrom<Texts> for Schedule {
    type Error = Violations;

    fn try_from(texts: Texts) -> Result<Self, Violations> {
        Self::parse(&texts.cron, Some(&texts.timezone))
    }
}

impl From<Schedule> for Texts {
    fn from(schedule: Schedule) -> Self {
        Self { timezone: schedule.zone.name().to_owned(), cron: schedule.text }
    }
}

impl Schedule {
    /// Reads a cron text and the name of a zone. Violations are at `schedule` and `timezone`.
    pub fn parse(cron: &str, timezone: Option<&str>) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let zone = match timezone.map_or(Ok(Tz::UTC), Tz::from_str) {
            Ok(zone) => Some(zone),
            Err(_) => {
                violations.push(
                    "timezone",
                    Reason::InvalidSchedule,
                    unknown_zone(timezone.unwrap_or_default()),
                );
                None
            }
        };
        let cron_text = cron.trim();
        let cron = match read(cron_text) {
            Ok(cron) => Some(cron),
            Err(message) => {
                violations.push("schedule", Reason::InvalidSchedule, message);
                None
            }
        };
        match (cron, zone) {
            (Some(cron), Some(zone)) => Ok(Self { text: cron_text.to_owned(), cron, zone }),
            _ => Err(violations),
        }
    }

    /// The cron text.
    pub fn cron(&self) -> &str {
        &self.text
    }

    /// The zone in which the cron text is meant.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first `n` instants after one, with the zone's offset at each. Fewer only at the end of time.
    pub fn next(&self, after: DateTime<Utc>, n: usize) -> Vec<DateTime<Tz>> {
        self.cron.iter_after(after.with_timezone(&self.zone)).take(n).collect()
    }

    /// The instants after one, up to another and with it.
    pub fn between(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let instants = self.cron.iter_after(after.with_timezone(&self.zone));
        instants.map(|instant| instant.to_utc()).take_while(move |instant| *instant <= until)
    }

    /// What the next change of the clocks does to this schedule, within a year; nothing if it does nothing.
    pub fn clock_change(&self, after: DateTime<Utc>) -> Option<String> {
        clock_change::remark(&self.cron, self.zone, after)
    }
}

fn read(text: &str) -> Result<Cron, String> {
    const FORM: &str = "use five fields, such as \"0 2 * * *\" for every day at 02:00";
    if text.len() > MAX_LENGTH {
        return Err(format!("the schedule is longer than {MAX_LENGTH} bytes"));
    }
    let cron = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build()
        .parse(text)
        .map_err(|error| format!("{text:?} is not a cron expression ({error}): {FORM}"))?;
    if fires(&cron) { Ok(cron) } else { Err(format!("{text:?} never fires: no such day exists")) }
}

/// Whether some day is one of its days. Searching for the next instant would tell too, after looking at every day
/// of three thousand years; [`CALENDAR_YEARS`] show all days there are.
fn fires(cron: &Cron) -> bool {
    let first = NaiveDate::from_ymd_opt(CALENDAR_START, 1, 1).unwrap_or_default();
    first.iter_days().take_while(|day| day.year() < CALENDAR_START + CALENDAR_YEARS).any(|day| {
        let weekday = Weekday::from_days_from_sunday(day.weekday().num_days_from_sunday());
        let matches = cron.pattern.day_match(day.year(), day.month(), day.day(), weekday);
        cron.pattern.month_match(day.month()).unwrap_or(false) && matches.unwrap_or(false)
    })
}

fn unknown_zone(name: &str) -> String {
    let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    let hint = nearest(name, known).map(|zone| format!(", did you mean {zone:?}?")).unwrap_or_default();
    let shown: String = name.chars().take(64).collect();
    format!("{shown:?} is not an IANA time zone such as \"Europe/Berlin\"{hint}")
}
