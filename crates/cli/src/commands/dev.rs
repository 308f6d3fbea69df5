//! `dev`: the whole system on this machine, until it is asked to stop.

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mahavishnu_provision::Provision;

use crate::args::{Dev, Durability};
use crate::client::running_dev;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, Paint};
use crate::signals::Signals;
use crate::system::{DevFile, System, Wanted, engines};

/// Running attempts may end by themselves for this long.
const DRAIN: Duration = Duration::from_secs(10);

/// Runs it.
pub async fn run(context: &Context, args: Dev, signals: &Signals) -> anyhow::Result<ExitCode> {
    if let Some(dev) = running_dev(context).await? {
        bail!("it runs already: process {} serves {} from this state directory", dev.pid, dev.endpoint);
    }
    free(&args)?;
    let wanted = Wanted {
        engines: if args.engines.is_empty() { engines::ALL.to_vec() } else { args.engines.clone() },
        added: if args.engines.is_empty() { engines::added(&context.registry()?) } else { Vec::new() },
        queues: Vec::new(),
        listen: args.listen,
        keep: true,
        project: args.system.project(Path::new("."))?,
        secrets: args.system.secrets()?,
        drain: DRAIN,
        tries: None,
    };
    let provision = context.provision(args.system.base_python())?;
    let mut system = tokio::select! {
        system = System::start(context, &provision, &args.system, &wanted, signals) => system?,
        () = signals.stop.cancelled() => return Err(Failure::Interrupted.into()),
    };
    let file = DevFile {
        endpoint: system.endpoint.clone(),
        pid: std::process::id(),
        nats: system.addresses.nats.clone(),
        monitor: system.addresses.monitor.clone(),
        project: wanted.project.clone(),
    };
    let written = file.write(provision.state())?;
    if context.global.json {
        output::line(serde_json::to_value(&file).context("the addresses")?);
    } else if !context.global.quiet {
        output::lines(greeting(&provision, &args, &wanted, &system, &file));
    }
    let broken = keep(context, &mut system, signals).await;
    if signals.stop.is_cancelled() {
        context.say("stopping; once more to stop at once");
    }
    drop(written);
    system.stop().await;
    context.say("stopped");
    if broken { Ok(ExitCode::FAILURE) } else { Ok(ExitCode::SUCCESS) }
}

/// Watches the parts until a signal comes, or a part is gone without which there is no system.
async fn keep(context: &Context, system: &mut System, signals: &Signals) -> bool {
    let mut cold = true;
    let warm = system.warm();
    tokio::pin!(warm);
    loop {
        tokio::select! {
            () = signals.stop.cancelled() => return false,
            workers = &mut warm, if cold => {
                cold = false;
                let names: Vec<_> = workers.iter().map(|(name, _)| name.as_str()).collect();
                context.say(&format!("workers ready: {}", names.join(", ")));
                for (name, address) in &workers {
                    if let Some(address) = address {
                        context.say(&format!("  {name}: UI {}, API {address}", address.trim_end_matches("/api")));
                    }
                }
            }
            notice = system.notice() => {
                notice.to_lines().iter().for_each(|line| eprintln!("{line}"));
                if notice.again.is_none() && !notice.part.starts_with("model") {
                    return true;
                }
            }
        }
    }
}

/// Says in time that the address is taken.
fn free(args: &Dev) -> anyhow::Result<()> {
    match TcpListener::bind(args.listen) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "{} is taken by another program; choose another address with --listen (port 0 takes a free one)",
            args.listen
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {}", args.listen)),
    }
}

fn greeting(
    provision: &Provision,
    args: &Dev,
    wanted: &Wanted,
    system: &System,
    file: &DevFile,
) -> Vec<String> {
    let paint = Paint::stdout();
    let state = provision.state();
    let durability = match args.system.durability {
        Durability::Process => "process: an acknowledged event survives the death of any process",
        Durability::Power => "power: an acknowledged event survives a power cut",
    };
    let model = system.model_name.as_deref().unwrap_or("none");
    let added = wanted.added.iter().map(|(engine, _)| engine.as_str());
    let names: Vec<_> = wanted.engines.iter().map(|engine| engine.name).chain(added).collect();
    let mut rows = vec![
        ("gRPC, gRPC-Web", file.endpoint.clone()),
        ("NATS", file.nats.clone()),
        ("NATS monitoring", file.monitor.clone()),
        ("workers", format!("{} ({} slots each)", names.join(", "), args.system.slots)),
        ("model", model.to_owned()),
    ];
    rows.extend([
        ("project", file.project.display().to_string()),
        ("state", state.root().display().to_string()),
        ("logs", state.log("coordinator").parent().unwrap_or(state.root()).display().to_string()),
        ("durability", durability.to_owned()),
    ]);
    let mut lines = vec![paint.strong("Mahavishnu is up. Ctrl-C stops it."), String::new()];
    lines.extend(
        rows.into_iter().map(|(what, value)| format!("  {} {value}", paint.faint(format!("{what:<16}")))),
    );
    lines.extend([
        String::new(),
        "In another terminal:".to_owned(),
        "  mahavishnu run FILE            run a workflow here".to_owned(),
        "  mahavishnu executions list     what ran and runs".to_owned(),
        "  mahavishnu approvals list      what waits for a decision".to_owned(),
        "  mahavishnu engines list        engines and their workers".to_owned(),
        String::new(),
    ]);
    lines
}
