use futures::StreamExt as _;
use futures::future::join_all;
use mahavishnu_bus::Error;
use mahavishnu_bus::log::{Stored, Tail, TailItem};
use mahavishnu_core::execution::Record;
use mahavishnu_core::inputs::Cursor;
use mahavishnu_proto::worker::{CoordinatorHeartbeat, SettledInputs};
use mahavishnu_test_support::wait::in_time;

use super::*;

/// The records up to the one at `position`, and the positions of what is unreadable between them.
async fn read_to(tail: &mut Tail, position: u64) -> (Vec<Stored>, Vec<u64>) {
    let (mut records, mut unreadable) = (Vec::new(), Vec::new());
    loop {
        let at = match in_time("the tail", tail.items.next()).await.unwrap().expect("the tail has ended").1 {
            TailItem::Record(stored) => {
                let at = stored.record.position;
                records.push(stored);
                at
            }
            TailItem::Unreadable { position, execution: id, .. } => {
                assert_eq!(id, Some(execution("e1")));
                unreadable.push(position);
                position
            }
            TailItem::Disturbed(_) => continue,
        };
        if at >= position {
            return (records, unreadable);
        }
    }
}

fn records(stored: &[Stored]) -> Vec<Record> {
    stored.iter().map(|stored| stored.record.clone()).collect()
}

#[tokio::test]
async fn an_execution_is_accepted_once_by_whoever_is_first() {
    let (nats, bus) = start().await;
    let others = [connect(&nats).await, connect(&nats).await];
    let (id, fact, trace) = (execution("e1"), accepted(), trace());
    let tries = (0..12).map(|n| others[n % 2].accept(&id, &fact, &trace));
    let stored: Vec<_> = join_all(tries).await;
    assert_eq!(stored.iter().filter(|result| result.is_ok()).count(), 1, "{stored:?}");
    assert!(stored.iter().all(|result| matches!(result, Ok(_) | Err(Error::Conflict))), "{stored:?}");
    assert!(matches!(bus.accept(&id, &fact, &trace).await, Err(Error::Conflict)));
    let history = bus.history(&id, 0).await.unwrap();
    assert_eq!((history.len(), &history[0].record.fact, &history[0].trace), (1, &fact, &trace));
    assert!(matches!(bus.history(&execution("e2"), 0).await, Err(Error::NotFound)));
    bus.accept(&execution("e2"), &fact, &trace).await.unwrap();
}

#[tokio::test]
async fn a_decision_needs_the_last_one_and_no_input_disturbs_it() {
    let (_nats, bus) = start().await;
    let (id, trace) = (execution("e1"), Trace::new());
    bus.accept(&id, &accepted(), &trace).await.unwrap();
    let task = bus.decide(&id, &scheduled(1), 0, &trace).await.unwrap();
    bus.input(&id, &progressed("p"), &trace).await.unwrap();
    bus.set_timer(&id, &mahavishnu_core::execution::Timer::Deadline, now(), &trace).await.unwrap();
    // Another execution's decisions are nobody's business here.
    bus.decide(&execution("e2"), &ended(), 0, &trace).await.unwrap();
    for stale in [0, task - 1, task + 1] {
        assert!(matches!(bus.decide(&id, &ended(), stale, &trace).await, Err(Error::Conflict)), "{stale}");
        assert!(
            matches!(bus.decide(&id, &scheduled(2), stale, &trace).await, Err(Error::Conflict)),
            "{stale}"
        );
    }
    let end = bus.decide(&id, &ended(), task, &trace).await.unwrap();
    assert!(matches!(bus.decide(&id, &scheduled(2), task, &trace).await, Err(Error::Conflict)));
    bus.decide(&id, &scheduled(2), end, &trace).await.unwrap();
}

#[tokio::test]
async fn of_many_coordinators_one_decides_while_inputs_pour_in() {
    let (nats, bus) = start().await;
    let others = [connect(&nats).await, connect(&nats).await];
    let (id, trace) = (execution("e1"), Trace::new());
    bus.accept(&id, &accepted(), &trace).await.unwrap();
    let (end, task, progress) = (ended(), scheduled(1), progressed("p"));
    let mut after = 0;
    for _ in 0..20 {
        let (id, trace, progress) = (&id, &trace, &progress);
        let decide =
            (0..8).map(|n| others[n % 2].decide(id, if n % 3 == 0 { &end } else { &task }, after, trace));
        let inputs = (0..8).map(|n| others[n % 2].input(id, progress, trace));
        let (decided, inputs) = futures::join!(join_all(decide), join_all(inputs));
        assert!(inputs.iter().all(Result::is_ok), "{inputs:?}");
        let stored: Vec<_> = decided.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(stored.len(), 1, "{decided:?}");
        assert!(decided.iter().all(|result| matches!(result, Ok(_) | Err(Error::Conflict))), "{decided:?}");
        after = *stored[0];
    }
}

#[tokio::test]
async fn the_history_is_what_the_tail_gives_also_beside_garbage() {
    let (nats, bus) = start().await;
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let mut tail = bus.tail(&[]).await.unwrap();
    let id = execution("e1");
    bus.accept(&id, &accepted(), &trace()).await.unwrap();
    let mut garbage = Vec::new();
    let mut throw = async |subject: &str, headers: async_nats::HeaderMap, body: &'static [u8]| {
        let ack = raw.publish_with_headers(subject.to_owned(), headers, body.into()).await.unwrap();
        garbage.push(ack.await.unwrap().sequence);
    };
    throw("in.e1", async_nats::HeaderMap::new(), b"\xff\xff not a protocol buffer").await;
    let task = bus.decide(&id, &scheduled(1), 0, &trace()).await.unwrap();
    throw("in.e1", async_nats::HeaderMap::new(), b"").await;
    bus.input(&id, &progressed("p"), &Trace::new()).await.unwrap();
    // A claim check for what nobody ever stored.
    let missing = async_nats::HeaderMap::from_iter([(
        "Mahavishnu-Body".parse().unwrap(),
        "0".repeat(64).parse().unwrap(),
    )]);
    throw("in.e1", missing, b"").await;
    bus.input(&id, &completed(json!({"n": 1})), &Trace::new()).await.unwrap();
    let end = bus.decide(&id, &ended(), task, &trace()).await.unwrap();
    throw("dec.e1.h", async_nats::HeaderMap::new(), b"\x07").await;

    let (tailed, unreadable) = read_to(&mut tail, *garbage.last().unwrap()).await;
    assert_eq!(unreadable, garbage);
    let history = bus.history(&id, 0).await.unwrap();
    assert_eq!(records(&tailed), records(&history));
    assert_eq!(history.len(), 5);
    assert!(history.is_sorted_by_key(|stored| stored.record.position));
    assert_eq!(history[4].record.position, end);
    assert_eq!(history[4].record.fact, ended());
    let traces = |stored: &[Stored]| stored.iter().map(|stored| stored.trace.clone()).collect::<Vec<_>>();
    assert_eq!(traces(&tailed), traces(&history));
    assert_eq!(bus.last_position(&id).await.unwrap(), *garbage.last().unwrap());
    assert_eq!(bus.last_position(&execution("e2")).await.unwrap(), 0);
}

#[tokio::test]
async fn a_server_that_is_behind_is_not_believed() {
    let (_nats, bus) = start().await;
    let id = execution("e1");
    let first = bus.accept(&id, &accepted(), &trace()).await.unwrap();
    // Somebody has seen a message that this server does not have: what it has may lack anything.
    assert!(matches!(bus.history(&id, first + 1).await, Err(Error::Behind)));
    let read = tokio::spawn({
        let (bus, id) = (bus.clone(), id.clone());
        async move { bus.history(&id, first + 1).await }
    });
    bus.input(&id, &progressed("p"), &trace()).await.unwrap();
    assert_eq!(in_time("the history", read).await.unwrap().unwrap().unwrap().len(), 2);
    // It need not be a message of this execution.
    bus.accept(&execution("e2"), &accepted(), &trace()).await.unwrap();
    assert_eq!(bus.history(&id, first + 2).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_long_history_is_read_whole() {
    let (_nats, bus) = start().await;
    let id = execution("e1");
    bus.accept(&id, &accepted(), &trace()).await.unwrap();
    // More than a server gives at once.
    let (fact, trace) = (progressed("p"), trace());
    let inputs = (0..600).map(|_| bus.input(&id, &fact, &trace));
    let mut stored: Vec<u64> = join_all(inputs).await.into_iter().map(Result::unwrap).collect();
    stored.sort_unstable();
    let history = bus.history(&id, *stored.last().unwrap()).await.unwrap();
    assert!(history.iter().skip(1).map(|stored| stored.record.position).eq(stored));
}

#[tokio::test]
async fn progress_that_is_told_with_an_input_comes_back_before_it() {
    let (_nats, bus) = start().await;
    let mut tail = bus.tail(&[]).await.unwrap();
    let id = execution("e1");
    bus.accept(&id, &accepted(), &Trace::new()).await.unwrap();
    let facts = [progressed("one"), progressed("two"), completed(json!({"n": 1}))];
    let before = facts.iter().filter_map(|fact| match fact {
        Fact::Progressed(progressed) => Some(progressed.clone()),
        _ => None,
    });
    let before: Vec<_> = before.collect();
    let position = bus.input_after(&id, &before, &facts[2], &Trace::new()).await.unwrap();
    let (followed, history) =
        (read_to(&mut tail, position).await.0, bus.history(&id, position).await.unwrap());
    for read in [followed, history] {
        let records: Vec<_> = read.into_iter().flat_map(Stored::records).skip(1).collect();
        assert!(records.iter().map(|record| &record.fact).eq(&facts));
        assert!(records.iter().all(|record| record.position == position));
    }
}

#[tokio::test]
async fn what_is_too_large_for_a_message_comes_back_equal() {
    let (_nats, bus) = start().await;
    let mut tail = bus.tail(&[]).await.unwrap();
    let id = execution("e1");
    bus.accept(&id, &accepted(), &Trace::new()).await.unwrap();
    let output = completed(json!({"text": "x\u{1F600}".repeat(400_000), "float": 0.1 + 0.2}));
    let position = bus.input(&id, &output, &Trace::new()).await.unwrap();
    let history = bus.history(&id, 0).await.unwrap();
    assert_eq!(history[1].record.fact, output);
    assert_eq!(records(&read_to(&mut tail, position).await.0), records(&history));

    let Fact::Scheduled(mut task) = scheduled(1) else { unreachable!() };
    task.task = object(json!({"text": "y".repeat(2_000_000)}));
    bus.decide(&id, &Fact::Scheduled(task.clone()), 0, &Trace::new()).await.unwrap();
    let queue = bus.task_queue(&engine()).await.unwrap();
    let delivery = in_time("the task", queue.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(delivery.task, task);
}

#[tokio::test]
async fn a_tail_starts_at_a_cursor_and_never_behind_the_end() {
    let (_nats, bus) = start().await;
    assert_eq!(bus.input_cursors().await.unwrap(), [Cursor::default()], "nobody has been here");
    let id = execution("e1");
    let first = bus.accept(&id, &accepted(), &Trace::new()).await.unwrap();
    let cursor = Cursor { passed: first, waiting: vec![(first, id.clone())] };
    for saved in [Cursor::default(), cursor.clone()] {
        bus.save_input_cursor(0, &saved).await.unwrap();
        assert_eq!(bus.input_cursors().await.unwrap(), [saved]);
    }
    let second = bus.input(&id, &progressed("p"), &Trace::new()).await.unwrap();
    for (cursors, expected) in [(vec![], first), (vec![cursor], second)] {
        let mut tail = bus.tail(&cursors).await.unwrap();
        let item = in_time("the tail", tail.items.next()).await.unwrap().unwrap();
        assert!(matches!(item, (_, TailItem::Record(stored)) if stored.record.position == expected));
    }
    // The server lost what the cursor had passed.
    let tail = bus.tail(&[Cursor { passed: 1_000, waiting: Vec::new() }]).await.unwrap();
    assert_eq!(tail.start, [second]);
}

#[tokio::test]
async fn coordinators_hear_each_other() {
    let (nats, bus) = start().await;
    let mut heard = bus.coordinators().await.unwrap();
    // Once the server has answered, it knows of the subscription.
    bus.input_cursors().await.unwrap();
    let settled = vec![SettledInputs { partition: 0, positions: vec![3, 900] }];
    let said = CoordinatorHeartbeat { coordinator: 7, settled, leaving: true };
    let other = connect(&nats).await;
    other.tell_coordinators(&said).await;
    assert_eq!(in_time("a heartbeat", heard.next()).await.unwrap().unwrap(), said);
}
