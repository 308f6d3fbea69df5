//! Which words are denied: `no approval needed`, `we don't need RAG`, `scheduling is not required`.
//!
//! A denial reaches forward to the end of its clause and over a following `or`; one that is followed by `needed` or the
//! like reaches back to the start of its clause. A denial that waits (`nothing is paid until the controller agrees`,
//! `never ship without sign-off`) denies nothing.

use super::clause::{Clause, Cue};
use super::text::{Kind, Token};

/// How far two denials may stand apart to be one, in tokens.
const REACH: usize = 12;

/// Marks the denied tokens, and turns `not X before Y` round.
pub fn denied(tokens: &[Token], clauses: &mut [Clause]) -> Vec<bool> {
    let mut denied = vec![false; tokens.len()];
    let mut carries = false;
    for n in 0..clauses.len() {
        let Some(clause) = clauses.get(n).cloned() else { break };
        let next = clauses.get(n + 1).cloned();
        let start = clause.first;
        // A short clause after `or` or in a list goes on with the denial of the one before.
        let mut active = carries && goes_on(tokens, &clause);
        let mut cue_at = None;
        let mut at = start;
        while at < clause.last {
            let Some(token) = tokens.get(at) else { break };
            if let Some(words) = cue(tokens, at) {
                let waits = next.as_ref().is_some_and(|next| waits(tokens, next))
                    || doubled(tokens, sentence_start(clauses, n), at);
                if looks_back(tokens, at, clause.last) {
                    (start..at).for_each(|n| mark(&mut denied, n));
                } else if waits {
                    if let Some(next) = clauses.get_mut(n + 1).filter(|next| next.cue == Cue::Later) {
                        next.cue = Cue::Prior;
                        next.strict = true;
                    }
                } else {
                    active = true;
                    cue_at = Some(at);
                }
                at += words;
                continue;
            }
            if active && ends_scope(&token.lower) && cue_at.is_none_or(|cue_at| at > cue_at + 1) {
                active = false;
            }
            if is_overkill(&token.lower) {
                (start..at).for_each(|n| mark(&mut denied, n));
            }
            if token.lower == "already" {
                // `We already have the letters and the data`: all that follows is done.
                let has =
                    tokens.get(at + 1).is_some_and(|next| matches!(next.lower.as_str(), "have" | "has"));
                let to = if has { clause.last } else { (at + 4).min(clause.last) };
                (at + 1..to).for_each(|n| mark(&mut denied, n));
            }
            if active {
                mark(&mut denied, at);
            }
            if token.lower == "free"
                && at > start
                && tokens.get(at - 1).is_some_and(|t| t.end + 1 == token.start)
            {
                mark(&mut denied, at - 1);
            }
            at += 1;
        }
        carries = active;
    }
    denied
}

fn mark(denied: &mut [bool], n: usize) {
    if let Some(place) = denied.get_mut(n) {
        *place = true;
    }
}

/// Where the sentence of a clause begins, but not far back: a denial is not remembered for ever.
fn sentence_start(clauses: &[Clause], n: usize) -> usize {
    let sentence = clauses.get(n).map_or(0, |clause| clause.sentence);
    let before = clauses.get(..=n).unwrap_or_default().iter().rev().take(8);
    before.take_while(|clause| clause.sentence == sentence).last().map_or(0, |clause| clause.first)
}

/// How many words at `n` deny; none when they do not.
fn cue(tokens: &[Token], n: usize) -> Option<usize> {
    let at = |k: usize| tokens.get(n + k).map_or("", |token| token.lower.as_str());
    match (at(0), at(1)) {
        (
            "no" | "not",
            "later" | "more" | "less" | "matter" | "only" | "just" | "merely" | "simply" | "problem"
            | "doubt" | "sooner",
        ) => None,
        // `Not every day` denies the days, `not every page` nothing.
        ("not", "all" | "every" | "always")
            if !matches!(at(2), "day" | "night" | "week" | "month" | "hour" | "morning" | "evening") =>
        {
            None
        }
        (
            "do" | "does" | "did" | "is" | "are" | "will" | "should" | "must" | "can" | "could" | "would",
            "not",
        ) => match at(2) {
            "only" | "just" | "merely" => None,
            _ => Some(2),
        },
        ("need" | "needs", "not") => Some(2),
        ("rather", "than") | ("instead", "of") | ("as", "opposed") => Some(2),
        (
            "no" | "not" | "never" | "without" | "nor" | "neither" | "cannot" | "cant" | "dont" | "doesnt"
            | "isnt" | "wont" | "arent" | "wasnt" | "shouldnt" | "needn" | "neednt" | "none" | "nothing"
            | "nobody" | "skip" | "skipping" | "avoid" | "avoiding" | "omit" | "excluding" | "minus" | "sans"
            | "forget" | "ditch" | "lose" | "w/o",
            _,
        ) => Some(1),
        (word, _) if word.ends_with("n't") => Some(1),
        _ => None,
    }
}

/// `is not needed`, `isn't required`: what stands before is denied.
fn looks_back(tokens: &[Token], n: usize, last: usize) -> bool {
    let words = tokens.get(n + 1..last.min(n + 5)).unwrap_or_default();
    let found = words.iter().position(|token| {
        matches!(
            token.lower.as_str(),
            "needed"
                | "required"
                | "necessary"
                | "wanted"
                | "involved"
                | "important"
                | "relevant"
                | "desired"
                | "expected"
                | "called"
                | "problem"
                | "issue"
                | "point"
                | "trouble"
        )
    });
    // `no approval needed` looks forward as well as `approval is not needed` looks back.
    found.is_some_and(|place| place <= 2)
        && !matches!(
            tokens.get(n).map_or("", |token| token.lower.as_str()),
            "no" | "without" | "nothing" | "nobody" | "none"
        )
}

/// The clause that follows a denial says until when, or without what.
fn waits(tokens: &[Token], next: &Clause) -> bool {
    let opener =
        next.first.checked_sub(1).and_then(|n| tokens.get(n)).map_or("", |token| token.lower.as_str());
    matches!(opener, "until" | "till" | "unless" | "before") && matches!(next.cue, Cue::Prior | Cue::Later)
}

/// The second of two denials in a sentence: `nothing ships without sign-off`; or the first of them.
fn doubled(tokens: &[Token], first: usize, n: usize) -> bool {
    let lower = |n: usize| tokens.get(n).map_or("", |token| token.lower.as_str());
    if lower(n) == "without" {
        return (first.max(n.saturating_sub(REACH))..n)
            .any(|k| cue(tokens, k).is_some() && lower(k) != "without");
    }
    let mut after = (n + 1..tokens.len())
        .take_while(|k| tokens.get(*k).is_some_and(|token| token.kind != Kind::Stop))
        .take(REACH);
    after.any(|k| lower(k) == "without" || (lower(k) == "unless"))
}

fn goes_on(tokens: &[Token], clause: &Clause) -> bool {
    let words = clause.last.saturating_sub(clause.first);
    let opener =
        clause.first.checked_sub(1).and_then(|n| tokens.get(n)).map_or("", |token| token.lower.as_str());
    let first = tokens.get(clause.first).map_or("", |token| token.lower.as_str());
    let listed = tokens
        .iter()
        .take(clause.last)
        .skip(clause.first)
        .take(4)
        .any(|token| matches!(token.lower.as_str(), "or" | "nor"));
    clause.cue == Cue::None
        && (matches!(opener, "or" | "nor") || matches!(first, "or" | "nor") || words <= 2 || listed)
}

fn ends_scope(word: &str) -> bool {
    matches!(
        word,
        "but"
            | "just"
            | "only"
            | "instead"
            | "simply"
            | "except"
            | "because"
            | "since"
            | "so"
            | "however"
            | "yet"
            | "then"
    )
}

fn is_overkill(word: &str) -> bool {
    matches!(
        word,
        "unnecessary" | "overkill" | "irrelevant" | "superfluous" | "needless" | "unneeded" | "unwanted"
    )
}
