//! Which crate may depend on which.
//!
//! Looked at is what is compiled into a crate: its normal and build dependencies, also optional ones and those of
//! other platforms. What only tests use may come from anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Every crate of the workspace with those of its own that it may use, the lowest first: a crate stands below
/// all that it names. Only the benchmark and the chaos runs name `test-support`, so it reaches other crates only as a
/// dependency of tests.
const LAYERS: &[(&str, &[&str])] = &[
    ("mahavishnu-core", &[]),
    ("mahavishnu-proto", &["mahavishnu-core"]),
    ("mahavishnu-telemetry", &[]),
    ("mahavishnu-bus", &["mahavishnu-core", "mahavishnu-proto"]),
    ("mahavishnu-process", &["mahavishnu-telemetry"]),
    ("mahavishnu-provision", &[]),
    (
        "mahavishnu-coordinator",
        &[
            "mahavishnu-bus",
            "mahavishnu-core",
            "mahavishnu-process",
            "mahavishnu-proto",
            "mahavishnu-telemetry",
        ],
    ),
    (
        "mahavishnu-worker",
        &[
            "mahavishnu-bus",
            "mahavishnu-core",
            "mahavishnu-process",
            "mahavishnu-proto",
            "mahavishnu-provision",
            "mahavishnu-telemetry",
        ],
    ),
    ("mahavishnu-worker-agno", &["mahavishnu-worker"]),
    ("mahavishnu-worker-langgraph", &["mahavishnu-worker"]),
    ("mahavishnu-worker-llamaindex", &["mahavishnu-worker"]),
    ("mahavishnu-worker-prefect", &["mahavishnu-worker"]),
    (
        "mahavishnu",
        &[
            // Not the bus: the command line speaks gRPC like any other client.
            "mahavishnu-coordinator",
            "mahavishnu-core",
            "mahavishnu-process",
            "mahavishnu-proto",
            "mahavishnu-provision",
            "mahavishnu-telemetry",
            "mahavishnu-worker",
            "mahavishnu-worker-agno",
            "mahavishnu-worker-langgraph",
            "mahavishnu-worker-llamaindex",
            "mahavishnu-worker-prefect",
        ],
    ),
    // The simulation has the core as it is, and a model of the rest.
    ("mahavishnu-simulation", &["mahavishnu-core"]),
    ("mahavishnu-test-support", &["mahavishnu-provision"]),
    (
        "mahavishnu-bench",
        &["mahavishnu-process", "mahavishnu-proto", "mahavishnu-provision", "mahavishnu-test-support"],
    ),
    (
        "mahavishnu-chaos",
        &[
            // A program that is a test.
            "mahavishnu-bus",
            "mahavishnu-core",
            "mahavishnu-proto",
            "mahavishnu-simulation",
            "mahavishnu-test-support",
        ],
    ),
    ("mahavishnu-tests", &[]),
    ("xtask", &[]),
];

/// What only these crates may name: there is one place that knows NATS, and a benchmark that measures NATS itself.
const OWNED: &[(&str, &[&str])] = &[("async-nats", &["mahavishnu-bus", "mahavishnu-bench"])];

/// What a crate must not reach by any number of steps: the core is a function of its arguments.
const UNREACHABLE: &[(&str, &[&str])] =
    &[("mahavishnu-core", &["async-nats", "prost", "reqwest", "tokio", "tonic"])];

/// Packages, by name, and what is compiled into them. Versions of one package are one package here.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    members: BTreeSet<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// The graph of the workspace that this manifest belongs to, as cargo resolves it for this machine.
    ///
    /// # Errors
    /// When cargo cannot tell.
    pub fn of_workspace(manifest: &Path) -> Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            // Without it cargo would fetch the packages of every platform there is.
            .other_options(["--locked".to_owned(), "--filter-platform".to_owned(), host()?])
            .exec()
            .context("cargo metadata")?;
        let mut graph = Self::default();
        let names: BTreeMap<_, _> =
            metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
        for package in metadata.workspace_packages() {
            graph.members.insert(package.name.to_string());
            graph.declared(package);
        }
        for node in metadata.resolve.context("cargo metadata resolved nothing")?.nodes {
            let from = names.get(&node.id).copied().unwrap_or_default();
            for dependency in node.deps.iter().filter(|dependency| {
                dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
            }) {
                graph.add(from, names.get(&dependency.pkg).copied().unwrap_or_default());
            }
        }
        Ok(graph)
    }

    /// What the manifest itself names, also what is not resolved here.
    fn declared(&mut self, package: &Package) {
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            self.add(package.name.as_str(), &dependency.name);
        }
    }

    fn add(&mut self, from: &str, to: &str) {
        self.edges.entry(from.to_owned()).or_default().insert(to.to_owned());
    }

    fn of(&self, package: &str) -> impl Iterator<Item = &str> {
        self.edges.get(package).into_iter().flatten().map(String::as_str)
    }

    /// How one package comes to depend on another, if it does: the shortest chain of names.
    fn path(&self, from: &str, to: &str) -> Option<Vec<&str>> {
        let (start, _) = self.edges.get_key_value(from)?;
        let mut paths = std::collections::VecDeque::from([vec![start.as_str()]]);
        let mut seen = BTreeSet::new();
        while let Some(path) = paths.pop_front() {
            let Some(last) = path.last() else { continue };
            if *last == to {
                return Some(path);
            }
            for next in self.of(last).filter(|next| seen.insert(next.to_string())) {
                paths.push_back(path.iter().copied().chain([next]).collect());
            }
        }
        None
    }
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = |package: &String| self.of(package).filter(|name| self.members.contains(*name)).count();
        let between: usize = self.members.iter().map(own).sum();
        write!(f, "{} crates, {between} dependencies between them", self.members.len())
    }
}

/// What is wrong, a line each.
pub fn check(graph: &Graph) -> Vec<String> {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let mut complaints = Vec::new();
    for package in &graph.members {
        let Some(allowed) = layers.get(package.as_str()) else {
            complaints.push(format!("{package} has no layer: say what it may depend on"));
            continue;
        };
        for name in graph.of(package).filter(|name| graph.members.contains(*name) && !allowed.contains(name))
        {
            complaints.push(format!("{package} must not depend on {name}"));
        }
    }
    for (package, _) in LAYERS.iter().filter(|(package, _)| !graph.members.contains(*package)) {
        complaints.push(format!("{package} has a layer and is not there any more"));
    }
    for (owned, owners) in OWNED {
        let users = graph.members.iter().filter(|package| graph.of(package).any(|name| name == *owned));
        complaints.extend(
            users.filter(|package| !owners.contains(&package.as_str())).map(|package| {
                format!("{package} must not depend on {owned}: only {} may", owners.join(", "))
            }),
        );
    }
    for (package, unreachable) in UNREACHABLE {
        complaints.extend(unreachable.iter().filter_map(|name| graph.path(package, name)).map(|path| {
            format!("{package} must not reach {}: {}", path.last().unwrap_or(&""), path.join(" -> "))
        }));
    }
    complaints
}

/// The platform that is built for here.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8(output.stdout).context("rustc -vV")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

#[cfg(test)]
mod tests;
