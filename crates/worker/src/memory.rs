//! The memory ceiling of a process, an attempt's or that of all attempts: what it and everything below it hold, looked at
//! again and again.
//!
//! Invariant: a process that cannot be looked at (it has ended, or the system has no `/proc`) counts as nothing, so no
//! attempt is stopped for memory that nobody saw.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

/// A leak of some gigabytes a second is noticed some hundred megabytes late.
const PERIOD: Duration = Duration::from_millis(100);
/// A process that starts another one counts twice until the other has its own program. So what is too much must be so still
/// after this time.
const AGAIN: Duration = Duration::from_millis(50);

/// More was held than may be, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exceeded {
    pub held: u64,
    pub ceiling: u64,
}

impl Display for Exceeded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "it held {} MiB, more than {} MiB", self.held >> 20, self.ceiling >> 20)
    }
}

/// Returns when the process `pid` and those below it hold more than `ceiling` bytes.
pub async fn exceeded(pid: impl Display, ceiling: u64) -> Exceeded {
    let pid = pid.to_string();
    let held = more_than(ceiling, || held(Path::new("/proc"), &pid)).await;
    Exceeded { held, ceiling }
}

/// What is held, once it is more than the ceiling.
async fn more_than(ceiling: u64, mut held: impl FnMut() -> u64) -> u64 {
    let mut tick = tokio::time::interval_at(Instant::now() + PERIOD, PERIOD);
    loop {
        tick.tick().await;
        if held() > ceiling {
            tokio::time::sleep(AGAIN).await;
            let held = held();
            if held > ceiling {
                return held;
            }
        }
    }
}

/// Resident memory of a process and of all below it, in bytes; what several share counts for each.
fn held(proc: &Path, pid: &str) -> u64 {
    let status = fs::read_to_string(proc.join(pid).join("status")).unwrap_or_default();
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|size| size.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024);
    own + children(proc, pid).iter().map(|child| held(proc, child)).sum::<u64>()
}

/// The processes that the threads of a process have started.
fn children(proc: &Path, pid: &str) -> Vec<String> {
    let threads = fs::read_dir(proc.join(pid).join("task")).into_iter().flatten().flatten();
    let listed = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    listed.flat_map(|children| children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, pid: &str, kilobytes: u32, children: &str) {
        let task = proc.join(pid).join("task").join(pid);
        fs::create_dir_all(&task).unwrap();
        fs::write(task.join("children"), children).unwrap();
        let status = format!("Name:\tx\nVmPeak:\t 9 kB\nVmRSS:\t  {kilobytes} kB\nThreads:\t1\n");
        fs::write(proc.join(pid).join("status"), status).unwrap();
    }

    #[tokio::test]
    async fn a_child_without_a_program_of_its_own_is_not_a_leak() {
        let mut seen = [60, 120, 60, 60, 120, 60, 101, 102].into_iter();
        assert_eq!(more_than(100, || seen.next().unwrap()).await, 102);
    }

    #[test]
    fn a_process_counts_with_all_below_it() {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), "1", 100, "2 3 ");
        process(proc.path(), "2", 20, "4");
        process(proc.path(), "3", 3, "");
        process(proc.path(), "4", 4000, "9 ");
        assert_eq!(held(proc.path(), "1"), (100 + 20 + 3 + 4000) * 1024);
        assert_eq!(held(proc.path(), "8"), 0);
    }
}
