//! From scores to an ordered plan.

use super::analysis::Analysis;
use super::clause::Cue;
use super::lexicon::Lexicon;
use super::model::{ENGINES, Scored};

/// An engine that the task needs, and the clause that it needs it for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its place in [`ENGINES`].
    pub engine: usize,
    /// The clause.
    pub clause: usize,
    /// Its place in time: that of the clause, then that within it.
    pub place: (isize, usize),
}

/// The engines that the task needs, in the order in which it needs them; never empty, the likeliest when none is sure.
pub fn wanted(analysis: &Analysis, scored: &Scored) -> Vec<Wanted> {
    let scores: Vec<f32> = (0..ENGINES.len()).map(|engine| scored.score(engine)).collect();
    let mut chosen: Vec<usize> =
        (0..ENGINES.len()).filter(|engine| scores.get(*engine).is_some_and(|s| *s > 0.0)).collect();
    if chosen.is_empty() {
        let best =
            scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(engine, _)| engine);
        chosen.push(best);
    }
    let mut wanted: Vec<Wanted> = chosen.iter().map(|engine| place(analysis, scored, *engine)).collect();
    // What is read is an input of what is written from it.
    let reading = wanted.iter().find(|wanted| wanted.engine == LLAMAINDEX).copied();
    if let Some(reading) = reading {
        for writing in wanted.iter_mut().filter(|w| w.engine == AGNO && w.clause == reading.clause) {
            writing.place.1 = writing.place.1.max(reading.place.1 + 1);
        }
    }
    wanted.sort_by_key(|wanted| wanted.place);
    wanted
}

const AGNO: usize = 0;
const LLAMAINDEX: usize = 2;
const PREFECT: usize = 3;

fn place(analysis: &Analysis, scored: &Scored, engine: usize) -> Wanted {
    let count = scored.clauses.len();
    let score = |clause: &usize| scored.in_clause(*clause, engine);
    let best = (0..count).max_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or(0);
    let least = (score(&best) * 0.5).max(0.0).min(score(&best));
    let at = |clause: &usize| analysis.places.get(*clause).copied().unwrap_or(0);
    let clause = (0..count).filter(|clause| score(clause) >= least).min_by_key(at).unwrap_or(best);
    let mut place = (
        isize::try_from(at(&clause)).unwrap_or(isize::MAX),
        strongest_token(analysis, scored, clause, engine),
    );
    if engine == PREFECT
        && let Some(governs) = schedule(analysis, scored, clause)
    {
        place = (isize::try_from(governs).unwrap_or(isize::MAX), 0);
    }
    Wanted { engine, clause, place }
}

fn strongest_token(analysis: &Analysis, scored: &Scored, clause: usize, engine: usize) -> usize {
    let Some(clause) = analysis.clauses.get(clause) else { return 0 };
    let weight =
        |n: &usize| scored.tokens.get(*n).and_then(|scores| scores.get(engine)).copied().unwrap_or(0.0);
    // The first of the strongest, one up: 0 is kept for a schedule.
    (clause.first..clause.last).rev().max_by(|a, b| weight(a).total_cmp(&weight(b))).unwrap_or(clause.first)
        + 1
}

/// The place from which a schedule that stands in a clause governs: the start of its part of the sentence; the start of
/// all when its sentence says nothing else and gives no order.
fn schedule(analysis: &Analysis, scored: &Scored, clause: usize) -> Option<usize> {
    let lexicon = Lexicon::builtin();
    let own = analysis.clauses.get(clause)?;
    let timed = analysis
        .hits_in(own)
        .any(|hit| matches!(lexicon.name(hit.concept), "pf.sched" | "pf.word") && analysis.counts(hit));
    if !timed {
        return None;
    }
    let of_sentence =
        |n: &usize| analysis.clauses.get(*n).is_some_and(|other| other.sentence == own.sentence);
    let all: Vec<usize> = (0..analysis.clauses.len()).filter(of_sentence).collect();
    let others =
        |n: &usize| (0..ENGINES.len()).any(|engine| engine != PREFECT && scored.in_clause(*n, engine) > 0.0);
    let ordered = all.iter().any(|n| {
        analysis.clauses.get(*n).is_some_and(|c| matches!(c.cue, Cue::Then | Cue::Prior | Cue::Later))
    });
    if !ordered && !all.iter().any(others) {
        return Some(0);
    }
    // Back to the last `then`; not over what must have happened before.
    let cue = |n: usize| analysis.clauses.get(n).map_or(Cue::None, |clause| clause.cue);
    let first = all.first().copied()?;
    if matches!(own.cue, Cue::Prior | Cue::Later) || (first != clause && cue(first) == Cue::Prior) {
        return analysis.places.get(clause).copied();
    }
    let part =
        all.iter().rev().copied().filter(|n| *n <= clause).find(|n| cue(*n) == Cue::Then).unwrap_or(first);
    let governed = (part..=clause).filter(|n| *n == clause || !matches!(cue(*n), Cue::Prior | Cue::First));
    governed.filter_map(|n| analysis.places.get(n).copied()).min()
}
