//! `schedules`.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{ArgGroup, Args, Subcommand, ValueEnum, ValueHint};

use super::values::{instant, pair};

/// `schedules`.
#[derive(Debug, Subcommand)]
pub enum Schedules {
    /// Make one from a workflow
    Create(CreateSchedule),
    /// One schedule: its next times, and what became of the last ones
    Get {
        /// The schedule
        id: String,
    },
    /// All of them
    List,
    /// Change what one does, from its next time on
    Update(UpdateSchedule),
    /// Have it start nothing until it is resumed
    Pause {
        /// The schedule
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have it start executions again; the times of the pause are skipped
    Resume {
        /// The schedule
        id: String,
    },
    /// End it; its executions go on
    Delete {
        /// The schedule
        id: String,
    },
    /// Start an execution of it now, and print its id
    Trigger {
        /// The schedule
        id: String,
        /// A UUID of your own: the same id never starts a second execution
        #[arg(long, value_name = "UUID")]
        request_id: Option<uuid::Uuid>,
    },
    /// When it will start executions, across changes of the clocks
    Preview(PreviewSchedule),
    /// Make up for past times that have no execution
    Backfill(BackfillSchedule),
}

/// When, and what happens when something is in the way.
#[derive(Clone, Debug, Args)]
pub struct Rule {
    /// Five cron fields, such as "0 2 * * *"; by default the `schedule` of the workflow's first stage
    #[arg(long, value_name = "FIELDS")]
    pub cron: Option<String>,
    /// The time zone, such as Europe/Berlin; by default UTC
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// When its time comes while an execution of it is under way: by default it is skipped
    #[arg(long, value_enum)]
    pub overlap: Option<Overlap>,
    /// When nobody was there at its time: by default the latest is made up for
    #[arg(long, value_enum)]
    pub catch_up: Option<CatchUp>,
    /// How old a missed time may be to be made up for; by default a day
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub catch_up_window: Option<Duration>,
}

/// When its time comes while an execution of it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Overlap {
    /// The time is skipped
    Skip,
    /// It waits until everything before has ended
    Queue,
    /// Both run
    Allow,
    /// What runs is cancelled first
    CancelPrevious,
}

/// When nobody was there at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CatchUp {
    /// Missed times are skipped
    Skip,
    /// The latest within the window is made up for
    Latest,
    /// All within the window are made up for
    All,
}

/// `schedules create`.
#[derive(Debug, Args)]
pub struct CreateSchedule {
    /// The workflow, YAML or JSON; `-` reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Its id; by default the name of the file
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// When.
    #[command(flatten)]
    pub rule: Rule,
    /// It begins paused
    #[arg(long)]
    pub paused: bool,
    /// A file to attach as the document NAME of `docs`
    #[arg(long = "doc", value_name = "NAME=PATH", value_parser = pair)]
    pub docs: Vec<(String, String)>,
    /// A UUID of your own: the same call again changes nothing
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<uuid::Uuid>,
    /// Who asks for it, and so for its executions; by default the user's name
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// `schedules update`.
#[derive(Debug, Args)]
pub struct UpdateSchedule {
    /// The schedule
    pub id: String,
    /// Another workflow
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// When; what is not said stays.
    #[command(flatten)]
    pub rule: Rule,
    /// Who asks for what it does now, and so for its executions; by default the user's name
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// `schedules preview`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["id", "cron"]))]
pub struct PreviewSchedule {
    /// The schedule
    pub id: Option<String>,
    /// Five cron fields instead of a schedule; needs no running system
    #[arg(long, value_name = "FIELDS")]
    pub cron: Option<String>,
    /// Their time zone; by default UTC
    #[arg(long, value_name = "ZONE", requires = "cron")]
    pub timezone: Option<String>,
    /// How many
    #[arg(long, short = 'n', default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub count: u16,
    /// Those after this instant; by default from now on
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    pub after: Option<DateTime<Utc>>,
}

/// `schedules backfill`.
#[derive(Debug, Args)]
pub struct BackfillSchedule {
    /// The schedule
    pub id: String,
    /// From this instant on
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    pub from: DateTime<Utc>,
    /// Up to this instant; by default now
    #[arg(long, value_name = "RFC3339", value_parser = instant)]
    pub to: Option<DateTime<Utc>>,
}
