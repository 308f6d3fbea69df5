//! Histories in several streams.

use futures::future::join_all;
use mahavishnu_bus::partition::Partition;
use mahavishnu_core::id::ExecutionId;

use super::*;

#[tokio::test]
async fn executions_of_all_partitions_end_although_a_coordinator_dies() {
    let nats = TestNats::start().await.unwrap();
    let first = Coordinator::with(&nats, nats.url(), |options| options.partitions = Some(3)).await;
    // It learns the number from the store, as the workers do.
    let second = Coordinator::start(&nats).await;
    let _workers = [Worker::join(&nats).await.serve(), Worker::join(&nats).await.serve()];
    let diamond = || workflow([stage("a", &[]), stage("b", &[]), stage("join", &["a", "b"])]);
    let begun = (0..12).map(|n| if n % 2 == 0 { first.begin(diamond()) } else { second.begin(diamond()) });
    let ids = join_all(begun).await;
    let used: std::collections::BTreeSet<_> =
        ids.iter().map(|id| Partition::of(&ExecutionId::parse(id).unwrap(), 3)).collect();
    assert!(used.len() > 1, "{used:?}");
    drop(first);
    for id in &ids {
        let events = second.watch(id, 0).await;
        numbered(&events);
        let lines = kinds(&events);
        for once in ["scheduled a.1", "scheduled b.1", "scheduled join.1", "completed"] {
            assert_eq!(lines.iter().filter(|line| *line == once).count(), 1, "{lines:?}");
        }
        assert_eq!(second.get(id).await.state(), v1::execution::State::Completed);
    }
    let info = second.orchestrator().get_info(v1::GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.partitions, 3);
}
