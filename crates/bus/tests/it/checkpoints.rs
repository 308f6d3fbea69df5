use mahavishnu_bus::Error;
use mahavishnu_bus::checkpoints::{Checkpoints, Entry, Key, MAX_SIZE};
use mahavishnu_core::execution::Origin;

use super::*;

fn turn(attempt: u32, resume: u32, delivery: u32) -> Origin {
    Origin { resume, delivery, ..origin(attempt) }
}

fn key(checkpoint: &str, task: &str) -> Key {
    Key { checkpoint_id: checkpoint.into(), task_id: task.into(), ..Key::default() }
}

async fn save(log: &mut Checkpoints, checkpoint: &str, body: &str) -> mahavishnu_bus::Result<u64> {
    log.save(key(checkpoint, ""), "{}".into(), body.to_owned().into()).await
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
        let position = log.save(key("c", ""), "{\"a\":1}".into(), body.clone().into()).await.unwrap();
        written.push((position, body));
    }
    let again = bus.claim_checkpoints(&execution("e1"), &turn(1, 0, 2)).await.unwrap();
    for (position, body) in &written {
        assert!(again.read(*position).await.unwrap() == *body, "{} bytes", body.len());
    }
    assert_eq!(again.entries()[0].view, "{\"a\":1}");
    assert!(matches!(again.read(written[0].0 + 100_000).await, Err(Error::NotFound)));
    let mut again = again;
    let too_large = vec![0; MAX_SIZE + 1].into();
    assert!(matches!(again.save(key("c", ""), "{}".into(), too_large).await, Err(Error::TooLarge { .. })));
}

#[tokio::test]
async fn what_is_deleted_is_gone_for_everybody() {
    let (_nats, bus) = start().await;
    let id = execution("e1");
    let mut log = bus.claim_checkpoints(&id, &turn(1, 0, 1)).await.unwrap();
    let first = save(&mut log, "c1", "one").await.unwrap();
    let large = log.save(key("c2", ""), "{}".into(), vec![7; 2 << 20].into()).await.unwrap();
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
