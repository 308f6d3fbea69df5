//! The memory ceiling of an attempt: what its process and everything below it hold, looked at again and again.
//!
//! Invariant: a process that cannot be looked at (it has ended, or the system has no `/proc`) counts as nothing, so no
//! attempt is stopped for memory that nobody saw.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

/// A leak of some gigabytes a second is noticed some hundred megabytes late.
const PERIOD: Duration = Duration::from_millis(100);

/// Returns when the process `pid` and those below it hold more than `ceiling` bytes, with how much it is; without a
/// process or a ceiling never.
pub async fn exceeded(pid: Option<i32>, ceiling: Option<u64>) -> u64 {
    let (Some(pid), Some(ceiling)) = (pid, ceiling) else {
        return std::future::pending().await;
    };
    let mut tick = tokio::time::interval_at(Instant::now() + PERIOD, PERIOD);
    loop {
        tick.tick().await;
        let held = held(Path::new("/proc"), &pid.to_string());
        if held > ceiling {
            return held;
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

    #[test]
    fn a_process_counts_with_all_below_it() {
        let proc = tempfile::tempdir().unwrap();
        for (pid, kilobytes, children) in
            [("1", 100, "2 3 "), ("2", 20, "4"), ("3", 3, ""), ("4", 4000, "9 ")]
        {
            let task = proc.path().join(pid).join("task").join(pid);
            fs::create_dir_all(&task).unwrap();
            fs::write(task.join("children"), children).unwrap();
            let status = format!("Name:\tx\nVmPeak:\t 9 kB\nVmRSS:\t  {kilobytes} kB\nThreads:\t1\n");
            fs::write(proc.path().join(pid).join("status"), status).unwrap();
        }
        assert_eq!(held(proc.path(), "1"), (100 + 20 + 3 + 4000) * 1024);
        assert_eq!(held(proc.path(), "8"), 0);
    }
}
