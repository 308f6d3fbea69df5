//! Engines that a deployment adds: nobody trained for them, so their own words decide.

use super::analysis::Analysis;
use super::text::phrase;
use crate::engine::{Profile, Registry};

/// The score of an added engine one of whose phrases is meant: surer than a built-in one that is only likely.
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
            profile.words.iter().filter_map(|word| meant(profile, word, analysis)).min_by_key(|a| a.place)
        })
        .collect()
}

fn meant<'a>(profile: &'a Profile, word: &str, analysis: &Analysis) -> Option<Added<'a>> {
    let stems = phrase(word);
    let found = |(n, clause): (usize, &super::clause::Clause)| {
        let tokens = analysis.tokens.get(clause.first..clause.last)?;
        let denied = |at: usize| analysis.denied.get(at).copied().unwrap_or(false);
        let mut starts = tokens.windows(stems.len().max(1)).enumerate();
        let (offset, _) = starts.find(|(offset, window)| {
            !stems.is_empty()
                && !denied(clause.first + offset)
                && window.iter().zip(&stems).all(|(token, stem)| token.stem == *stem)
        })?;
        let first = clause.first + offset;
        let place = isize::try_from(analysis.places.get(n).copied().unwrap_or(0)).unwrap_or(isize::MAX);
        Some(Added { profile, clause: n, tokens: (first, first + stems.len() - 1), place: (place, first) })
    };
    analysis.clauses.iter().enumerate().filter_map(found).min_by_key(|added| added.place)
}
