//! Clauses: the parts of a description, what binds each to the one before it, and which words are denied.
//!
//! A clause ends at punctuation, at a word of order (`then`, `before`, `once`), at a relative, and at `and`
//! when what follows is an action of its own.

use super::lexicon::Hit;
use super::opener::{closer, opener};
use super::text::{Kind, Token};

/// What a clause is to the clause before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cue {
    /// It begins a sentence.
    Start,
    /// Nothing is said of the order.
    None,
    /// It comes next.
    Then,
    /// It happens before what it is attached to: `after X`, `once X`, `until X`.
    Prior,
    /// It happens after what it is attached to: `before X`.
    Later,
    /// It comes before everything said so far.
    First,
    /// It comes before what was said just before: `before that, Y`.
    Before,
    /// It comes after everything else, whatever is said later: `X at the very end`.
    Last,
}

impl Cue {
    /// The name that features carry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::None => "none",
            Self::Then => "then",
            Self::Prior => "prior",
            Self::Later => "later",
            Self::First => "first",
            Self::Before => "before",
            Self::Last => "last",
        }
    }
}

/// A part of a description.
#[derive(Clone, Debug)]
pub struct Clause {
    /// First token.
    pub first: usize,
    /// Past the last token.
    pub last: usize,
    /// What binds it to the clause before.
    pub cue: Cue,
    /// The sentence, counted from 0.
    pub sentence: usize,
    /// It says `only after`, `not until` or the like: the binding is to the clause just before it.
    pub strict: bool,
}

/// Cuts the tokens into clauses.
pub fn clauses(tokens: &[Token], hits: &[Hit]) -> Vec<Clause> {
    let mut clauses = Vec::new();
    let mut open = Clause { first: 0, last: 0, cue: Cue::Start, sentence: 0, strict: false };
    let mut n = 0;
    while let Some(token) = tokens.get(n) {
        match token.kind {
            Kind::Stop | Kind::Pause | Kind::Arrow => {
                let stop = token.kind == Kind::Stop;
                let cue = match token.kind {
                    Kind::Stop => Cue::Start,
                    Kind::Arrow => Cue::Then,
                    _ => Cue::None,
                };
                let sentence = open.sentence + usize::from(stop && n > 0);
                close(&mut clauses, &mut open, n, n + 1, cue);
                open.sentence = sentence;
                n += 1;
            }
            _ => {
                // `X must be written before that`, `X comes last`: said of what the clause has said so far.
                if let Some((cue, words)) = closer(tokens, n).filter(|_| n > open.first) {
                    open.cue = cue;
                    n += words;
                    continue;
                }
                // `only once X is done should Y`
                if open.cue == Cue::Prior && n > open.first + 2 && turns(tokens, n) {
                    close(&mut clauses, &mut open, n, n + 1, Cue::None);
                    n += 1;
                    continue;
                }
                let Some((cue, words)) = opener(tokens, hits, n) else {
                    n += 1;
                    continue;
                };
                let strict = is_strict(tokens, n, words);
                // An opener just after a pause says what the pause left open.
                if open.first == n || only_fillers(tokens, open.first, n) {
                    // `X, and if C, Y`: the condition opens something new and says nothing of X.
                    let new =
                        cue == Cue::Prior && !strict && joined(tokens, open.first, n) && !clauses.is_empty();
                    open.cue = if new { Cue::Then } else { merge(open.cue, cue) };
                    open.strict |= strict;
                    open.first = n + words;
                } else {
                    close(&mut clauses, &mut open, n, n + words, cue);
                    open.strict = strict;
                }
                n += words;
            }
        }
    }
    close(&mut clauses, &mut open, tokens.len(), tokens.len(), Cue::None);
    clauses
}

fn close(clauses: &mut Vec<Clause>, open: &mut Clause, last: usize, next: usize, cue: Cue) {
    if last > open.first {
        clauses.push(Clause { last, ..open.clone() });
        open.cue = cue;
        open.strict = false;
    } else {
        open.cue = merge(open.cue, cue);
    }
    open.first = next;
}

/// Whether the words up to `n` join a clause to the one before.
fn joined(tokens: &[Token], first: usize, n: usize) -> bool {
    let words = tokens.get(first.saturating_sub(1)..n).unwrap_or_default();
    words.iter().any(|word| matches!(word.lower.as_str(), "and" | "but" | "then"))
}

/// The cue that says more wins.
fn merge(old: Cue, new: Cue) -> Cue {
    match (old, new) {
        (old, Cue::None | Cue::Start) if old != Cue::None => old,
        // `Start` must not be lost to an order that only a clause before could give a meaning to.
        (_, new) => new,
    }
}

/// `should the agent`, `may we`: the verb before who does it.
fn turns(tokens: &[Token], n: usize) -> bool {
    let at = |n: usize| tokens.get(n).map_or("", |token| token.lower.as_str());
    matches!(at(n), "should" | "may" | "must" | "can" | "do" | "does" | "will" | "is")
        && matches!(at(n + 1), "the" | "an" | "a" | "we" | "it" | "our" | "i" | "they")
}

fn only_fillers(tokens: &[Token], first: usize, n: usize) -> bool {
    tokens.get(first..n).is_some_and(|words| {
        words.iter().all(|token| {
            matches!(token.lower.as_str(), "and" | "but" | "only" | "or" | "just" | "even" | "right" | "so")
        })
    })
}

fn is_strict(tokens: &[Token], n: usize, words: usize) -> bool {
    let at = |n: usize| tokens.get(n).map_or("", |token| token.lower.as_str());
    at(n) == "only"
        || at(n) == "not"
        || n.checked_sub(1).is_some_and(|n| at(n) == "only")
        || (words == 1 && matches!(at(n), "until" | "unless"))
}
