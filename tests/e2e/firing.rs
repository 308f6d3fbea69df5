//! SIGKILL of a coordinator around the firing of schedules: every slot is one execution, never two and never none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use mahavishnu_proto::v1;
use mahavishnu_test_support::nats::TestNats;
use mahavishnu_test_support::system::{Home, Running, programs};
use rustix::process::Signal;
use tonic::transport::{Channel, Endpoint};
use v1::execution_service_client::ExecutionServiceClient;
use v1::schedule_service_client::ScheduleServiceClient;
use v1::schedule_spec::{CatchUp, Overlap};

use crate::support::{START, mahavishnu, test};

/// Enough that the coordinator is in the middle of them when it dies.
const SCHEDULES: usize = 25;
const CRON: &str = "* * * * *";
/// A slot that nobody was there for is made up for in this time: a start, and a lease of whoever died.
const LATE: Duration = Duration::from_secs(90);

struct Parts {
    home: Home,
    nats: TestNats,
    channel: Channel,
    address: String,
    coordinator: Option<Running>,
}

impl Parts {
    async fn new() -> Self {
        let (home, nats) = (Home::temporary().unwrap(), TestNats::start().await.unwrap());
        let (coordinator, address) = coordinator(&home, &nats, "127.0.0.1:0").await;
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        Self { home, nats, channel, address, coordinator: Some(coordinator) }
    }

    /// Killed, and another one in its place.
    async fn replace(&mut self) {
        let killed = self.coordinator.take().unwrap();
        killed.signal(Signal::KILL).unwrap();
        killed.end(START).await.unwrap();
        let (next, _) = coordinator(&self.home, &self.nats, &self.address).await;
        self.coordinator = Some(next);
    }

    async fn create(&self, n: usize) {
        let task = serde_json::json!({"sleep_ms": 100});
        let stage = v1::Stage {
            id: "s".to_owned(),
            r#type: "noop".to_owned(),
            task: task.as_object().map(mahavishnu_proto::json::to_struct),
            ..v1::Stage::default()
        };
        let spec = v1::ScheduleSpec {
            cron: CRON.to_owned(),
            workflow: Some(v1::Workflow { stages: vec![stage], ..v1::Workflow::default() }),
            overlap: [Overlap::Queue, Overlap::Allow][n % 2].into(),
            catch_up: CatchUp::All.into(),
            ..v1::ScheduleSpec::default()
        };
        let (id, spec) = (name(n), Some(spec));
        let request = v1::CreateScheduleRequest { id, spec, ..v1::CreateScheduleRequest::default() };
        ScheduleServiceClient::new(self.channel.clone()).create_schedule(request).await.unwrap();
    }

    async fn schedule(&self, n: usize) -> v1::Schedule {
        let request = v1::GetScheduleRequest { id: name(n) };
        let answer = ScheduleServiceClient::new(self.channel.clone()).get_schedule(request).await.unwrap();
        answer.into_inner().schedule.unwrap()
    }

    /// Every execution that a schedule started, by schedule and time.
    async fn fired(&self) -> Result<BTreeMap<(String, i64), Vec<String>>, tonic::Status> {
        let mut fired: BTreeMap<_, Vec<String>> = BTreeMap::new();
        let request = v1::ListExecutionsRequest { page_size: 1_000, ..v1::ListExecutionsRequest::default() };
        let answer = ExecutionServiceClient::new(self.channel.clone()).list_executions(request).await?;
        for execution in answer.into_inner().executions {
            let time = execution.fire_time.unwrap().seconds;
            fired.entry((execution.schedule_id, time)).or_default().push(execution.id);
        }
        Ok(fired)
    }

    /// Waits until as many executions have fired for this slot.
    async fn until(&self, slot: i64, wanted: usize) {
        let enough = async {
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            let of_slot = |fired: BTreeMap<_, _>| fired.keys().filter(|(_, time)| *time == slot).count();
            // The coordinator may be the one that was killed.
            while self.fired().await.map_or(0, of_slot) < wanted {
                ticks.tick().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(61) + LATE, enough).await;
        assert!(waited.is_ok(), "{wanted} fire for {slot}: {:?}", self.fired().await);
    }
}

async fn coordinator(home: &Home, nats: &TestNats, listen: &str) -> (Running, String) {
    let mut command = programs().await.unwrap().command("mahavishnu-coordinator", home).unwrap();
    command.args(["--listen", listen, "--nats", nats.url(), "--engines"]);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/engines.yaml"));
    let mut coordinator = Running::start(command, &home.path().join("coordinator.log")).unwrap();
    let said = coordinator.ready(START).await.unwrap();
    (coordinator, said["address"].as_str().unwrap().to_owned())
}

fn name(n: usize) -> String {
    format!("firing-{n}")
}

fn now() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap()
}

#[test]
fn a_coordinator_that_dies_around_a_firing_neither_repeats_nor_loses_it() {
    test(async {
        let mut parts = Parts::new().await;
        let worker = mahavishnu(&parts.home, &["worker", "noop", "--nats", parts.nats.url()]).await;
        let mut worker = Running::start(worker, &parts.home.path().join("worker.log")).unwrap();
        worker.ready(START).await.unwrap();
        for n in 0..SCHEDULES {
            parts.create(n).await;
        }
        // In the middle of a firing: some have fired, some have not.
        let first = (now() / 60 + 1) * 60;
        parts.until(first, 1).await;
        parts.replace().await;
        parts.until(first, SCHEDULES).await;
        // Just before one, so that nobody is there at its time.
        let second = (now() / 60 + 1) * 60;
        let before = Duration::from_secs(second.unsigned_abs()) - Duration::from_millis(150);
        let wait = before.saturating_sub(SystemTime::UNIX_EPOCH.elapsed().unwrap());
        tokio::time::sleep(wait).await;
        parts.replace().await;
        parts.until(second, SCHEDULES).await;

        let fired = parts.fired().await.unwrap();
        for ((schedule, time), executions) in &fired {
            assert_eq!(executions.len(), 1, "{schedule} at {time}: {executions:?}");
        }
        for n in 0..SCHEDULES {
            let schedule = parts.schedule(n).await;
            let created = schedule.create_time.unwrap().seconds;
            let slots: BTreeSet<i64> = (created / 60 + 1..=second / 60).map(|minute| minute * 60).collect();
            let of = |((id, time), _): (&(String, i64), _)| (*id == name(n)).then_some(*time);
            let had: BTreeSet<i64> = fired.iter().filter_map(of).filter(|time| *time <= second).collect();
            assert_eq!((had, schedule.skipped), (slots, 0), "{}, past: {:?}", name(n), schedule.past);
        }
    });
}
