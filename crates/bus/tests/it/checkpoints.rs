use mahavishnu_bus::Error;
use mahavishnu_bus::checkpoints::{Checkpoints, Entry, Key, MAX_SIZE, Save};
use mahavishnu_core::execution::Origin;

use super::*;

fn turn(attempt: u32, resume: u32, delivery: u32) -> Origin {
    Origin { resume, delivery, ..origin(attempt) }
}

fn key(checkpoint: &str, task: &str) -> Key {
    Key { checkpoint_id: checkpoint.into(), task_id: task.into(), ..Key::default() }
}

fn saved(key: Key, view: &str, body: impl Into<Vec<u8>>) -> Save {
    let view = view.to_owned().into();
    Save { key, view, body: body.into().into(), ..Save::default() }
}

async fn save(log: &mut Checkpoints, checkpoint: &str, body: &str) -> mahavishnu_bus::Result<u64> {
    log.save(saved(key(checkpoint, ""), "{}", body.to_owned())).await
}

fn ids(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.checkpoint_id.as_str()).collect()
}

#[tokio::test]
async fn who_comes_later_reads_all_and_who_came_before_writes_nothing() {
    let (nats, bus) = start().await;
    let other = connect(&nats).await;
    let id = execution("e1");
    let mut first = bus.claim_checkpoints(&id, &turn(1, 0, 1)).await.unwrap();
    let kept = save(&mut first, "c1", "one").await.unwrap();
    let turns = [turn(1, 0, 2), turn(1, 1, 1), turn(2, 0, 1)];
    let mut known = vec!["c1".to_owned()];
    for (index, later) in turns.iter().enumerate() {
        let mut second = other.claim_checkpoints(&id, later).await.unwrap();
        assert_eq!(ids(second.entries()), known);
        assert_eq!(second.read(kept).await.unwrap(), "one");
        assert!(matches!(save(&mut first, "stale", "x").await, Err(Error::Superseded)));
        assert!(matches!(first.delete(&[kept]).await, Err(Error::Superseded)));
        let name = format!("later-{index}");
        save(&mut second, &name, "more").await.unwrap();
        known.push(name);
        first = second;
    }
    assert!(matches!(bus.claim_checkpoints(&id, &turn(1, 9, 9)).await, Err(Error::Superseded)));
    let listed = bus.list_checkpoints(&id, &turn(1, 0, 1).stage).await.unwrap();
    assert_eq!(ids(&listed), known);
    assert!(bus.list_checkpoints(&execution("e2"), &turn(1, 0, 1).stage).await.unwrap().is_empty());
}

#[tokio::test]
async fn of_two_who_claim_at_once_the_later_turn_can_write_and_the_other_cannot() {
    let (nats, bus) = start().await;
    let other = connect(&nats).await;
    for round in 0..20 {
        let id = execution(&format!("race-{round}"));
        let (early, late) = (turn(1, 0, 1), turn(1, 0, 2));
        let write = async |bus: &Bus, origin: &Origin, name: &str| {
            let mut log = bus.claim_checkpoints(&id, origin).await?;
            for n in 0..5 {
                save(&mut log, &format!("{name}-{n}"), "x").await?;
            }
            mahavishnu_bus::Result::Ok(())
        };
        let (stale, fresh) = tokio::join!(write(&bus, &early, "early"), write(&other, &late, "late"));
        assert!(matches!(stale, Ok(()) | Err(Error::Superseded)), "{stale:?}");
        fresh.unwrap();
        let listed = bus.list_checkpoints(&id, &early.stage).await.unwrap();
        let first_late = listed.iter().position(|entry| entry.turn.delivery == 2).unwrap();
        assert!(listed[first_late..].iter().all(|entry| entry.turn.delivery == 2), "{:?}", ids(&listed));
        assert_eq!(listed.len() - first_late, 5);
    }
}

#[tokio::test]
async fn bodies_of_any_size_come_back_whole() {
    let (_nats, bus) = start().await;
    let mut log = bus.claim_checkpoints(&execution("e1"), &turn(1, 0, 1)).await.unwrap();
    let mut written = Vec::new();
    for size in [0, 1, 512 * 1024, 512 * 1024 + 1, 3 << 20] {
        let body: Vec<u8> = (0..size).map(|n: usize| (n % 251) as u8).collect();
        let position = log.save(saved(key("c", ""), "{\"a\":1}", body.clone())).await.unwrap();
        written.push((position, body));
    }
    let again = bus.claim_checkpoints(&execution("e1"), &turn(1, 0, 2)).await.unwrap();
    for (position, body) in &written {
        assert!(again.read(*position).await.unwrap() == *body, "{} bytes", body.len());
    }
    assert_eq!(again.entries()[0].view, "{\"a\":1}");
    assert!(matches!(again.read(written[0].0 + 100_000).await, Err(Error::NotFound)));
    let mut again = again;
    let too_large = saved(key("c", ""), "{}", vec![0; MAX_SIZE + 1]);
    assert!(matches!(again.save(too_large).await, Err(Error::TooLarge { .. })));
}

#[tokio::test]
async fn what_is_deleted_is_gone_for_everybody() {
    let (_nats, bus) = start().await;
    let id = execution("e1");
    let mut log = bus.claim_checkpoints(&id, &turn(1, 0, 1)).await.unwrap();
    let first = save(&mut log, "c1", "one").await.unwrap();
    let large = log.save(saved(key("c2", ""), "{}", vec![7; 2 << 20])).await.unwrap();
    let last = save(&mut log, "c3", "three").await.unwrap();
    log.delete(&[first, large, last + 50]).await.unwrap();
    log.delete(&[first]).await.unwrap();
    assert_eq!(ids(log.entries()), ["c3"]);
    assert!(matches!(log.read(first).await, Err(Error::NotFound)));
    save(&mut log, "c4", "four").await.unwrap();
    let mut again = bus.claim_checkpoints(&id, &turn(1, 0, 2)).await.unwrap();
    assert_eq!(ids(again.entries()), ["c3", "c4"]);
    let all: Vec<u64> = again.entries().iter().map(|entry| entry.position).collect();
    again.delete(&all).await.unwrap();
    save(&mut again, "c5", "five").await.unwrap();
    assert_eq!(ids(&bus.list_checkpoints(&id, &turn(1, 0, 1).stage).await.unwrap()), ["c5"]);
}

#[tokio::test]
async fn a_copy_is_whole_and_belongs_to_who_begins_there() {
    let (nats, bus) = start().await;
    let (from, to) = (execution("e1"), execution("e2"));
    let stage = turn(1, 0, 1).stage;
    let mut log = bus.claim_checkpoints(&from, &turn(1, 0, 1)).await.unwrap();
    let values = |size: usize| format!("{{\"v\":\"{}\"}}", "x".repeat(size));
    for (name, values) in [("c1", values(10)), ("c2", values(300 * 1024)), ("c3", values(0))] {
        let large = saved(key(name, ""), "{}", vec![7; 600 * 1024]);
        log.save(Save { values: values.into(), ..large }).await.unwrap();
    }
    let entries = bus.list_checkpoints(&from, &stage).await.unwrap();
    assert_eq!(entries[0].values, values(10));
    assert!(entries[1].values.is_empty(), "too large to be shown");

    // A copy that broke off, and then two that finish it at once.
    bus.copy_checkpoints(&to, &stage, &entries[..1]).await.unwrap();
    let other = connect(&nats).await;
    let (here, there) = tokio::join!(
        bus.copy_checkpoints(&to, &stage, &entries[..2]),
        other.copy_checkpoints(&to, &stage, &entries[..2])
    );
    here.unwrap();
    there.unwrap();
    let mut begun = bus.claim_checkpoints(&to, &turn(1, 0, 1)).await.unwrap();
    assert_eq!(ids(begun.entries()), ["c1", "c2"]);
    assert_eq!(begun.entries()[0].turn.attempt, 0);
    for entry in begun.entries() {
        assert_eq!(begun.read(entry.position).await.unwrap(), vec![7; 600 * 1024]);
    }
    save(&mut begun, "own", "x").await.unwrap();
    bus.copy_checkpoints(&to, &stage, &entries[..2]).await.unwrap();
    assert_eq!(ids(&bus.list_checkpoints(&to, &stage).await.unwrap()), ["c1", "c2", "own"]);
    assert_eq!(ids(&bus.list_checkpoints(&from, &stage).await.unwrap()), ["c1", "c2", "c3"]);

    // What is not ours is left alone, and what is gone is told.
    let third = execution("e3");
    bus.copy_checkpoints(&third, &stage, &entries[1..2]).await.unwrap();
    assert!(matches!(bus.copy_checkpoints(&third, &stage, &entries[..2]).await, Err(Error::Conflict)));
    log.delete(&[entries[2].position]).await.unwrap();
    let gone = bus.copy_checkpoints(&execution("e4"), &stage, &entries[2..]).await;
    assert!(matches!(gone, Err(Error::NotFound)), "{gone:?}");
}
