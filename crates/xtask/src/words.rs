//! What must not stand in some sources, where the compiler has nothing against it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A directory below `crates/`, what its sources must not say, and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    (
        "core/src",
        &[
            "std::env",
            "std::fs",
            "std::net",
            "std::process",
            "SystemTime::now",
            "Instant::now",
            "Utc::now",
            "Local::now",
        ],
        "the core knows no environment, files, processes or clock",
    ),
    ("coordinator/src/app", &["tonic::"], "use cases know no transport"),
];

/// What is wrong in the sources below `crates`, a line each.
pub fn check(crates: &Path) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (directory, words, reason) in BANNED {
        for path in sources(&crates.join(directory))? {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(crates).unwrap_or(&path).display().to_string();
            complaints.extend(complain(&name, &text, words, reason));
        }
    }
    Ok(complaints)
}

fn complain(name: &str, text: &str, words: &[&str], reason: &str) -> Vec<String> {
    let code = |line: &str| !line.trim_start().starts_with("//");
    let mut complaints = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| code(line)) {
        for word in words.iter().filter(|word| line.contains(*word)) {
            complaints.push(format!("crates/{name}:{}: {word}: {reason}", n + 1));
        }
    }
    complaints
}

fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry.context("directory")?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_words_are_found_in_code_and_not_in_comments() {
        let text = "// Utc::now is banned\nlet now = Utc::now();\nlet then = input.now;\n";
        assert_eq!(complain("a.rs", text, &["Utc::now"], "no clock"), ["crates/a.rs:2: Utc::now: no clock"]);
    }

    #[test]
    fn every_banned_directory_has_sources() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (directory, ..) in BANNED {
            assert!(!sources(&crates.join(directory)).unwrap().is_empty(), "{directory}");
        }
    }
}
