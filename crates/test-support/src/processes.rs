//! The machine's process table, to see who is left.

use std::process::Command;

/// A process, told apart from a later one with the same number by its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Who started it.
    pub parent: u32,
    /// Its group.
    pub group: u32,
    /// When it was started, as `ps` tells it.
    pub started: String,
    /// Its command line.
    pub arguments: String,
}

/// All that are alive: the dead that nobody has waited for are no processes any more.
///
/// # Errors
/// When there is no `ps`.
pub fn alive() -> std::io::Result<Vec<Process>> {
    let output = Command::new("ps")
        .args(["-A", "-ww", "-o", "pid=,ppid=,pgid=,stat=,lstart=,args="])
        .env("LC_ALL", "C")
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect())
}

/// Those below `ancestor`, at any depth, in the state of things that `all` is.
pub fn below(all: &[Process], ancestor: u32) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        for child in children {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}

/// Those of `known` that are still alive.
///
/// # Errors
/// When there is no `ps`.
pub fn still_alive(known: &[Process]) -> std::io::Result<Vec<Process>> {
    let now = alive()?;
    let is_left = |process: &&Process| {
        now.iter().any(|other| other.pid == process.pid && other.started == process.started)
    };
    Ok(known.iter().filter(is_left).cloned().collect())
}

fn parse(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    let mut number = || words.next()?.parse().ok();
    let (pid, parent, group) = (number()?, number()?, number()?);
    if words.next()?.starts_with('Z') {
        return None;
    }
    // `Mon Nov 22 17:23:01 2026`
    let started: Vec<&str> = words.by_ref().take(5).collect();
    let arguments: Vec<&str> = words.collect();
    Some(Process { pid, parent, group, started: started.join(" "), arguments: arguments.join(" ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_below_its_parent_until_it_is_gone() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let found = below(&alive().unwrap(), std::process::id());
        let ours: Vec<_> = found.into_iter().filter(|process| process.pid == child.id()).collect();
        assert_eq!(ours.len(), 1);
        assert!(ours.first().unwrap().arguments.contains("sleep 1000"));
        assert_eq!(still_alive(&ours).unwrap(), ours);
        child.kill().unwrap();
        // Not waited for: dead is dead.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !still_alive(&ours).unwrap().is_empty() {
            assert!(std::time::Instant::now() < deadline, "a killed process is told as alive for 10 s");
        }
        child.wait().unwrap();
    }
}
