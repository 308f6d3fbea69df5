//! Mistakes that somebody could make in a coordinator, a worker, a client's retry, a watcher or a schedule. Each is injected into
//! the actors here, none into the programs, and `tests/it/mutations.rs` shows that the judge notices each.

/// A mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A coordinator takes a result of an earlier attempt for one of the present attempt.
    AttemptIgnored,
    /// A coordinator lets the last result of an attempt win, not the first.
    LastResultWins,
    /// A coordinator settles an input before what it causes is stored.
    SettledFirst,
    /// A cursor stands behind inputs that wait and that it does not name.
    CursorBehindWaiting,
    /// A worker acknowledges its task before the result is stored.
    TaskAckedFirst,
    /// Decisions are stored without their condition.
    ConditionDropped,
    /// A coordinator takes a refused decision for a stored one.
    RefusalTakenForSuccess,
    /// What the tail brings while a history is being loaded is dropped.
    LoadForgetsTail,
    /// A load takes what a server that is behind the tail has for everything there is.
    ServerTrusted,
    /// The timer of a back-off is set after the record that relies on it.
    TimerAfterRecord,
    /// Nobody watches over the time limit of an attempt.
    LimitNotWatched,
    /// Nobody watches over the time that a pause may wait for people.
    PauseNotWatched,
    /// A coordinator takes a decision on another pause for one on the present pause.
    NonceNotCompared,
    /// A coordinator counts a person who decides twice as two.
    VoteCountedTwice,
    /// A coordinator goes on at the first who approves.
    QuorumIgnored,
    /// A coordinator takes a scheduled stage for a completed one.
    ResultsNotAwaited,
    /// A coordinator goes on after the end.
    EndIgnored,
    /// A coordinator does not number void records.
    VoidNotNumbered,
    /// An execution is accepted without the condition that its subject is empty.
    AcceptUnconditional,
    /// Acceptance relies on the deduplication window alone.
    WindowTrusted,
    /// A repeated request gets a fresh execution id.
    RequestIdIgnored,
    /// A body is not compared when a request id is used again.
    BodyNotCompared,
    /// A watcher that comes back goes on with what happens now.
    CursorForgotten,
    /// A watcher that comes back gets its last event again.
    CursorInclusive,
    /// A worker reports a failed engine call as completed.
    FailureAsSuccess,
    /// A redelivered task starts a trace of its own.
    TraceLost,
    /// An execution that goes on from another takes the last results, whether they count or not.
    ForkTakesVoid,
    /// The execution of a slot gets an id that does not follow from the slot.
    SlotIdFresh,
    /// A slot that does not fire is not recorded.
    SlotNotRecorded,
    /// A schedule is settled further than its slots are looked at.
    SettledTooFar,
    /// A slot is taken for started before its execution is.
    StartNotStored,
    /// The state of a schedule is stored without its condition.
    StateUnconditional,
    /// Slots start, whatever still runs.
    OverlapIgnored,
    /// What a coordinator has not heard of an execution is taken for what the log has.
    EndFromMemory,
    /// A schedule is not told that one of its executions has ended.
    EndNotTold,
    /// A wake is acknowledged before what it causes is stored.
    WakeAckedFirst,
    /// Nobody is woken for the next slot.
    NextSlotNotWoken,
    /// Whoever changes a schedule wakes somebody afterwards, and not by the same write.
    ChangeAsleep,
    /// A cancellation by a schedule is in no trace.
    CancelTraceLost,
}

impl Mutation {
    /// Every one of executions, with the invariants of which at least one must be seen broken.
    pub const ALL: &[(Self, &[&str])] = &[
        (Self::AttemptIgnored, &["I2", "I3", "I4"]),
        (Self::LastResultWins, &["I2", "I4"]),
        (Self::SettledFirst, &["I1", "I7"]),
        (Self::CursorBehindWaiting, &["I1", "I7"]),
        (Self::TaskAckedFirst, &["I1", "I7"]),
        (Self::ConditionDropped, &["I1", "I2"]),
        (Self::RefusalTakenForSuccess, &["I1", "I7"]),
        (Self::LoadForgetsTail, &["I4"]),
        (Self::ServerTrusted, &["I4", "I5"]),
        (Self::TimerAfterRecord, &["I1", "I7"]),
        (Self::LimitNotWatched, &["I7"]),
        (Self::PauseNotWatched, &["I7"]),
        (Self::NonceNotCompared, &["I2", "I4"]),
        (Self::VoteCountedTwice, &["I2", "I4"]),
        (Self::QuorumIgnored, &["I2"]),
        (Self::ResultsNotAwaited, &["I3"]),
        (Self::EndIgnored, &["I1", "I3"]),
        (Self::VoidNotNumbered, &["I4", "I5"]),
        (Self::AcceptUnconditional, &["I6"]),
        (Self::WindowTrusted, &["I6"]),
        (Self::RequestIdIgnored, &["I6"]),
        (Self::BodyNotCompared, &["I6"]),
        (Self::CursorForgotten, &["I5"]),
        (Self::CursorInclusive, &["I5"]),
        (Self::FailureAsSuccess, &["I8"]),
        (Self::TraceLost, &["I9"]),
        (Self::ForkTakesVoid, &["I2"]),
    ];

    /// Those of schedules.
    pub const OF_SCHEDULES: &[(Self, &[&str])] = &[
        (Self::SlotIdFresh, &["S1"]),
        (Self::SlotNotRecorded, &["S2"]),
        (Self::SettledTooFar, &["S2"]),
        (Self::StartNotStored, &["S2"]),
        (Self::StateUnconditional, &["S2", "S3"]),
        (Self::OverlapIgnored, &["S3"]),
        (Self::EndFromMemory, &["S3", "S4"]),
        (Self::EndNotTold, &["S4"]),
        (Self::WakeAckedFirst, &["S4"]),
        (Self::NextSlotNotWoken, &["S4"]),
        (Self::ChangeAsleep, &["S4"]),
        (Self::CancelTraceLost, &["I9"]),
    ];
}
