//! A short chaos run, so that CI notices what breaks. Longer ones: `cargo xtask chaos --help`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use mahavishnu_chaos::{Options, run};
use mahavishnu_test_support::system::programs;
use tokio::sync::Mutex;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_breaks_under_faults() {
    holds(Options { every: Duration::from_millis(800), ..SHORT }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_breaks_in_a_cluster_with_partitions() {
    holds(Options { cluster: true, partitions: 3, every: Duration::from_millis(800), ..SHORT }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_disturbs_nothing() {
    let calm = Options { clients: 8, duration: Duration::from_secs(30), rolling: true, ..SHORT };
    holds(Options { every: Duration::from_millis(800), ..calm }).await;
}

const SHORT: Options = Options {
    seed: 1,
    duration: Duration::from_secs(45),
    minutes: None,
    cluster: false,
    partitions: 1,
    clients: 16,
    every: Duration::from_secs(1),
    noop_only: true,
    rolling: false,
    keep: None,
};

/// One run has the machine.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn holds(options: Options) {
    let _alone = ALONE.lock().await;
    let report = run(&options, programs().await.unwrap()).await.unwrap();
    println!("{report}");
    assert_eq!(report.failures(), Vec::<String>::new());
}
