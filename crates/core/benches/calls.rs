//! How long Select and Recommend take in process: `cargo bench -p mahavishnu-core --bench calls`
//!
//! Plain timing, median and 99th percentile per call after a warm-up, without a harness.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mahavishnu_core::engine::Registry;
use mahavishnu_core::recommendation::recommend;
use mahavishnu_core::selection::{Request, select};

const CALLS: usize = 5_000;

/// Rounds over all descriptions when each is timed by itself.
const ROUNDS: usize = 60;

/// The time of each description, the quickest of many calls so that what else the machine does is left out; then the
/// median and the 99th percentile over the descriptions.
fn each(name: &str, texts: &[&str], call: impl Fn(&str)) {
    let mut best = vec![Duration::MAX; texts.len()];
    for _ in 0..ROUNDS {
        for (text, best) in texts.iter().zip(&mut best) {
            let start = Instant::now();
            call(text);
            *best = start.elapsed().min(*best);
        }
    }
    best.sort();
    println!(
        "{name:<44} median {:>10.1?}  p99 {:>10.1?}  slowest {:>10.1?}",
        best[best.len() / 2],
        best[best.len() * 99 / 100],
        best[best.len() - 1]
    );
}

fn measure(name: &str, mut call: impl FnMut(usize)) {
    (0..200).for_each(&mut call);
    let mut times: Vec<Duration> = (0..CALLS)
        .map(|n| {
            let start = Instant::now();
            call(n);
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("{name:<44} median {:>10.1?}  p99 {:>10.1?}", times[CALLS / 2], times[CALLS * 99 / 100]);
}

fn main() {
    let registry = Registry::builtin();
    let request =
        Request { task_type: "rag-approval_workflow".to_owned(), requires_state: true, ..Request::default() };
    measure("select", |_| drop(black_box(select(&registry, black_box(&request)))));
    let corpus = include_str!("../data/corpus/holdout.jsonl");
    let items: Vec<serde_json::Value> =
        corpus.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<&str> = items.iter().map(|item| item["text"].as_str().unwrap()).collect();
    measure("recommend, held-out descriptions", |n| {
        drop(black_box(recommend(&registry, black_box(texts[n % texts.len()]))));
    });
    each("recommend, each description's quickest", &texts, |text| {
        drop(black_box(recommend(&registry, black_box(text))));
    });
    let long = texts.join(" ");
    let long: String = long.chars().take(2_000).collect();
    measure("recommend, 2,000 characters", |_| drop(black_box(recommend(&registry, black_box(&long)))));
    let odd = [
        "a".repeat(2_000),
        "zq".repeat(1_000),
        "审批文件".repeat(170),
        "🙂 ".repeat(400),
        "العقود ".repeat(170),
    ];
    let odd: Vec<&str> = odd.iter().map(String::as_str).collect();
    each("recommend, 2,000 bytes of oddities", &odd, |text| {
        drop(black_box(recommend(&registry, black_box(text))));
    });
    each("recommend, 2,000 characters, quickest", &[&long], |text| {
        drop(black_box(recommend(&registry, black_box(text))));
    });
}
