//! How large a workflow may be. Far above what people write, far below what would hurt a process.

use std::time::Duration;

/// The whole text of a workflow, in bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// Stages.
pub const MAX_STAGES: usize = 1_000;
/// Nesting of lists and maps within `task` or `input`, the outermost map included.
pub const MAX_DEPTH: usize = 24;
/// Entries of `labels`.
pub const MAX_LABELS: usize = 64;
/// Characters of a label's name or value.
pub const MAX_LABEL: usize = 128;
/// Entries of `repos`.
pub const MAX_REPOS: usize = 100;
/// Entries of `documents`.
pub const MAX_DOCUMENTS: usize = 1_000;
/// Bytes of a path.
pub const MAX_PATH: usize = 1_024;
/// Attempts of one stage.
pub const MAX_ATTEMPTS: u32 = 100;
/// Reasons of a stage that are not tried again.
pub const MAX_REASONS: usize = 32;
/// Characters of a failure's reason.
pub const MAX_REASON: usize = 64;
/// People whom an approval policy names.
pub const MAX_APPROVERS: usize = 100;
/// Characters of a person's name.
pub const MAX_PERSON: usize = 128;
/// Any wait between attempts.
pub const MAX_BACKOFF: Duration = Duration::from_secs(24 * 3600);
/// Any deadline.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
