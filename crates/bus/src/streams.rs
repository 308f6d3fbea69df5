//! The streams and durable consumers, made by the coordinator when it starts.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{object_store, stream};
use backon::{ExponentialBuilder, Retryable as _};
use mahavishnu_core::id::{EngineName, Queue};

use crate::{Bus, Error, Result, subjects};

pub const HISTORY: &str = "MAHAVISHNU_HISTORY";
pub const SCHEDULES: &str = "MAHAVISHNU_SCHEDULES";
pub const SUMMARIES: &str = "MAHAVISHNU_SUMMARIES";
pub const CHECKPOINTS: &str = "MAHAVISHNU_CHECKPOINTS";
pub const ENGINE_STATE: &str = "MAHAVISHNU_ENGINE_STATE";
pub const ARTIFACTS: &str = "MAHAVISHNU_ARTIFACTS";
/// The stream of that object store.
pub const ARTIFACT_STREAM: &str = "OBJ_MAHAVISHNU_ARTIFACTS";
pub const COORDINATORS: &str = "coordinators";

/// Longest wait between two tries to make the streams.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Unacknowledged inputs that the coordinators may hold together: as many executions as move at once.
const MAX_INPUTS_IN_FLIGHT: i64 = 10_000;

pub fn task_consumer(queue: &Queue) -> String {
    format!("task-{queue}")
}

impl Bus {
    /// Makes or updates every stream, and the consumers of the coordinators and of these engines. Waits as long as it takes
    /// for a server that does not answer, or a cluster that has no leader yet.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn ensure(&self, engines: &[EngineName]) -> Result<()> {
        let ensure = || self.try_ensure(engines);
        let patience = ExponentialBuilder::default().without_max_times().with_max_delay(MAX_WAIT);
        let ensured = ensure.retry(patience.with_jitter()).when(passes).notify(|error, _| {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "JetStream does not answer yet; waiting. A server without it never will: start it with --jetstream"
            );
        });
        ensured.await
    }

    async fn try_ensure(&self, engines: &[EngineName]) -> Result<()> {
        let history = Config {
            name: HISTORY.to_owned(),
            description: Some("histories of executions".to_owned()),
            subjects: [subjects::INPUTS, subjects::DECISIONS, subjects::TIMERS].map(str::to_owned).to_vec(),
            retention: RetentionPolicy::Limits,
            // The server allows no other policy beside message schedules. Nothing is dropped all the same: the
            // stream has no limit to exceed, and a full disk refuses.
            discard: DiscardPolicy::Old,
            allow_message_schedules: true,
            allow_message_ttl: true,
            // The stream has no use for deduplication; the shortest window keeps its table small.
            duplicate_window: Duration::from_millis(100),
            ..self.stream_config()
        };
        let summaries = Config {
            name: SUMMARIES.to_owned(),
            description: Some("last summary of each execution and approval".to_owned()),
            subjects: vec![subjects::SUMMARIES.to_owned()],
            max_messages_per_subject: 1,
            allow_rollup: true,
            duplicate_window: Duration::from_millis(100),
            ..self.stream_config()
        };
        let checkpoints = Config {
            name: CHECKPOINTS.to_owned(),
            description: Some("checkpoints of stages".to_owned()),
            subjects: vec![subjects::CHECKPOINTS.to_owned()],
            max_bytes: i64::try_from(self.options.checkpoint_bytes).unwrap_or(i64::MAX),
            discard: DiscardPolicy::Old,
            duplicate_window: Duration::from_millis(100),
            ..self.stream_config()
        };
        let engine_state = Config {
            name: ENGINE_STATE.to_owned(),
            description: Some("what engines keep beyond their stages".to_owned()),
            subjects: vec![subjects::ENGINE_STATES.to_owned()],
            max_age: self.options.state_age,
            max_bytes: i64::try_from(self.options.state_bytes).unwrap_or(i64::MAX),
            discard: DiscardPolicy::Old,
            duplicate_window: Duration::from_millis(100),
            ..self.stream_config()
        };
        let schedules = Config {
            name: SCHEDULES.to_owned(),
            description: Some("schedules as they stand".to_owned()),
            subjects: vec![subjects::SCHEDULES.to_owned()],
            max_messages_per_subject: 1,
            discard: DiscardPolicy::Old,
            allow_message_schedules: true,
            allow_message_ttl: true,
            duplicate_window: Duration::from_millis(100),
            ..self.stream_config()
        };
        for config in [history, summaries, checkpoints, engine_state, schedules] {
            self.js.create_or_update_stream(config).await.map_err(Error::new)?;
        }
        if self.js.get_object_store(ARTIFACTS).await.is_err() {
            self.js
                .create_object_store(object_store::Config {
                    bucket: ARTIFACTS.to_owned(),
                    description: Some("payloads by content hash".to_owned()),
                    num_replicas: self.options.replicas,
                    ..object_store::Config::default()
                })
                .await
                .map_err(Error::new)?;
        }
        let coordinators = |stream, filter: &str| {
            self.ensure_consumer(stream, COORDINATORS.to_owned(), filter.to_owned(), MAX_INPUTS_IN_FLIGHT)
        };
        coordinators(HISTORY, subjects::INPUTS).await?;
        coordinators(SCHEDULES, subjects::SCHEDULE_WAKES).await?;
        for engine in engines {
            self.ensure_queue(&engine.into()).await?;
        }
        Ok(())
    }

    /// Makes a task queue, if it is not there. It begins with the first task that was ever meant for it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn ensure_queue(&self, queue: &Queue) -> Result<()> {
        // Unlimited: what is in flight is bounded by the workers' slots.
        self.ensure_consumer(HISTORY, task_consumer(queue), subjects::tasks_of(queue), -1).await
    }

    async fn ensure_consumer(
        &self,
        stream: &str,
        name: String,
        filter: String,
        in_flight: i64,
    ) -> Result<()> {
        let config = pull::Config {
            durable_name: Some(name),
            filter_subject: filter,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.options.lease,
            deliver_policy: DeliverPolicy::All,
            max_ack_pending: in_flight,
            max_deliver: -1,
            max_waiting: 10_000,
            ..pull::Config::default()
        };
        self.js.create_consumer_on_stream(config, stream).await.map_err(Error::new)?;
        Ok(())
    }

    fn stream_config(&self) -> Config {
        Config {
            storage: StorageType::File,
            num_replicas: self.options.replicas,
            allow_direct: true,
            ..Config::default()
        }
    }

    /// The history stream, without asking for its state.
    pub(crate) async fn history_stream(&self) -> Result<stream::Stream<()>> {
        self.js.get_stream_no_info(HISTORY).await.map_err(Error::new)
    }
}

/// Whether the same request may succeed later: no answer in time, nobody there, no leader (10008), or not enough nodes (10005).
fn passes(error: &Error) -> bool {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.any(|cause| {
        let cause = cause.to_string();
        ["timed out", "unavailable", "no responders", "does not exist", "error code 10005"]
            .iter()
            .any(|passing| cause.contains(passing))
    })
}
