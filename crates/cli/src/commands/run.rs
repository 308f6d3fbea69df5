//! `run`: a workflow from a file, in the running system or in one that is started for it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mahavishnu_core::workflow::Draft;
use mahavishnu_process::INTERRUPTED;
use mahavishnu_proto::v1::{
    CreateScheduleRequest, ExecuteRequest, ScheduleSpec, StartExecutionRequest, execution,
};
use mahavishnu_provision::Provision;

use super::schedules;
use super::watch::{End, Watch};
use crate::approver::{Approver, Mode, user};
use crate::args::Run;
use crate::client::{Client, running_dev};
use crate::context::Context;
use crate::demo::Demo;
use crate::events::{self, Follow};
use crate::failure::{self, Failure};
use crate::output::{self, json};
use crate::signals::Signals;
use crate::system::{System, Wanted, engines};
use crate::upload;
use crate::workflow::{self, Additions, Source};

/// Who interrupts does not want to wait for running attempts.
const DRAIN: Duration = Duration::from_millis(500);
/// A worker that ends this often without having worked will not work.
const TRIES: u32 = 3;

/// Runs it.
pub async fn run(context: &Context, args: Run, signals: &Signals) -> anyhow::Result<ExitCode> {
    let job = tokio::select! {
        job = Prepared::new(context, args) => job?,
        () = signals.stop.cancelled() => return Err(Failure::Interrupted.into()),
    };
    match job.client.clone() {
        Some(client) if job.args.schedule.is_some() => job.schedule(context, &client, signals).await,
        None if job.args.schedule.is_some() => {
            bail!("--schedule needs a system that stays; start one with: mahavishnu dev")
        }
        Some(client) if job.args.detach => job.detach(context, &client, signals).await,
        Some(client) => job.watch(context, &client, None, signals).await,
        None if job.args.detach => {
            bail!("--detach needs a system that stays; start one with: mahavishnu dev")
        }
        None => job.with_own_system(context, signals).await,
    }
}

/// A workflow that was read and found right, and where it is to run.
struct Prepared {
    args: Run,
    draft: Draft,
    directory: PathBuf,
    project: PathBuf,
    provision: Provision,
    /// A system that runs already.
    client: Option<Client>,
}

impl Prepared {
    async fn new(context: &Context, args: Run) -> anyhow::Result<Self> {
        let provision = context.provision(args.system.base_python())?;
        let demo = if args.demo { Some(Demo::write(&provision).await?) } else { None };
        let file = demo.as_ref().map(|demo| &demo.file).or(args.file.as_ref());
        let source = Source::read(file.context("no workflow")?)?;
        let additions = Additions { inputs: args.inputs.clone(), labels: args.labels.clone() };
        // The demo brings its own project, which a running `dev` does not have.
        let client =
            if args.demo && context.global.endpoint.is_none() { None } else { Client::find(context).await? };
        let draft = source.draft(&additions, &context.registry()?, client.is_some())?;
        let default = demo.as_ref().map_or(Path::new("."), |demo| &demo.project);
        let project = if client.is_some() { default.to_owned() } else { args.system.project(default)? };
        let prepared = Self { draft, directory: source.directory, project, provision, client, args };
        prepared.say_what_differs(context).await?;
        Ok(prepared)
    }

    /// A running system has its own project directory and secrets.
    async fn say_what_differs(&self, context: &Context) -> anyhow::Result<()> {
        if self.client.is_some() && self.args.system.secrets_dir.is_some() {
            context.say("the running system has its own workers with their own secrets; --secrets-dir has no effect on them");
        }
        let (Some(wanted), None, Some(_)) =
            (&self.args.system.project, &context.global.endpoint, &self.client)
        else {
            return Ok(());
        };
        if let Some(dev) = running_dev(context).await?
            && wanted.canonicalize().ok().as_ref() != Some(&dev.project)
        {
            context.say(&format!("the running `mahavishnu dev` uses the project {}", dev.project.display()));
        }
        Ok(())
    }

    async fn with_own_system(&self, context: &Context, signals: &Signals) -> anyhow::Result<ExitCode> {
        let queues = workflow::queues(&self.draft);
        let named: BTreeSet<_> = queues.iter().map(|queue| queue.engine.as_str()).collect();
        let mut added = engines::added(&context.registry()?);
        added.retain(|(engine, _)| named.contains(engine.as_str()));
        let wanted = Wanted {
            engines: named.iter().filter_map(|name| engines::find(name)).collect(),
            added,
            queues: queues.iter().cloned().collect(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            keep: false,
            project: self.project.clone(),
            secrets: self.args.system.secrets()?,
            drain: DRAIN,
            tries: Some(TRIES),
        };
        let started = |name: &str| {
            engines::find(name).is_some() || wanted.added.iter().any(|(added, _)| added.as_str() == name)
        };
        for name in named.iter().filter(|name| !started(name)) {
            context.say(&format!(
                "no worker is started for {name}, because its file says no \"worker\": start your own, or the execution waits for it"
            ));
        }
        let starting = System::start(context, &self.provision, &self.args.system, &wanted, signals);
        let mut system = tokio::select! {
            system = starting => system?,
            // Dropped while it starts, it is killed.
            () = signals.stop.cancelled() => return Err(Failure::Interrupted.into()),
        };
        let client = Client::new(&system.endpoint)?;
        let code = self.watch(context, &client, Some(&mut system), signals).await;
        system.stop().await;
        code
    }

    async fn watch(
        &self,
        context: &Context,
        client: &Client,
        system: Option<&mut System>,
        signals: &Signals,
    ) -> anyhow::Result<ExitCode> {
        let own = system.is_some();
        let workflow = self.upload(client, signals).await?;
        // With an id of our own a broken call can be repeated.
        let by = self.args.by.clone().unwrap_or_else(user);
        let (request_id, requested_by) = (self.request_id(), by.clone());
        let request = ExecuteRequest { workflow: Some(workflow), request_id, requested_by };
        let mode = Mode::choose(self.args.approve, self.args.reject);
        let mut watch = Watch {
            client,
            view: output::view(context, own),
            approver: Some(Approver::new(mode, by, client.clone())),
            system,
            id: String::new(),
            last: 0,
        };
        let items = events::follow(client.clone(), Follow::Execute(Box::new(request)));
        let end = watch.run(items, signals).await;
        exit(context, client, end, &watch.id, watch.last, !own)
    }

    async fn detach(
        &self,
        context: &Context,
        client: &Client,
        signals: &Signals,
    ) -> anyhow::Result<ExitCode> {
        let workflow = self.upload(client, signals).await?;
        let requested_by = self.args.by.clone().unwrap_or_else(user);
        let request =
            StartExecutionRequest { workflow: Some(workflow), request_id: self.request_id(), requested_by };
        let response =
            client.executions().start_execution(request).await.map_err(failure::at(&client.endpoint))?;
        let execution = response.into_inner().execution.context("the server did not say what it started")?;
        if context.global.json {
            output::line(json::message("Execution", &execution));
        } else {
            output::line(&execution.id);
            context.say(&format!("watch it with: mahavishnu executions watch {}", execution.id));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn schedule(
        &self,
        context: &Context,
        client: &Client,
        signals: &Signals,
    ) -> anyhow::Result<ExitCode> {
        let given = self.args.schedule.clone().unwrap_or_default();
        let id = if given.is_empty() { schedules::name_of(self.args.file.as_deref()) } else { given };
        let request = CreateScheduleRequest {
            id,
            spec: Some(ScheduleSpec {
                workflow: Some(self.upload(client, signals).await?),
                ..ScheduleSpec::default()
            }),
            paused: false,
            request_id: self.request_id(),
            requested_by: self.args.by.clone().unwrap_or_else(user),
        };
        schedules::create(context, client, request).await
    }

    /// The workflow with its documents sent.
    async fn upload(
        &self,
        client: &Client,
        signals: &Signals,
    ) -> anyhow::Result<mahavishnu_proto::v1::Workflow> {
        let documents = upload::documents(&self.draft, &self.directory, &self.args.docs)?;
        let sent = tokio::select! {
            sent = upload::send(client, documents) => sent?,
            () = signals.stop.cancelled() => return Err(Failure::Interrupted.into()),
        };
        let mut draft = self.draft.clone();
        draft.documents.extend(sent);
        Ok(workflow::message(draft))
    }

    fn request_id(&self) -> String {
        self.args.request_id.unwrap_or_else(uuid::Uuid::new_v4).to_string()
    }
}

/// The exit code, and how to go on where there is something to go on with.
pub fn exit(
    context: &Context,
    client: &Client,
    end: End,
    id: &str,
    last: i64,
    outlives: bool,
) -> anyhow::Result<ExitCode> {
    let go_on = || {
        if outlives && !id.is_empty() {
            let at = context.global.endpoint.as_ref().map(|_| format!(" --endpoint {}", client.endpoint));
            let at = at.unwrap_or_default();
            context.say(&format!(
                "the execution goes on\n  watch it:  mahavishnu executions watch {id} --after {last}{at}\n  \
                 cancel it: mahavishnu executions cancel {id}{at}"
            ));
        }
    };
    match end {
        End::Ended(execution::State::Completed) => Ok(ExitCode::SUCCESS),
        End::Ended(_) => Ok(ExitCode::FAILURE),
        End::Interrupted => {
            context.say("interrupted");
            go_on();
            Ok(ExitCode::from(INTERRUPTED))
        }
        End::Lost(status) => {
            if events::passing(&status) {
                go_on();
            }
            Err(status.into())
        }
        End::Broken => bail!("the system that was started for this workflow broke"),
    }
}
