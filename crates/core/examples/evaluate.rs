//! Measures Recommend: `cargo run -p mahavishnu-core --example evaluate [-- --wrong] [FILE.jsonl ...]`
//!
//! Without a file: the descriptions of each pen in `data/corpus/train`, asked of a model that has learned from the other
//! pens only; then the shipped weights on `data/corpus/holdout.jsonl` and `data/corpus/exam.jsonl`, which nothing is tuned
//! on. With files: the shipped weights on those. `--wrong` lists what went wrong, except for the held-out part and the
//! exam, which stay unread.

#![allow(clippy::indexing_slicing, clippy::cast_precision_loss, missing_docs)]

#[allow(dead_code)]
mod learn;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use learn::corpus::{data, read, training};
use learn::{Outcome, ask, cross_validate};
use mahavishnu_core::recommendation::model::{ENGINES, Model};

fn main() -> Result<()> {
    let (flags, files): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let wrong = flags.iter().any(|flag| flag == "--wrong");
    if files.is_empty() {
        let items = training()?;
        show("cross-validated by pen", &cross_validate(&items), wrong);
        for unread in ["holdout", "exam"] {
            let items = read(&data().join(format!("corpus/{unread}.jsonl")))?;
            show(unread, &items.iter().map(|item| ask(Model::builtin(), item)).collect::<Vec<_>>(), false);
        }
    }
    for file in files {
        let items = read(Path::new(&file))?;
        show(&file, &items.iter().map(|item| ask(Model::builtin(), item)).collect::<Vec<_>>(), wrong);
    }
    Ok(())
}

fn show(title: &str, outcomes: &[Outcome<'_>], wrong: bool) {
    // A description that is not enough to go on has no right engine; it is right when the answer says so.
    let enough = |outcome: &&Outcome<'_>| !outcome.item.plan.is_empty();
    let sure = |outcome: &Outcome<'_>| Model::builtin().confidence(outcome.score, outcome.doubt);
    println!("\n{title}: {} descriptions", outcomes.len());
    println!("{:<24}{:>6}{:>10}{:>10}{:>12}", "", "n", "primary", "plan", "confidence");
    let mut groups: BTreeMap<String, Vec<&Outcome<'_>>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(enough) {
        groups.entry(format!("kind {}", outcome.item.kind)).or_default().push(outcome);
        groups.entry(format!("domain {}", outcome.item.domain)).or_default().push(outcome);
        groups.entry(format!("pen {}", outcome.item.pen)).or_default().push(outcome);
        groups.entry(format!("stages {}", outcome.item.plan.len())).or_default().push(outcome);
        groups.entry("total".to_owned()).or_default().push(outcome);
    }
    for (name, group) in groups {
        let share = |count: usize| 100.0 * count as f64 / group.len() as f64;
        let primary = share(group.iter().filter(|outcome| outcome.primary()).count());
        let whole = share(group.iter().filter(|outcome| outcome.whole()).count());
        let mean = group.iter().map(|outcome| sure(outcome)).sum::<f64>() / group.len() as f64;
        println!("{name:<24}{:>6}{primary:>9.1}%{whole:>9.1}%{mean:>12.2}", group.len());
    }
    let poor: Vec<_> = outcomes.iter().filter(|outcome| outcome.item.plan.is_empty()).collect();
    let said = poor.iter().filter(|outcome| sure(outcome) < 0.5).count();
    let accused = outcomes.iter().filter(enough).filter(|outcome| sure(outcome) < 0.5).count();
    println!("not enough to go on: {said} of {} said so; {accused} of the others wrongly", poor.len());
    reliability(outcomes.iter().map(|outcome| (sure(outcome), outcome.primary())).collect());
    if wrong {
        for outcome in outcomes.iter().filter(|outcome| enough(outcome) && !outcome.whole()) {
            let plan: Vec<&str> = outcome.plan.iter().map(|engine| ENGINES[*engine]).collect();
            let mark = if outcome.primary() { "plan   " } else { "PRIMARY" };
            println!(
                "{mark} {} {} | want {} got {} | {}",
                outcome.item.pen,
                outcome.item.kind,
                outcome.item.plan.join(">"),
                plan.join(">"),
                outcome.item.text
            );
        }
        for outcome in poor.iter().filter(|outcome| sure(outcome) >= 0.5) {
            println!("SURE    {:.2} | {}", sure(outcome), outcome.item.text);
        }
        for outcome in outcomes.iter().filter(|outcome| enough(outcome) && sure(outcome) < 0.5) {
            println!("UNSURE  {:.2} | {}", sure(outcome), outcome.item.text);
        }
    }
}

/// How often the primary engine is right among answers of about the same confidence.
fn reliability(answers: Vec<(f64, bool)>) {
    let mut error = 0.0;
    for low in [0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95] {
        let high =
            [0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.01].into_iter().find(|high| *high > low).unwrap_or(1.01);
        let bin: Vec<_> = answers.iter().filter(|(sure, _)| *sure >= low && *sure < high).collect();
        if bin.is_empty() {
            continue;
        }
        let mean = bin.iter().map(|(sure, _)| sure).sum::<f64>() / bin.len() as f64;
        let right = bin.iter().filter(|(_, right)| *right).count() as f64 / bin.len() as f64;
        error += (mean - right).abs() * bin.len() as f64 / answers.len() as f64;
        println!(
            "  confidence {low:.2}-{:.2}: {:>4} answers, mean {mean:.2}, right {right:.2}",
            high.min(1.0),
            bin.len()
        );
    }
    println!("  expected calibration error {error:.3}");
}
