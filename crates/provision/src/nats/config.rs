//! The shipped configuration files and the variables that fill them in.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::error::{Error, Result};

use super::{Durability, Options};

/// `deploy/nats/single.conf`.
pub const SINGLE_CONF: &str = include_str!("../../../../deploy/nats/single.conf");
/// `deploy/nats/cluster.conf`, which includes `single.conf`.
pub const CLUSTER_CONF: &str = include_str!("../../../../deploy/nats/cluster.conf");

const ANY_PORT: &str = "-1";

/// Writes the files into the server's directory and gives the one to start with.
pub(super) fn write(options: &Options) -> Result<PathBuf> {
    for (name, text) in [("single.conf", SINGLE_CONF), ("cluster.conf", CLUSTER_CONF)] {
        let file = options.directory.join(name);
        std::fs::write(&file, text).map_err(Error::io("cannot write", &file))?;
    }
    Ok(options.directory.join(if options.cluster.is_some() { "cluster.conf" } else { "single.conf" }))
}

pub(super) fn variables(options: &Options) -> Vec<(&'static str, String)> {
    let port = |port: Option<u16>| port.map_or_else(|| ANY_PORT.to_owned(), |port| port.to_string());
    let mut variables = vec![
        ("NATS_NAME", quoted(&options.name)),
        ("NATS_HOST", quoted(&options.host.to_string())),
        ("NATS_PORT", port(options.port)),
        ("NATS_MONITOR", quoted(&format!("127.0.0.1:{}", port(options.monitor_port)))),
        ("NATS_STORE", quoted(&options.directory.to_string_lossy())),
        ("NATS_PORTS_DIR", quoted(&options.ports_directory().to_string_lossy())),
        ("NATS_SYNC", options.durability.sync_interval().to_owned()),
    ];
    if let Some(cluster) = &options.cluster {
        let routes: Vec<String> = cluster.routes.iter().map(|route| quoted(route)).collect();
        variables.push(("NATS_CLUSTER_LISTEN", quoted(&cluster.listen)));
        variables.push(("NATS_ROUTES", format!("[{}]", routes.join(", "))));
    }
    variables
}

impl Durability {
    /// The value of `sync_interval`.
    pub fn sync_interval(self) -> &'static str {
        match self {
            Self::Process => "120s",
            Self::Power => "always",
        }
    }
}

/// A string in the configuration's own syntax: the server parses the value of a variable like a piece of the file.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // Writing to a string cannot fail.
            character if character.is_ascii_control() => drop(write!(quoted, "\\x{:02X}", character as u32)),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_of_the_files_is_filled_in() {
        let mut options = Options::new("/bin/nats-server", "/a \"b\"");
        let single = variables(&options);
        options.cluster = Some(super::super::Cluster {
            listen: "127.0.0.1:1".into(),
            routes: vec!["nats://127.0.0.1:1".into()],
        });
        let cluster = variables(&options);
        let used = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.filter_map(|line| Some(line.split_once('$')?.1.to_owned())).collect()
        };
        for (text, variables) in [(SINGLE_CONF, &single), (CLUSTER_CONF, &cluster)] {
            let used = used(text);
            assert!(!used.is_empty());
            for name in used {
                assert!(variables.iter().any(|(variable, _)| *variable == name), "{name}");
            }
        }
        assert!(single.contains(&("NATS_STORE", r#""/a \"b\"""#.to_owned())));
    }
}
