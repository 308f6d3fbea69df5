//! The linear model: weights of features, shipped as data, made by `examples/train.rs`.
//!
//! An engine's score for a description is the sum of the weights of the whole description plus that of the clause
//! that speaks most for it. A score above zero means that the task needs the engine.

use std::hash::Hasher as _;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use super::analysis::{Analysis, Sink};
use super::hash::{Fnv, QuickMap};

/// The engines that the model knows, in the order of its weights.
pub const ENGINES: [&str; 4] = ["agno", "langgraph", "llamaindex", "prefect"];

/// A number for each engine.
pub type Scores = [f32; ENGINES.len()];

/// What a text says of the model: `kind a b`, tabs between, then a weight in thousandths for each engine.
const WEIGHTS: &str = include_str!("../../data/weights.tsv");

/// Weights by feature.
pub struct Model {
    weights: QuickMap<u64, Scores>,
    /// Weights of `score`, `doubt` and 1 in the confidence.
    calibration: [f64; 3],
}

/// What a model makes of a description.
#[derive(Default)]
pub struct Scored {
    /// Of the whole description.
    pub whole: Scores,
    /// Of each clause.
    pub clauses: Vec<Scores>,
    /// What each token adds in the clause that it stands in.
    pub tokens: Vec<Scores>,
}

impl Scored {
    /// The score of an engine in a clause, with what the whole description says.
    pub fn in_clause(&self, clause: usize, engine: usize) -> f32 {
        let own = self.clauses.get(clause).and_then(|scores| scores.get(engine)).copied().unwrap_or(0.0);
        own + self.whole.get(engine).copied().unwrap_or(0.0)
    }

    /// The score of an engine.
    pub fn score(&self, engine: usize) -> f32 {
        let best =
            (0..self.clauses.len()).map(|clause| self.in_clause(clause, engine)).fold(f32::MIN, f32::max);
        if self.clauses.is_empty() { -10.0 } else { best }
    }

    /// Sees to it that an engine has at least this score in a clause, because of a token.
    pub fn raise(&mut self, engine: usize, clause: usize, token: usize, score: f32) {
        let least = score - self.whole.get(engine).copied().unwrap_or(0.0);
        if let Some(own) = self.clauses.get_mut(clause).and_then(|scores| scores.get_mut(engine)) {
            *own = own.max(least);
        }
        if let Some(weight) = self.tokens.get_mut(token).and_then(|scores| scores.get_mut(engine)) {
            *weight = weight.max(score);
        }
    }

    /// Takes away what tokens of a clause say for an engine.
    pub fn silence(&mut self, engine: usize, clause: usize, tokens: RangeInclusive<usize>) {
        let mut lost = 0.0;
        for token in tokens {
            if let Some(weight) = self.tokens.get_mut(token).and_then(|scores| scores.get_mut(engine)) {
                lost += weight.max(0.0);
                *weight = weight.min(0.0);
            }
        }
        if let Some(own) = self.clauses.get_mut(clause).and_then(|scores| scores.get_mut(engine)) {
            *own -= lost;
        }
    }
}

/// The key of a feature (FNV-1a: short texts, no state, the same on every machine).
pub fn key(kind: &str, a: &str, b: &str) -> u64 {
    let mut hash = Fnv::default();
    for part in [kind, a, b] {
        hash.write(part.as_bytes());
        hash.write(&[0]);
    }
    hash.finish()
}

struct Sum<'a> {
    model: &'a Model,
    sum: Scores,
    tokens: Option<&'a mut Vec<Scores>>,
}

impl Sink for Sum<'_> {
    fn feature(&mut self, kind: &str, a: &str, b: &str, token: usize) {
        let Some(weights) = self.model.weights.get(&key(kind, a, b)) else { return };
        add(&mut self.sum, weights);
        if let Some(scores) = self.tokens.as_mut().and_then(|tokens| tokens.get_mut(token)) {
            add(scores, weights);
        }
    }
}

fn add(sum: &mut Scores, weights: &Scores) {
    sum.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
}

impl Model {
    /// The one that comes with the program.
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Model> = OnceLock::new();
        BUILTIN.get_or_init(|| Self::parse(WEIGHTS))
    }

    /// Reads weights. A line that is not one is left out; a test sees to it that there is none.
    pub fn parse(text: &str) -> Self {
        let mut model = Self { weights: QuickMap::default(), calibration: [1.0, 0.0, 0.0] };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut parts = line.split('\t');
            let (Some(kind), Some(a), Some(b)) = (parts.next(), parts.next(), parts.next()) else { continue };
            let numbers: Vec<f32> =
                parts.filter_map(|part| part.parse::<f32>().ok()).map(|n| n / 1000.0).collect();
            if kind == "calibration" {
                if let Ok([score, doubt, one]) = <[f32; 3]>::try_from(numbers) {
                    model.calibration = [score.into(), doubt.into(), one.into()];
                }
            } else if let Ok(scores) = Scores::try_from(numbers) {
                model.weights.insert(key(kind, a, b), scores);
            }
        }
        model
    }

    /// The weights of a feature.
    pub fn weight(&self, kind: &str, a: &str, b: &str) -> Option<&Scores> {
        self.weights.get(&key(kind, a, b))
    }

    /// Scores a description.
    pub fn score(&self, analysis: &Analysis) -> Scored {
        let mut scored =
            Scored { tokens: vec![Scores::default(); analysis.tokens.len()], ..Scored::default() };
        let mut whole = Sum { model: self, sum: Scores::default(), tokens: None };
        analysis.whole_features(&mut whole);
        scored.whole = whole.sum;
        let bias = self.weights.get(&key("bias", "", "")).copied().unwrap_or_default();
        add(&mut scored.whole, &bias);
        for clause in &analysis.clauses {
            let mut sum = Sum { model: self, sum: Scores::default(), tokens: Some(&mut scored.tokens) };
            analysis.clause_features(clause, &mut sum);
            scored.clauses.push(sum.sum);
        }
        scored
    }

    /// How probable it is that the primary engine is right, from its score and the score that is nearest to undecided.
    pub fn confidence(&self, score: f32, doubt: f32) -> f64 {
        let [a, b, c] = self.calibration;
        let x = a * f64::from(score.clamp(-6.0, 6.0)) + b * f64::from(doubt.min(6.0)) + c;
        1.0 / (1.0 + (-x).exp())
    }
}
