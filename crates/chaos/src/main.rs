//! `cargo xtask chaos` builds the programs and starts this one beside them.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use mahavishnu_test_support::system::Programs;

/// Kills, stops and cuts off the real programs under load, then checks that every invariant held
#[derive(clap::Parser)]
#[command(name = "cargo xtask chaos")]
struct Arguments {
    #[command(flatten)]
    options: mahavishnu_chaos::Options,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Arguments::parse().options;
    let own = std::env::current_exe().context("the path of this program")?;
    let programs = Programs::built(own.parent().context("its directory")?)?;
    let report = mahavishnu_chaos::run(&options, &programs).await?;
    println!("{report}");
    let failures = report.failures();
    failures.iter().for_each(|failure| println!("FAILED {failure}"));
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
