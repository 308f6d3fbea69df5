//! Shows how Recommend reads a description, clause by clause, with every weight:
//! `cargo run -p mahavishnu-core --example explain -- "Need to analyze documents and get approval"`

#![allow(missing_docs)]

use mahavishnu_core::recommendation::analysis::{Analysis, Sink};
use mahavishnu_core::recommendation::model::{ENGINES, Model};
use mahavishnu_core::recommendation::plan::wanted;

struct Print<'a>(&'a Model);

impl Sink for Print<'_> {
    fn feature(&mut self, kind: &str, a: &str, b: &str, _token: usize) {
        if let Some(weights) = self.0.weight(kind, a, b) {
            println!("    {:<34}{:>8.2?}", format!("{kind} {a} {b}"), weights);
        }
    }
}

fn main() {
    let model = Model::builtin();
    for text in std::env::args().skip(1) {
        let analysis = Analysis::new(&text);
        let scored = model.score(&analysis);
        println!("{text}\n  whole {ENGINES:?} {:.2?}", scored.whole);
        analysis.whole_features(&mut Print(model));
        for (n, clause) in analysis.clauses.iter().enumerate() {
            let words = analysis.tokens.iter().zip(&analysis.denied).take(clause.last).skip(clause.first);
            let words: Vec<String> = words
                .map(
                    |(token, denied)| if *denied { format!("!{}", token.lower) } else { token.lower.clone() },
                )
                .collect();
            let place = analysis.places.get(n).copied().unwrap_or_default();
            println!(
                "  {:?} {place} {} {:.2?}",
                clause.cue,
                words.join(" "),
                scored.clauses.get(n).unwrap_or(&[0.0; 4])
            );
            analysis.clause_features(clause, &mut Print(model));
        }
        let plan: Vec<&str> =
            wanted(&analysis, &scored).iter().filter_map(|w| ENGINES.get(w.engine)).copied().collect();
        println!("  {}", plan.join(" > "));
    }
}
