//! In which order the clauses of a description happen.

use super::clause::{Clause, Cue};
use super::text::Token;

/// The places of the clauses in time: `result[n]` is the place of clause `n`.
pub fn places(tokens: &[Token], clauses: &[Clause]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(clauses.len());
    // Where the sentence, and the part of it since the last `then`, begin in `order`.
    let mut sentence_start = 0;
    let mut part_start = 0;
    let mut sentence = 0;
    let mut put_last: Vec<usize> = Vec::new();
    for (n, clause) in clauses.iter().enumerate() {
        if clause.sentence != sentence {
            order.append(&mut put_last);
            sentence = clause.sentence;
            sentence_start = order.len();
            part_start = order.len();
        }
        let opens = order.len() == sentence_start && put_last.is_empty();
        match clause.cue {
            Cue::Start | Cue::None => order.push(n),
            Cue::Then => {
                part_start = order.len();
                order.push(n);
            }
            // `Before X, Y` is `Y, X`; `Y before X` is as it stands.
            Cue::Later if opens => put_last.push(n),
            Cue::Later => order.push(n),
            // `After X, Y` is as it stands; `Y after X` is `X, Y`. A sentence that only points back (`This runs after
            // X`) is about the one before it.
            Cue::Prior if opens => order.push(n),
            Cue::Prior => {
                let main = order.last().and_then(|main| clauses.get(*main));
                let points_back =
                    main.is_some_and(|main| main.sentence == sentence && points_back(tokens, main));
                let at = match () {
                    () if points_back => order.len().saturating_sub(2),
                    () => order.len().saturating_sub(1).max(part_start),
                };
                order.insert(at.min(order.len()), n);
            }
            Cue::First if n == 0 => order.push(n),
            Cue::First => {
                let at = if opens { previous_sentence(&order, clauses, sentence) } else { sentence_start };
                order.insert(at.min(order.len()), n);
                sentence_start = sentence_start.max(at + 1).min(order.len());
                part_start = part_start.max(sentence_start);
            }
        }
    }
    order.append(&mut put_last);
    let mut places = vec![0; clauses.len()];
    for (place, n) in order.into_iter().enumerate() {
        if let Some(slot) = places.get_mut(n) {
            *slot = place;
        }
    }
    places
}

/// Where the sentence before this one begins in the order.
fn previous_sentence(order: &[usize], clauses: &[Clause], sentence: usize) -> usize {
    let before = |n: &&usize| clauses.get(**n).is_some_and(|clause| clause.sentence + 1 < sentence);
    order.iter().filter(before).count()
}

/// Whether a clause has no more than `this happens`, `it runs`.
fn points_back(tokens: &[Token], clause: &Clause) -> bool {
    let first = tokens.get(clause.first).map_or("", |token| token.lower.as_str());
    matches!(first, "this" | "it" | "that" | "all" | "these") && clause.last - clause.first <= 4
}
