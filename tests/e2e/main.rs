//! The whole system from outside: real programs, a real nats-server, the real engines from PyPI, the real model.
//!
//! | module | what it shows |
//! |---|---|
//! | [`workflows`] | the patterns and examples on the real engines: what came back, which branch ran |
//! | [`refusals`] | bad input is refused by field path before anything runs, by the command and by the server |
//! | [`cli`] | the contract of `select`, `recommend`, `plan` and `run` |
//! | [`schedules`] | a schedule of a sample, from the command that makes it to the rows that it loads |
//! | [`firing`] | a coordinator is killed around the firing of schedules; no slot fires twice, none is lost |
//! | [`secrets`] | a secret reaches the engine and is found nowhere else |
//! | [`trace`] | one connected trace per execution, from the client into the engine host |
//! | [`kill`] | workers, coordinator, server and command are killed; nothing is lost and nobody is left |
//! | [`checkpoints`] | a graph goes on where a killed worker left it; the saver passes LangGraph's conformance suite |
//! | [`artifacts`] | what a person sees of artifacts, and that they go with the last execution that needs them |
//! | [`approvals`] | people decide under a policy, with the command line; a deadline decides when nobody does |
//! | [`machines`] | what an engine keeps is known to its workers on other machines |
//! | [`fork`] | the history of a graph and a fork from one of its checkpoints are those of the plain library |
//! | [`pools`] | workers of one engine with different projects: each stage gets the project of its pool |
//! | [`unruly`] | code that hangs, floods, prints or leaks harms its own attempt only |
//! | [`stores`] | pipelines read from an object store and load into one, and its signatures are checked |
//! | [`pages`] | the engines' pages say what the code takes and gives; README and the page of workers run as they stand |
//! | [`defaults`] | and their defaults are those of the code |
//! | [`models`] | which model an agent asks, and that a key goes to its own address only |
//! | [`examples`] | the engines' pages run as they stand, and what their examples give |
//! | [`fifth`] | an engine that a file registers is known everywhere and runs |
//! | [`missing`] | an engine that is not there fails and is never a success |
//! | [`noop`] | the engine of benchmarks and tests does what its tasks say |
//! | [`clients`] | a Python client that knows nothing but reflection |
//!
//! Environments come from the state directory of the one who runs this (`MAHAVISHNU_HOME`, or the default), and
//! are built there on the first run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod api;
mod approvals;
mod artifacts;
mod checkpoints;
mod cli;
mod clients;
mod defaults;
mod examples;
mod fifth;
mod firing;
mod fork;
mod kill;
mod machines;
mod missing;
mod models;
mod noop;
mod page;
mod pages;
mod pools;
mod ran;
mod refusals;
mod schedules;
mod secrets;
mod site;
mod stores;
mod support;
mod trace;
mod unruly;
mod workflows;
