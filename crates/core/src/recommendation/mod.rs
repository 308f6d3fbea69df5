//! Recommend: a description in free text goes in, the engines for it come out, in the order in which the task needs them.
//!
//! A description is cut into clauses; each is weighed by a linear model over its words and over the concepts that a
//! lexicon finds in them; words of order say in which order the clauses happen, words of denial which are not meant.
//! The README has method, scores and how to run the training and the evaluation.
//!
//! Invariants: a pure function, the same on every machine; no text makes it panic; the plan is never empty and
//! names each engine once; the primary engine is the plan's first; every engine named is registered.

mod added;
pub mod analysis;
pub mod clause;
mod hash;
pub mod lexicon;
mod mention;
pub mod model;
mod negation;
mod opener;
mod order;
pub mod plan;
pub mod spelling;
pub mod text;

use serde::Serialize;

use crate::engine::{Profile, Registry};
use crate::id::EngineName;
use crate::violation::{Reason, Violations};

use added::Added;
use analysis::Analysis;
use model::{ENGINES, Model, Scored};

/// Longest description, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 16 * 1024;

/// Below this confidence the description is not enough to go on.
const ENOUGH: f64 = 0.5;

/// Evidence that adds less than this is not worth showing.
const WORTH_SHOWING: f32 = 0.3;

/// Most words of evidence for one engine.
const MOST_EVIDENCE: usize = 5;

/// A stage of the recommended plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedStage {
    /// The engine.
    #[serde(rename = "type")]
    pub engine: EngineName,
    /// The part of the description that needs it.
    pub clause: String,
    /// Why, in a sentence.
    pub why: String,
}

/// An engine that is not the primary one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// The engine.
    pub engine: EngineName,
    /// How probable it is that the task needs it, 0 to 1.
    pub score: f64,
    /// What it is like.
    pub profile: Profile,
}

/// Words that speak for an engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// The words as they stand in the description.
    pub word: String,
    /// The engine.
    pub engine: EngineName,
    /// How much they add to its score.
    pub weight: f64,
    /// First byte in the description.
    pub start: usize,
    /// Past the last byte.
    pub end: usize,
}

/// The engines for a description, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// The engine that the task needs first.
    pub primary: EngineName,
    /// What it is like.
    pub profile: Profile,
    /// How probable it is that the primary engine is right, 0 to 1.
    pub confidence: f64,
    /// The engines in the order in which the task needs them.
    pub plan: Vec<PlannedStage>,
    /// The other engines, the likeliest first.
    pub alternatives: Vec<Alternative>,
    /// The words that decided, the strongest first.
    pub evidence: Vec<Evidence>,
    /// The description is enough to go on.
    pub enough: bool,
    /// What to add when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Recommends engines for a description.
pub fn recommend(registry: &Registry, description: &str) -> Result<Recommendation, Violations> {
    check(description)?;
    let analysis = Analysis::new(description);
    let mut scored = Model::builtin().score(&analysis);
    added::overlay(registry, &analysis, &mut scored);
    let added = added::find(registry, &analysis);
    let candidates = candidates(registry, &analysis, &scored, &added);
    let Some(first) = candidates.first() else {
        let mut violations = Violations::default();
        violations.push("", Reason::UnknownEngine, "no engine is registered");
        return Err(violations);
    };
    let doubt = (0..ENGINES.len()).map(|engine| scored.score(engine).abs()).fold(f32::MAX, f32::min);
    let confidence = round(Model::builtin().confidence(first.score, doubt));
    let enough = confidence >= ENOUGH;
    Ok(Recommendation {
        primary: first.profile.name.clone(),
        profile: first.profile.clone(),
        confidence,
        alternatives: alternatives(registry, &scored, &added, &first.profile.name),
        evidence: evidence(registry, description, &analysis, &scored, &added, &candidates),
        plan: candidates.iter().map(|candidate| stage(description, &analysis, candidate)).collect(),
        enough,
        advice: (!enough).then(|| ADVICE.to_owned()),
    })
}

const ADVICE: &str = "say what goes in and what comes out: documents to read or search, a decision or approval by a person, \
    a schedule or data to load, or one task for an agent; and which comes first";

fn check(description: &str) -> Result<(), Violations> {
    let mut violations = Violations::default();
    if description.len() > MAX_DESCRIPTION_BYTES {
        violations.push(
            "description",
            Reason::TooLarge,
            format!("has more than {MAX_DESCRIPTION_BYTES} bytes"),
        );
    } else if description.trim().is_empty() {
        violations.push("description", Reason::Required, "say what the task is");
    }
    violations.into_result(())
}

/// An engine of the plan.
struct Candidate<'a> {
    profile: &'a Profile,
    score: f32,
    clause: usize,
    place: (isize, usize),
}

fn candidates<'a>(
    registry: &'a Registry,
    analysis: &Analysis,
    scored: &Scored,
    added: &[Added<'a>],
) -> Vec<Candidate<'a>> {
    // A sure word of an added engine takes the clause from a built-in one that is not sure of it.
    let taken =
        |clause: usize, score: f32| score < added::SCORE && added.iter().any(|added| added.clause == clause);
    let wanted = plan::wanted(analysis, scored).into_iter().filter_map(|wanted| {
        let score = scored.score(wanted.engine);
        let keeps = !taken(wanted.clause, score) && (score > 0.0 || added.is_empty());
        let profile = ENGINES.get(wanted.engine).and_then(|name| registry.find(name)).filter(|_| keeps)?;
        Some(Candidate { profile, score, clause: wanted.clause, place: wanted.place })
    });
    let mut candidates: Vec<Candidate<'a>> = wanted.collect();
    candidates.extend(added.iter().map(|added| Candidate {
        profile: added.profile,
        score: added::SCORE,
        clause: added.clause,
        place: added.place,
    }));
    candidates.sort_by_key(|candidate| candidate.place);
    candidates
}

fn stage(description: &str, analysis: &Analysis, candidate: &Candidate<'_>) -> PlannedStage {
    let clause = analysis.clauses.get(candidate.clause);
    let start = clause.and_then(|clause| analysis.tokens.get(clause.first)).map_or(0, |token| token.start);
    let last =
        clause.and_then(|clause| clause.last.checked_sub(1)).and_then(|last| analysis.tokens.get(last));
    let end = last.map_or(start, |token| token.end);
    let clause = description.get(start..end).unwrap_or_default().to_owned();
    let best = candidate
        .profile
        .best_for
        .first()
        .map_or_else(String::new, |best| format!(": {}", best.to_lowercase()));
    PlannedStage {
        why: format!("{clause:?} suits {}{best}", candidate.profile.display_name),
        engine: candidate.profile.name.clone(),
        clause,
    }
}

fn alternatives(
    registry: &Registry,
    scored: &Scored,
    added: &[Added<'_>],
    primary: &EngineName,
) -> Vec<Alternative> {
    let score = |profile: &Profile| match ENGINES.iter().position(|name| *name == profile.name.as_str()) {
        Some(engine) => scored.score(engine),
        None if added.iter().any(|added| added.profile.name == profile.name) => added::SCORE,
        None => -added::SCORE,
    };
    let others = registry.profiles().filter(|profile| profile.name != *primary);
    let mut alternatives: Vec<Alternative> = others
        .map(|profile| Alternative {
            engine: profile.name.clone(),
            score: round(1.0 / (1.0 + f64::from(-score(profile)).exp())),
            profile: profile.clone(),
        })
        .collect();
    alternatives.sort_by(|a, b| b.score.total_cmp(&a.score));
    alternatives
}

fn evidence(
    registry: &Registry,
    description: &str,
    analysis: &Analysis,
    scored: &Scored,
    added: &[Added<'_>],
    candidates: &[Candidate<'_>],
) -> Vec<Evidence> {
    let mut evidence: Vec<Evidence> = Vec::new();
    for (engine, name) in ENGINES.iter().enumerate() {
        let Some(profile) = registry.find(name) else { continue };
        if !candidates.iter().any(|candidate| candidate.profile.name == profile.name) {
            continue;
        }
        let weights =
            scored.tokens.iter().map(|scores| scores.get(engine).copied().unwrap_or(0.0)).enumerate();
        let mut words: Vec<(usize, f32)> = weights.filter(|(_, weight)| *weight >= WORTH_SHOWING).collect();
        words.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (n, weight) in words.into_iter().take(MOST_EVIDENCE) {
            let last =
                analysis.hits.iter().filter(|hit| hit.first == n).map(|hit| hit.last).max().unwrap_or(n);
            push(&mut evidence, description, analysis, (n, last), &profile.name, weight);
        }
    }
    for added in added {
        push(&mut evidence, description, analysis, added.tokens, &added.profile.name, added::SCORE);
    }
    evidence.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    evidence
}

fn push(
    evidence: &mut Vec<Evidence>,
    description: &str,
    analysis: &Analysis,
    (first, last): (usize, usize),
    engine: &EngineName,
    weight: f32,
) {
    let (Some(first), Some(last)) = (analysis.tokens.get(first), analysis.tokens.get(last)) else { return };
    let word = description.get(first.start..last.end).unwrap_or_default().to_owned();
    evidence.push(Evidence {
        word,
        engine: engine.clone(),
        weight: round(weight.into()),
        start: first.start,
        end: last.end,
    });
}

/// To thousandths: more digits would only pretend.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
