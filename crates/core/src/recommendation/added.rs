//! Engines and words that a deployment's file adds: nobody trained for them, so the words themselves decide.

use super::analysis::Analysis;
use super::clause::Clause;
use super::model::{ENGINES, Scored};
use super::text::phrase;
use crate::engine::{Profile, Registry};

/// The score of an engine one of whose added phrases is meant: surer than a built-in one that is only likely.
pub const SCORE: f32 = 2.5;

/// An added engine that a description asks for.
pub struct Added<'a> {
    /// The engine.
    pub profile: &'a Profile,
    /// The clause with its phrase.
    pub clause: usize,
    /// First and last token of the phrase.
    pub tokens: (usize, usize),
    /// Place in time, as in [`super::plan::Wanted`].
    pub place: (isize, usize),
}

/// The added engines whose phrases stand in the description and are meant, each with the earliest of them.
pub fn find<'a>(registry: &'a Registry, analysis: &Analysis) -> Vec<Added<'a>> {
    let added = registry.profiles().filter(|profile| !profile.builtin);
    added
        .filter_map(|profile| {
            let found = profile.words.iter().flat_map(|word| meant(word, analysis));
            found.map(|found| place(profile, analysis, found)).min_by_key(|added| added.place)
        })
        .collect()
}

/// Lets the phrases that a file gives a built-in engine speak for it, and those that it takes away no longer.
pub fn overlay(registry: &Registry, analysis: &Analysis, scored: &mut Scored) {
    for (engine, name) in ENGINES.iter().enumerate() {
        let Some(profile) = registry.find(name) else { continue };
        for found in profile.taken.iter().flat_map(|word| meant(word, analysis)) {
            scored.silence(engine, found.clause, found.first..=found.last);
        }
        for found in profile.given.iter().flat_map(|word| meant(word, analysis)) {
            scored.raise(engine, found.clause, found.first, SCORE);
        }
    }
}

/// Where a phrase stands.
#[derive(Clone, Copy)]
struct Found {
    clause: usize,
    first: usize,
    last: usize,
}

fn place<'a>(profile: &'a Profile, analysis: &Analysis, found: Found) -> Added<'a> {
    let at = analysis.places.get(found.clause).copied().unwrap_or(0);
    Added {
        profile,
        clause: found.clause,
        tokens: (found.first, found.last),
        place: (isize::try_from(at).unwrap_or(isize::MAX), found.first),
    }
}

/// Where a phrase stands and is not denied, the first time in each clause.
fn meant(word: &str, analysis: &Analysis) -> Vec<Found> {
    let stems = phrase(word);
    let denied = |at: usize| analysis.denied.get(at).copied().unwrap_or(false);
    let inside = |(n, clause): (usize, &Clause)| {
        let tokens = analysis.tokens.get(clause.first..clause.last)?;
        let mut starts = tokens.windows(stems.len().max(1)).enumerate();
        let (offset, _) = starts.find(|(offset, window)| {
            !stems.is_empty()
                && !denied(clause.first + offset)
                && window.iter().zip(&stems).all(|(token, stem)| token.stem == *stem)
        })?;
        let first = clause.first + offset;
        Some(Found { clause: n, first, last: first + stems.len() - 1 })
    };
    analysis.clauses.iter().enumerate().filter_map(inside).collect()
}
