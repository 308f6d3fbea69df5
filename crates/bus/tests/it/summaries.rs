use std::collections::BTreeSet;

use bytes::Bytes;
use futures::StreamExt as _;
use mahavishnu_bus::summaries::Kind;

use super::*;

/// A page of `size` bodies, and where to go on.
async fn page(bus: &Bus, kind: Kind, before: Option<u64>, size: usize) -> (Vec<String>, Option<u64>) {
    let read = |body: Bytes| Some(String::from_utf8(body.to_vec()).unwrap());
    bus.list_summaries(kind, before, size, read).await.unwrap()
}

async fn put(bus: &Bus, kind: Kind, id: &str, body: &str, state: u64) {
    bus.put_summary(kind, id, body.into(), state, false).await.unwrap();
}

#[tokio::test]
async fn nothing_yet_is_an_empty_list() {
    let (_nats, bus) = start().await;
    assert_eq!(page(&bus, Kind::Execution, None, 3).await, (vec![], None));
    put(&bus, Kind::Approval, "e1.a.1.0.0", "approval", 1).await;
    assert_eq!(page(&bus, Kind::Execution, None, 3).await, (vec![], None));
    assert_eq!(page(&bus, Kind::Approval, None, 3).await, (vec!["approval".into()], None));
}

#[tokio::test]
async fn pages_show_the_last_changed_first_and_each_once() {
    let (_nats, bus) = start().await;
    for n in 0..7 {
        put(&bus, Kind::Execution, &format!("e{n}"), &format!("e{n} new"), 1).await;
        put(&bus, Kind::Approval, &format!("e{n}.a.1.0.0"), "approval", 1).await;
    }
    let (first, next) = page(&bus, Kind::Execution, None, 3).await;
    assert_eq!(first, ["e6 new", "e5 new", "e4 new"]);
    // Meanwhile one that is still to come changes: it moves to the front, before the cursor.
    put(&bus, Kind::Execution, "e2", "e2 changed", 2).await;
    let rest = page(&bus, Kind::Execution, next, 3).await;
    assert_eq!(rest, (vec!["e3 new".into(), "e1 new".into(), "e0 new".into()], None));
    assert_eq!(page(&bus, Kind::Execution, None, 2).await.0, ["e2 changed", "e6 new"]);
}

#[tokio::test]
async fn a_list_reaches_far_back() {
    let (_nats, bus) = start().await;
    for n in 0..40 {
        put(&bus, Kind::Execution, &format!("e{n}"), &n.to_string(), 1).await;
    }
    // More changes of one than a read covers.
    for n in 0..600 {
        put(&bus, Kind::Approval, "e0.a.1.0.0", &n.to_string(), n).await;
    }
    let (mut all, mut next) = (Vec::new(), None);
    loop {
        let (found, then) = page(&bus, Kind::Execution, next, 7).await;
        all.extend(found);
        next = then;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(all, (0..40).rev().map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_slow_coordinator_does_not_undo_what_a_faster_one_wrote() {
    let (nats, bus) = start().await;
    put(&bus, Kind::Execution, "e1", "ended", 9).await;
    put(&bus, Kind::Execution, "e1", "running", 4).await;
    assert_eq!(page(&bus, Kind::Execution, None, 9).await.0, ["ended"]);

    let others = [connect(&nats).await, connect(&nats).await];
    let order = [3_u64, 7, 1, 8, 5, 2, 6, 4, 7, 8];
    let puts = order.iter().enumerate().map(|(n, state)| {
        let bus = &others[n % 2];
        async move { put(bus, Kind::Execution, "e2", &state.to_string(), *state).await }
    });
    futures::future::join_all(puts).await;
    let listed: BTreeSet<_> = page(&bus, Kind::Execution, None, 9).await.0.into_iter().collect();
    assert_eq!(listed, BTreeSet::from(["8".to_owned(), "ended".to_owned()]));
}

#[tokio::test]
async fn what_says_the_same_stays_where_it_is() {
    let (_nats, bus) = start().await;
    put(&bus, Kind::Execution, "e1", "one", 1).await;
    put(&bus, Kind::Execution, "e2", "two", 1).await;
    put(&bus, Kind::Execution, "e1", "one", 5).await;
    assert_eq!(page(&bus, Kind::Execution, None, 9).await.0, ["two", "one"]);
}

#[tokio::test]
async fn a_list_misses_nothing_that_changes_meanwhile() {
    const IDS: u64 = 50;
    let (nats, bus) = start().await;
    for n in 0..IDS {
        put(&bus, Kind::Execution, &format!("e{n}"), &format!("e{n} 0"), 0).await;
    }
    let changes = tokio::spawn({
        let bus = connect(&nats).await;
        async move {
            for state in 1.. {
                let ids = futures::stream::iter(0..IDS);
                let change = |n| {
                    let bus = &bus;
                    async move {
                        put(bus, Kind::Execution, &format!("e{n}"), &format!("e{n} {state}"), state).await
                    }
                };
                ids.for_each_concurrent(10, change).await;
            }
        }
    });
    for _ in 0..200 {
        let (listed, next) = page(&bus, Kind::Execution, None, 100).await;
        let ids: BTreeSet<_> =
            listed.iter().filter_map(|body| body.split_once(' ')).map(|(id, _)| id).collect();
        assert_eq!((ids.len(), listed.len(), next), (50, 50, None), "{listed:?}");
    }
    changes.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_longer_belongs_into_a_list_is_not_in_it() {
    let (nats, bus) = start().await;
    put(&bus, Kind::Execution, "e1", "running", 1).await;
    put(&bus, Kind::Execution, "e2", "running", 1).await;
    put(&bus, Kind::Execution, "e3", "ended", 1).await;
    // While the first is read, another changes.
    let other = connect(&nats).await;
    let mut changed = false;
    let read = |body: Bytes| {
        if !std::mem::replace(&mut changed, true) {
            let change = put(&other, Kind::Execution, "e2", "ended", 2);
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(change));
        }
        (body == "running").then_some(body)
    };
    let (listed, next) = bus.list_summaries(Kind::Execution, None, 9, read).await.unwrap();
    assert_eq!((listed, next), (vec![Bytes::from("running")], None));
}
