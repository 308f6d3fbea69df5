//! Processor time and context switches, from the kernel's accounts: who spends it, and how much it does at a time.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::report::Report;

/// Ticks a second in which Linux tells the time.
const TICKS: f64 = 100.0;

/// What processes have used, and what they are called.
pub struct Meter {
    processes: Vec<(&'static str, u32)>,
    before: BTreeMap<&'static str, Used>,
}

/// Seconds, and how often a thread went to sleep because there was nothing to do.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    whole: f64,
    kernel: f64,
    sleeps: f64,
}

impl Meter {
    /// Begins to count; processes of one name are one.
    pub fn start(processes: Vec<(&'static str, u32)>) -> Result<Self> {
        let before = used(&processes)?;
        Ok(Self { processes, before })
    }

    /// Tells what each spent on one of so many stages.
    pub fn tell(self, report: &mut Report, row: &'static str, what: &str, stages: f64) -> Result<()> {
        let mut all = Used::default();
        for (name, after) in used(&self.processes)? {
            let before = self.before.get(name).copied().unwrap_or_default();
            let whole = after.whole - before.whole;
            let sleeps = after.sleeps - before.sleeps;
            all.whole += whole;
            all.kernel += after.kernel - before.kernel;
            report.tell(row, &format!("{what}, processor time: {name}"), whole / stages * 1e6, "us/stage");
            report.tell(row, &format!("{what}, went to sleep: {name}"), sleeps / stages, "/stage");
        }
        report.tell(row, &format!("{what}, share of the kernel in it"), all.kernel / all.whole, "");
        Ok(())
    }
}

fn used(processes: &[(&'static str, u32)]) -> Result<BTreeMap<&'static str, Used>> {
    let mut all = BTreeMap::<_, Used>::new();
    for (name, pid) in processes {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // After the name in brackets, which may hold anything, come the state and the numbers.
        let (_, numbers) = stat.rsplit_once(')').context("stat")?;
        let mut ticks = numbers.split_whitespace().skip(11);
        let mut seconds = || anyhow::Ok(ticks.next().context("stat")?.parse::<f64>()? / TICKS);
        let (user, kernel) = (seconds()?, seconds()?);
        let used = all.entry(*name).or_default();
        used.whole += user + kernel;
        used.kernel += kernel;
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            // It may have ended meanwhile.
            let status = std::fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
            let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            used.sleeps += sleeps.and_then(|sleeps| sleeps.trim().parse::<f64>().ok()).unwrap_or_default();
        }
    }
    Ok(all)
}
