//! Learns the weights of the model from labelled descriptions, and measures them.
//!
//! Each engine is a logistic regression over the features of the whole description and of the clause that speaks most
//! for it (the label says which engines are needed, not where). Weights start from a prior that the lexicon gives and are pulled back to
//! it, so that a phrase which no description has still counts.

pub mod corpus;

use std::collections::HashMap;
use std::fmt::Write as _;

use corpus::Item;
use mahavishnu_core::recommendation::analysis::{Analysis, Sink};
use mahavishnu_core::recommendation::model::{ENGINES, Model};
use mahavishnu_core::recommendation::plan::wanted;

const EPOCHS: usize = 20;
const RATE: f32 = 0.25;
/// Pull to the prior, per description, by kind of feature: the more a feature says by itself, the less.
const PULL_CONCEPT: f32 = 0.000_6;
const PULL_WORD: f32 = 0.002;
/// Words and pairs in fewer descriptions than this are left out.
const LEAST: usize = 2;
/// Weights below this are not shipped.
const SMALLEST: f32 = 0.02;

type Row = [f32; ENGINES.len()];

struct Sample {
    clauses: Vec<Vec<usize>>,
    whole: Vec<usize>,
    labels: [bool; ENGINES.len()],
}

#[derive(Default)]
struct Names {
    places: HashMap<String, usize>,
    names: Vec<String>,
    seen: Vec<usize>,
}

impl Names {
    fn place(&mut self, name: String) -> usize {
        if let Some(place) = self.places.get(&name) {
            return *place;
        }
        self.names.push(name.clone());
        self.seen.push(0);
        self.places.insert(name, self.names.len() - 1);
        self.names.len() - 1
    }
}

struct Collect<'a> {
    names: &'a mut Names,
    found: Vec<usize>,
}

impl Sink for Collect<'_> {
    fn feature(&mut self, kind: &str, a: &str, b: &str, _token: usize) {
        let place = self.names.place(format!("{kind}\t{a}\t{b}"));
        self.found.push(place);
    }
}

fn sample(item: &Item, names: &mut Names) -> Sample {
    let analysis = Analysis::new(&item.text);
    let mut whole = Collect { names, found: Vec::new() };
    analysis.whole_features(&mut whole);
    let whole = whole.found;
    let mut clauses = Vec::new();
    for clause in &analysis.clauses {
        let mut sink = Collect { names, found: Vec::new() };
        analysis.clause_features(clause, &mut sink);
        clauses.push(sink.found);
    }
    let mut all: Vec<usize> = clauses.iter().flatten().chain(&whole).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().for_each(|place| names.seen[place] += 1);
    let mut labels = [false; ENGINES.len()];
    item.engines().into_iter().for_each(|engine| labels[engine] = true);
    Sample { clauses, whole, labels }
}

/// What a feature says before anything is learned: agno, langgraph, llamaindex, prefect.
fn prior(name: &str) -> Row {
    let parts: Vec<&str> = name.split('\t').collect();
    match (parts[0], parts[1], parts[2]) {
        ("bias", ..) => [-1.0, -2.2, -2.2, -2.2],
        ("c", concept, _) => match concept {
            "ag.given" => [1.0, 0.0, -1.0, 0.0],
            "lg.approve" => [0.0, 2.2, 0.0, 0.0],
            "pf.sched" => [0.0, 0.0, 0.0, 2.8],
            "li.rag" => [0.0, 0.0, 2.4, 0.0],
            "doc.strong" => [-0.2, 0.0, 1.0, 0.0],
            "doc.weak" => [0.0, 0.0, 0.3, 0.0],
            "read.strong" => [0.0, 0.0, 0.8, 0.0],
            "read.weak" | "ask" => [0.0, 0.0, 0.4, 0.0],
            "data" => [0.0, 0.0, 0.0, 0.4],
            "person" => [0.0, 0.4, 0.0, 0.0],
            "pf.word" => [0.0, 0.0, 0.0, 2.5],
            "lg.decide" => [0.0, 1.0, 0.0, 0.0],
            "cond" => [0.0, 0.3, 0.0, 0.0],
            "notify" | "chat" => [0.3, 0.0, 0.0, 0.0],
            "adj.time" => [0.0, 0.0, 0.0, 0.6],
            _ => match concept.split('.').next() {
                Some("ag") => [1.0, 0.0, 0.0, 0.0],
                Some("lg") => [0.0, 1.5, 0.0, 0.0],
                Some("pf") => [0.0, 0.0, 0.0, 1.5],
                _ => [0.0; 4],
            },
        },
        ("s", "asks person" | "person must", _) => [0.0, 2.0, 0.0, 0.0],
        ("s", "asks other", _) => [0.0, 1.0, 0.0, 0.0],
        ("s", "asks agent", _) => [1.5, 0.0, 0.0, 0.0],
        ("s", "source", _) => [0.0, 0.0, 1.2, 0.0],
        ("s", "question", _) => [0.0, 0.0, 0.5, 0.0],
        ("f", "person", _) => [0.0, 1.0, 0.0, 0.0],
        ("f", "name", _) => [0.0, 0.5, 0.0, 0.0],
        ("s", "agent", _) => [0.8, 0.0, 0.0, 0.0],
        ("m", "ag.write" | "ag.code" | "ag.call" | "notify", _) => [0.8, 0.0, 0.0, 0.0],
        ("sc", "question", "doc.strong") => [0.0, 0.0, 1.5, 0.0],
        ("cc", "doc.strong", "read.strong" | "read.weak") | ("cc", "ask", "doc.strong") => {
            [0.0, 0.0, 1.0, 0.0]
        }
        ("cc", "doc.weak", "read.strong") => [0.0, 0.0, 0.7, 0.0],
        ("cc", "data", "pf.etl") => [0.0, 0.0, 0.0, 0.8],
        ("cc", "lg.approve", "person") => [0.0, 0.8, 0.0, 0.0],
        _ => [0.0; 4],
    }
}

/// Which engines a feature may speak for or against. A concept speaks for its own engine and against the agent that is
/// the default; it must not speak against another engine, because a task may need both.
fn may_speak(name: &str) -> [bool; ENGINES.len()] {
    let parts: Vec<&str> = name.split('\t').collect();
    let agent = 0;
    let (a, b) = (own(parts[1]), own(parts[2]));
    std::array::from_fn(|engine| match parts[0] {
        // A text that is given on the spot needs no index.
        "g" | "c" if parts[1] == "ag.given" => engine == agent || engine == 2,
        "g" => Some(engine) == a,
        "c" => Some(engine) == a || engine == agent,
        "cc" => Some(engine) == a || Some(engine) == b || engine == agent,
        "n" | "!" | "^" => engine == agent,
        "f" | "m" => engine == agent || Some(engine) == a,
        "s" | "sc" => match parts[1] {
            "question" | "source" => engine == agent || engine == 2,
            "asks agent" | "agent" => engine == agent,
            _ => engine <= 1,
        },
        "cue" => engine <= 1,
        _ => true,
    })
}

/// The engine that a concept speaks for.
fn own(concept: &str) -> Option<usize> {
    match concept {
        "notify" | "chat" | "vague" | "denied" => Some(0),
        "person" | "cond" | "name" => Some(1),
        "doc.strong" | "doc.weak" | "read.strong" | "read.weak" | "ask" => Some(2),
        "data" | "adj.time" => Some(3),
        _ => match concept.split('.').next() {
            Some("ag") => Some(0),
            Some("lg") => Some(1),
            Some("li") => Some(2),
            Some("pf") => Some(3),
            _ => None,
        },
    }
}

/// How much a feature may speak against an engine.
fn floor(name: &str) -> f32 {
    match name.split('\t').next() {
        Some("w" | "b") => -0.4,
        Some("cc") => -0.5,
        Some("f" | "sc") => -1.0,
        _ => f32::MIN,
    }
}

/// The text of `data/weights.tsv` that these descriptions give.
pub fn weights_file(items: &[Item]) -> String {
    let weights = learn(&items.iter().collect::<Vec<&Item>>());
    let [score, doubt, one] = calibrate(&cross_validate(items)).map(|weight| weight * 1000.0);
    let head = "# Made by examples/train.rs: a feature, then its weight in thousandths for agno, langgraph, llamaindex, prefect.";
    format!("{head}\ncalibration\t\t\t{score:.0}\t{doubt:.0}\t{one:.0}\n{weights}")
}

/// Learns weights; the answer is the text of a weights file, without its calibration.
pub fn learn(items: &[&Item]) -> String {
    let mut names = Names::default();
    let bias = names.place("bias\t\t".to_owned());
    let samples: Vec<Sample> = items.iter().map(|item| sample(item, &mut names)).collect();
    // A feature that no description has still gets its prior.
    for concept in mahavishnu_core::recommendation::lexicon::Lexicon::builtin().names() {
        names.place(format!("c\t{concept}\t"));
    }
    let priors: Vec<Row> = names.names.iter().map(|name| prior(name)).collect();
    let learned: Vec<bool> = names
        .names
        .iter()
        .zip(&names.seen)
        .map(|(name, seen)| *seen >= LEAST || name.starts_with("c\t"))
        .collect();
    let pulls: Vec<f32> =
        names
            .names
            .iter()
            .map(|name| {
                if name.starts_with(['w', 'b']) && !name.starts_with("bias") {
                    PULL_WORD
                } else {
                    PULL_CONCEPT
                }
            })
            .collect();
    let speaks: Vec<[bool; ENGINES.len()]> = names.names.iter().map(|name| may_speak(name)).collect();
    let floors: Vec<f32> = names.names.iter().map(|name| floor(name)).collect();
    let mut weights = priors.clone();
    let mut squares = vec![[0.5_f32; ENGINES.len()]; weights.len()];
    let mut order: Vec<usize> = (0..samples.len()).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..EPOCHS {
        shuffle(&mut order, &mut random);
        for n in &order {
            let sample = &samples[*n];
            for engine in 0..ENGINES.len() {
                let sum = |features: &[usize]| features.iter().map(|f| weights[*f][engine]).sum::<f32>();
                let whole = weights[bias][engine] + sum(&sample.whole);
                let Some((clause, own)) =
                    sample.clauses.iter().map(|c| (c, sum(c))).max_by(|a, b| a.1.total_cmp(&b.1))
                else {
                    continue;
                };
                let wanted = f32::from(u8::from(sample.labels[engine]));
                let error = 1.0 / (1.0 + (-(whole + own)).exp()) - wanted;
                for feature in sample.whole.iter().chain(clause).copied().chain([bias]) {
                    if (!learned[feature] && feature != bias) || !speaks[feature][engine] {
                        continue;
                    }
                    let gradient =
                        error + pulls[feature] * (weights[feature][engine] - priors[feature][engine]) * 10.0;
                    squares[feature][engine] += gradient * gradient;
                    let weight = weights[feature][engine] - RATE * gradient / squares[feature][engine].sqrt();
                    // A word that others use for other things must not silence an engine.
                    weights[feature][engine] = weight.max(floors[feature]);
                }
            }
        }
    }
    let mut lines: Vec<(&String, &Row)> = names.names.iter().zip(&weights).collect();
    lines.sort_by_key(|(name, _)| *name);
    let mut text = String::new();
    for (name, row) in lines {
        if row.iter().any(|weight| weight.abs() >= SMALLEST) {
            let numbers: Vec<String> = row.iter().map(|weight| format!("{:.0}", weight * 1000.0)).collect();
            let _ = writeln!(text, "{name}\t{}", numbers.join("\t"));
        }
    }
    text
}

fn shuffle(order: &mut [usize], random: &mut u64) {
    for n in (1..order.len()).rev() {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(n, (*random >> 33) as usize % (n + 1));
    }
}

/// What a model says of a description that it was not trained on.
pub struct Outcome<'a> {
    pub item: &'a Item,
    pub plan: Vec<usize>,
    pub score: f32,
    pub doubt: f32,
}

impl Outcome<'_> {
    /// Whether the primary engine is right.
    pub fn primary(&self) -> bool {
        self.item.engines().first() == self.plan.first()
    }

    /// Whether the whole plan is right, in order.
    pub fn whole(&self) -> bool {
        self.item.engines() == self.plan
    }
}

/// Asks a model.
pub fn ask<'a>(model: &Model, item: &'a Item) -> Outcome<'a> {
    let analysis = Analysis::new(&item.text);
    let scored = model.score(&analysis);
    let wanted = wanted(&analysis, &scored);
    let scores: Vec<f32> = (0..ENGINES.len()).map(|engine| scored.score(engine)).collect();
    Outcome {
        item,
        score: wanted.first().map_or(0.0, |first| scores[first.engine]),
        doubt: scores.iter().map(|score| score.abs()).fold(f32::MAX, f32::min),
        plan: wanted.into_iter().map(|wanted| wanted.engine).collect(),
    }
}

/// Every description asked of a model that was trained on other pens only: what to expect of a pen that nobody has seen.
pub fn cross_validate(items: &[Item]) -> Vec<Outcome<'_>> {
    let mut pens: Vec<&str> = items.iter().map(|item| item.pen.as_str()).collect();
    pens.sort_unstable();
    pens.dedup();
    let mut outcomes = Vec::new();
    for pen in pens {
        let (own, others): (Vec<&Item>, Vec<&Item>) = items.iter().partition(|item| item.pen == pen);
        let model = Model::parse(&learn(&others));
        outcomes.extend(own.into_iter().map(|item| ask(&model, item)));
    }
    outcomes
}

/// Weights of score, doubt and 1 such that the confidence is the share of primaries that are right.
pub fn calibrate(outcomes: &[Outcome<'_>]) -> [f64; 3] {
    let mut weights = [0.5, 0.1, 0.0];
    for _ in 0..3_000 {
        let mut gradient = [0.0; 3];
        for outcome in outcomes {
            let x = [f64::from(outcome.score.clamp(-6.0, 6.0)), f64::from(outcome.doubt.min(6.0)), 1.0];
            let sum: f64 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
            let error = 1.0 / (1.0 + (-sum).exp()) - f64::from(u8::from(outcome.primary()));
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g += error * x / outcomes.len() as f64);
        }
        weights.iter_mut().zip(gradient).for_each(|(w, g)| *w -= 1.5 * g);
    }
    weights
}
