//! Names of files and directories that a client may give.
//!
//! Invariant: an accepted path, joined to a directory, stays in it, on any system.

use crate::id::ArtifactId;
use crate::violation::{Reason, Violations};

use super::limits::MAX_PATH;

/// The prefix of a reference to an uploaded artifact.
const ARTIFACT: &str = "artifact:";

/// Adds a violation unless the text is a relative path that stays in its directory.
pub(super) fn check_relative(text: &str, field: &str, violations: &mut Violations) {
    if let Err(problem) = relative(text) {
        violations.push(field, Reason::UnsafePath, problem);
    }
}

/// Like [`check_relative`], and `artifact:<sha256>` is accepted too.
pub(super) fn check_document(text: &str, field: &str, violations: &mut Violations) {
    match text.strip_prefix(ARTIFACT) {
        Some(_) if artifact(text).is_some() => {}
        Some(_) => violations.push(
            field,
            Reason::InvalidValue,
            "an artifact is named by the 64 lower-case hexadecimal digits of its SHA-256",
        ),
        None => check_relative(text, field, violations),
    }
}

/// The artifact that `artifact:<sha256>`, or the bare digest, names.
pub fn artifact(text: &str) -> Option<ArtifactId> {
    let digest = text.strip_prefix(ARTIFACT).unwrap_or(text);
    let is_digest =
        digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if is_digest { ArtifactId::parse(digest).ok() } else { None }
}

fn relative(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("a path must not be empty".into());
    }
    if text.len() > MAX_PATH {
        return Err(format!("a path must not be longer than {MAX_PATH} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("a path must not hold control characters".into());
    }
    if text.contains('\\') {
        return Err("a path must use '/', not '\\'".into());
    }
    if text.starts_with(['/', '~']) {
        return Err("a path must be relative: name it from the workflow's own directory".into());
    }
    if has_scheme(text) {
        return Err("a path must not be a URL or begin with a drive".into());
    }
    if text.split('/').any(|part| part.trim() == "..") {
        return Err("a path must not lead out of its directory with '..'".into());
    }
    Ok(())
}

/// `file:`, `https:` and also `C:`.
fn has_scheme(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    };
    text.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> usize {
        let mut violations = Violations::default();
        check_document(text, "docs[0]", &mut violations);
        violations.0.len()
    }

    #[test]
    fn paths_that_stay_are_accepted() {
        let artifact = format!("artifact:{}", "a1".repeat(32));
        for good in [
            "doc1.pdf",
            "a/b/c.docx",
            "./a.txt",
            ".",
            "Übersicht 2026.pdf",
            "a..b",
            "notes 10:30.txt",
            &artifact,
        ] {
            assert_eq!(problems(good), 0, "{good}");
        }
    }

    #[test]
    fn paths_that_leave_are_refused() {
        let long = "x".repeat(MAX_PATH + 1);
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "..",
            "a/ ../b",
            "~/x",
            "~root",
            "C:\\x",
            "C:/x",
            "c:x",
            "\\\\host\\x",
            "a\\..\\b",
            "file:///etc/passwd",
            "file:x",
            "FILE:x",
            "https://x/y",
            "a\0b",
            "a\nb",
            "artifact:",
            "artifact:xyz",
            "artifact:../x",
            &long,
        ] {
            assert_eq!(problems(bad), 1, "{bad:?}");
        }
    }
}
