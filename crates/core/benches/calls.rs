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
    let long = texts.join(" ");
    let long: String = long.chars().take(2_000).collect();
    measure("recommend, 2,000 characters", |_| drop(black_box(recommend(&registry, black_box(&long)))));
}
