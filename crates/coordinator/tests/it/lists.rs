//! Lists of executions.

use std::collections::BTreeSet;

use v1::execution::State;

use super::*;

type Listed = Result<(Vec<String>, String), Status>;

async fn list(coordinator: &Coordinator, page_size: i32, token: &str, filter: v1::ExecutionFilter) -> Listed {
    let request = v1::ListExecutionsRequest { page_size, page_token: token.into(), filter: Some(filter) };
    let answer = coordinator.executions().list_executions(request).await?.into_inner();
    Ok((answer.executions.into_iter().map(|execution| execution.id).collect(), answer.next_page_token))
}

/// The ids once there are `count`.
async fn listed(coordinator: &Coordinator, count: usize, filter: v1::ExecutionFilter) -> Vec<String> {
    let look = async || {
        let (ids, _) = list(coordinator, 0, "", filter.clone()).await.unwrap();
        (ids.len() == count).then_some(ids)
    };
    wait_for(&format!("{count} executions of {filter:?}"), look).await.unwrap()
}

fn labelled(stages: [v1::Stage; 1], label: &str) -> v1::Workflow {
    v1::Workflow { labels: [("team".to_owned(), label.to_owned())].into(), ..workflow(stages) }
}

#[tokio::test]
async fn filters_and_pages() {
    let (nats, coordinator) = start().await;
    let second = Coordinator::start(&nats).await;
    let none = v1::ExecutionFilter::default;
    assert_eq!(list(&coordinator, 0, "", none()).await.unwrap(), (vec![], String::new()));
    let worker = Worker::join(&nats).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let label = if n % 2 == 0 { "even" } else { "odd" };
        ids.push(coordinator.begin(labelled([stage("a", &[])], label)).await);
        listed(&coordinator, n + 1, none()).await;
    }
    let other = v1::Stage { r#type: "other".into(), ..stage("a", &[]) };
    let other = coordinator.begin(labelled([other], "even")).await;
    listed(&coordinator, 6, none()).await;
    for id in &ids[..2] {
        worker.complete("a", json!({})).await;
        assert_eq!(kinds(&second.watch(id, 0).await).last().unwrap(), "completed");
    }
    let states = |states: &[State]| v1::ExecutionFilter {
        states: states.iter().map(|state| (*state).into()).collect(),
        ..v1::ExecutionFilter::default()
    };
    // Lists lag a little: only then is the next change later than these for them, too.
    listed(&coordinator, 2, states(&[State::Completed])).await;
    coordinator.try_cancel(&ids[2]).await.unwrap();
    let set = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(set(&listed(&coordinator, 2, states(&[State::Completed])).await), set(&ids[..2]));
    assert_eq!(listed(&second, 1, states(&[State::Cancelled])).await, ids[2..3]);
    assert_eq!(listed(&second, 3, states(&[State::Running])).await.len(), 3);
    assert_eq!(listed(&coordinator, 3, states(&[State::Completed, State::Cancelled])).await.len(), 3);
    let engine = v1::ExecutionFilter { engine: "other".into(), ..none() };
    assert_eq!(listed(&coordinator, 1, engine).await, std::slice::from_ref(&other));
    let odd = v1::ExecutionFilter { labels: [("team".into(), "odd".into())].into(), ..none() };
    assert_eq!(set(&listed(&coordinator, 2, odd).await), set(&[ids[1].clone(), ids[3].clone()]));
    let created = coordinator.get(&ids[3]).await.create_time;
    let after = v1::ExecutionFilter { created_after: created, ..none() };
    assert_eq!(
        set(&listed(&coordinator, 3, after).await),
        set(&[ids[3].clone(), ids[4].clone(), other.clone()])
    );
    let before = v1::ExecutionFilter { created_before: created, ..none() };
    assert_eq!(set(&listed(&coordinator, 3, before).await), set(&ids[..3]));

    // The last changed first, in pages, each once, over both replicas.
    let all = listed(&coordinator, 6, none()).await;
    assert_eq!(all[0], ids[2]);
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let replica = if paged.len() % 4 == 0 { &coordinator } else { &second };
        let (page, next) = list(replica, 2, &token, none()).await.unwrap();
        assert!(page.len() <= 2);
        paged.extend(page);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);

    let (_, token) = list(&coordinator, 2, "", none()).await.unwrap();
    let foreign = list(&coordinator, 2, &token, states(&[State::Running])).await;
    refused(foreign, Code::InvalidArgument, "INVALID_VALUE");
    refused(list(&coordinator, 2, "forged", none()).await, Code::InvalidArgument, "INVALID_VALUE");
    refused(list(&coordinator, -1, "", none()).await, Code::InvalidArgument, "INVALID_VALUE");
    let unknown = v1::ExecutionFilter { states: vec![99], ..none() };
    let status = refused(list(&coordinator, 0, "", unknown).await, Code::InvalidArgument, "INVALID_VALUE");
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "filter.states[0]");
}
