//! In which order the clauses of a description happen.

use super::clause::{Clause, Cue};
use super::text::Token;

/// The places of the clauses in time: `result[n]` is the place of clause `n`.
pub fn places(tokens: &[Token], clauses: &[Clause]) -> Vec<usize> {
    let mut line = Line::default();
    for (n, clause) in clauses.iter().enumerate() {
        if clause.sentence != line.sentence {
            line.end_sentence(clause.sentence);
        }
        line.put(tokens, clauses, n, clause);
    }
    line.end_sentence(usize::MAX);
    let mut places = vec![0; clauses.len()];
    for (place, n) in line.order.into_iter().chain(line.very_last).enumerate() {
        if let Some(slot) = places.get_mut(n) {
            *slot = place;
        }
    }
    places
}

/// The clauses read so far, in the order in which they happen.
#[derive(Default)]
struct Line {
    order: Vec<usize>,
    /// Where the next clause goes: the end, or behind what `before that` has put further to the front.
    cursor: usize,
    sentence: usize,
    /// Where the sentence, and the part of it since the last word of order, begin.
    sentence_start: usize,
    part_start: usize,
    /// What `before X` keeps for the end of the sentence, and `at the very end` for the end of all.
    put_last: Vec<usize>,
    very_last: Vec<usize>,
}

impl Line {
    fn put(&mut self, tokens: &[Token], clauses: &[Clause], n: usize, clause: &Clause) {
        let opens = self.order.len() == self.sentence_start && self.put_last.is_empty();
        let waits = self.order.len() == self.sentence_start && !self.put_last.is_empty();
        match clause.cue {
            // `Before X and Y, Z`, `Before X if C, Z`: all up to the comma is put last.
            Cue::None | Cue::Prior if waits && goes_on(tokens, clause) => self.put_last.push(n),
            Cue::Start | Cue::None => self.next(n),
            Cue::Then => {
                self.part_start = self.cursor;
                self.next(n);
            }
            // `Before X, Y` is `Y, X`; `Y before X` is as it stands.
            Cue::Later if opens => self.put_last.push(n),
            Cue::Later => self.next(n),
            Cue::Last => self.very_last.push(n),
            // A sentence that is nothing else (`Y. Not before X.`) is about the one before it.
            Cue::Prior if opens && n > 0 && is_alone(clauses, n) => {
                self.insert(self.previous_sentence(clauses), n);
            }
            // `After X, Y` is as it stands; `Y after X` is `X, Y`. A sentence that only points back (`This runs after
            // X`) is about the one before it.
            Cue::Prior if opens => self.next(n),
            Cue::Prior => {
                let main = self.cursor.checked_sub(1).and_then(|at| self.order.get(at));
                let points_back = main
                    .and_then(|main| clauses.get(*main))
                    .is_some_and(|main| main.sentence == self.sentence && points_back(tokens, main));
                let at = if points_back {
                    self.cursor.saturating_sub(2)
                } else {
                    self.cursor.saturating_sub(1).max(self.part_start)
                };
                self.insert(at, n);
            }
            Cue::First if n == 0 => self.next(n),
            Cue::First => {
                let at = if opens { self.previous_sentence(clauses) } else { self.sentence_start };
                self.insert(at, n);
                self.sentence_start = self.sentence_start.max(at + 1).min(self.order.len());
                self.part_start = self.part_start.max(self.sentence_start);
            }
            // What follows belongs to it, and another `before that` is before it.
            Cue::Before => {
                let at = if opens { self.previous_sentence(clauses) } else { self.part_start };
                self.cursor = at.min(self.order.len());
                self.part_start = self.cursor;
                self.next(n);
            }
        }
    }

    fn next(&mut self, n: usize) {
        self.insert(self.cursor, n);
    }

    fn insert(&mut self, at: usize, n: usize) {
        self.order.insert(at.min(self.order.len()), n);
        self.cursor += 1;
    }

    fn end_sentence(&mut self, next: usize) {
        self.order.append(&mut self.put_last);
        self.sentence = next;
        self.cursor = self.order.len();
        self.sentence_start = self.cursor;
        self.part_start = self.cursor;
    }

    /// Where the sentence before this one begins in the order.
    fn previous_sentence(&self, clauses: &[Clause]) -> usize {
        let before = |n: &&usize| clauses.get(**n).is_some_and(|clause| clause.sentence + 1 < self.sentence);
        self.order.iter().filter(before).count()
    }
}

/// Whether a clause is joined to the one before it by `and` or `or`, or is a condition of it.
fn goes_on(tokens: &[Token], clause: &Clause) -> bool {
    let opener = clause.first.checked_sub(1).and_then(|n| tokens.get(n));
    opener.is_some_and(|token| matches!(token.lower.as_str(), "and" | "or" | "if"))
}

/// Whether a clause is its whole sentence.
fn is_alone(clauses: &[Clause], n: usize) -> bool {
    let sentence = |n: usize| clauses.get(n).map(|clause| clause.sentence);
    sentence(n + 1) != sentence(n)
}

/// Whether a clause has no more than `this happens`, `it runs`.
fn points_back(tokens: &[Token], clause: &Clause) -> bool {
    let first = tokens.get(clause.first).map_or("", |token| token.lower.as_str());
    matches!(first, "this" | "it" | "that" | "all" | "these") && clause.last - clause.first <= 4
}
