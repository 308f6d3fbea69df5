//! The streams and durable consumers, made by the coordinator when it starts.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{ErrorCode, object_store, stream};
use backon::{ExponentialBuilder, Retryable as _};
use mahavishnu_core::id::{EngineName, Queue};

use crate::partition::{self, Partition};
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

/// Unacknowledged wakes of schedules that the coordinators may hold together.
const MAX_WAKES_IN_FLIGHT: i64 = 10_000;

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
        self.ensure_histories().await?;
        let summaries = Config {
            name: SUMMARIES.to_owned(),
            description: Some(
                "last summary of each execution and approval, and where coordinators start".to_owned(),
            ),
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
        for config in [summaries, checkpoints, engine_state, schedules] {
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
        let wakes = subjects::SCHEDULE_WAKES.to_owned();
        self.ensure_consumer(SCHEDULES, COORDINATORS.to_owned(), wakes, MAX_WAKES_IN_FLIGHT).await?;
        for engine in engines {
            self.ensure_queue(&engine.into()).await?;
        }
        Ok(())
    }

    /// Makes or updates the streams that share the histories.
    async fn ensure_histories(&self) -> Result<()> {
        let asked = self.options.partitions;
        let partitions = match self.js.get_stream(HISTORY).await {
            Ok(stream) => {
                let has = partition::told(&stream.cached_info().config.metadata);
                if let Some(asked) = asked.filter(|asked| *asked != has) {
                    return Err(Error::Partitions { asked, has });
                }
                has
            }
            Err(error) if is_missing(&error) => {
                let partitions = asked.unwrap_or(1);
                // Made, not updated: two coordinators may have been asked for different numbers. The first one is there
                // from the beginning and tells how many will be.
                let first = self.history_config(Partition::FIRST, partitions);
                self.js.create_stream(first).await.map_err(Error::new)?;
                partitions
            }
            Err(error) => return Err(Error::new(error)),
        };
        for partition in Partition::all(partitions) {
            let config = self.history_config(partition, partitions);
            self.js.create_or_update_stream(config).await.map_err(Error::new)?;
        }
        self.learn_partitions(partitions);
        Ok(())
    }

    fn history_config(&self, partition: Partition, partitions: u32) -> Config {
        Config {
            name: partition.stream(),
            description: Some("histories of executions".to_owned()),
            subjects: vec![partition.inputs(), partition.decisions(), partition.timers()],
            retention: RetentionPolicy::Limits,
            // The server allows no other policy beside message schedules. Nothing is dropped all the same: the
            // stream has no limit to exceed, and a full disk refuses.
            discard: DiscardPolicy::Old,
            allow_message_schedules: true,
            allow_message_ttl: true,
            // The stream has no use for deduplication; the shortest window keeps its table small.
            duplicate_window: Duration::from_millis(100),
            metadata: partition::metadata(partitions),
            ..self.stream_config()
        }
    }

    /// Makes a task queue, if it is not there. It begins with the first task that was ever meant for it.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn ensure_queue(&self, queue: &Queue) -> Result<()> {
        let partitions = self.partitions().await?;
        // The first one comes last: a worker that finds it finds the others.
        for partition in Partition::all(partitions).rev() {
            let (stream, filter) = (partition.stream(), partition.tasks_of(queue));
            // Unlimited: what is in flight is bounded by the workers' slots.
            self.ensure_consumer(&stream, task_consumer(queue), filter, -1).await?;
        }
        Ok(())
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
            metadata: self.partitions.get().map(|count| partition::metadata(*count)).unwrap_or_default(),
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

    /// One of the streams that share the histories, without asking for its state.
    pub(crate) async fn history_stream(&self, partition: Partition) -> Result<stream::Stream<()>> {
        self.js.get_stream_no_info(partition.stream()).await.map_err(Error::new)
    }
}

/// Whether there is no such stream, as the server says, which others that do not answer do not.
fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether the same request may succeed later: no answer in time, nobody there, no leader (10008), not enough nodes (10005), or a stream that
/// another coordinator has just made in its own way (10058).
fn passes(error: &Error) -> bool {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.any(|cause| {
        let cause = cause.to_string();
        [
            "timed out",
            "unavailable",
            "no responders",
            "does not exist",
            "error code 10005",
            "error code 10058",
        ]
        .iter()
        .any(|passing| cause.contains(passing))
    })
}
