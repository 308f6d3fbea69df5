use std::collections::BTreeSet;

use mahavishnu_bus::summaries::Kind;

use super::*;

/// A page of `size` bodies, and where to go on.
async fn page(bus: &Bus, kind: Kind, before: Option<u64>, size: usize) -> (Vec<String>, Option<u64>) {
    let mut found = Vec::new();
    let next = bus.list_summaries(kind, before, |summary| {
        found.push(String::from_utf8(summary.body.to_vec()).unwrap());
        found.len() >= size
    });
    let next = next.await.unwrap();
    (found, next)
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
