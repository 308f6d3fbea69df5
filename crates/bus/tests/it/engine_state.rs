use bytes::Bytes;
use mahavishnu_bus::Error;
use mahavishnu_bus::checkpoints::MAX_SIZE;

use super::*;

fn bytes(size: usize) -> Bytes {
    (0..size).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn what_one_writes_the_other_reads_whole() {
    let (nats, bus) = start().await;
    let other = connect(&nats).await;
    let key = "sessions/über, with any.character >";
    assert_eq!(other.read_state(&engine(), key).await.unwrap().revision, 0);
    for size in [0, 1, 512 * 1024, 512 * 1024 + 1, 3 << 20, 7] {
        let revision = bus.write_state(&engine(), key, bytes(size), None).await.unwrap();
        let read = other.read_state(&engine(), key).await.unwrap();
        assert_eq!(read.revision, revision);
        assert!(read.body.unwrap() == bytes(size), "{size} bytes");
    }
    let agno = EngineName::parse("agno").unwrap();
    assert_eq!(other.read_state(&agno, key).await.unwrap().body, None, "another engine's keys are its own");
    let too_large = bus.write_state(&engine(), key, bytes(MAX_SIZE + 1), None).await;
    assert!(matches!(too_large, Err(Error::TooLarge { .. })), "{too_large:?}");
}

#[tokio::test]
async fn of_those_who_read_the_same_revision_one_writes_and_what_it_wrote_stays_whole() {
    let (nats, bus) = start().await;
    let other = connect(&nats).await;
    let mut revision = 0;
    let engine = engine();
    for round in 0..10_usize {
        let (left, right) = (bytes((1 << 20) + round), bytes((2 << 20) + round));
        let (first, second) = tokio::join!(
            bus.write_state(&engine, "k", left.clone(), Some(revision)),
            other.write_state(&engine, "k", right.clone(), Some(revision)),
        );
        let (written, body) = match (first, second) {
            (Ok(written), Err(Error::Conflict)) => (written, left),
            (Err(Error::Conflict), Ok(written)) => (written, right),
            both => panic!("{both:?}"),
        };
        let read = bus.read_state(&engine, "k").await.unwrap();
        assert_eq!(read.revision, written);
        assert!(read.body.unwrap() == body, "round {round}");
        revision = written;
    }
}

#[tokio::test]
async fn the_oldest_makes_room_and_is_then_as_if_never_written() {
    let nats = TestNats::start().await.unwrap();
    let options = Options { state_bytes: 4 << 20, ..Options::new(nats.url(), "test") };
    let bus = Bus::connect(options).await.unwrap();
    bus.ensure(&[engine()]).await.unwrap();
    for n in 0..6 {
        bus.write_state(&engine(), &format!("k{n}"), bytes(1_200_000), Some(0)).await.unwrap();
    }
    let there = async |n: usize| bus.read_state(&engine(), &format!("k{n}")).await.unwrap().body.is_some();
    assert!(!there(0).await && !there(1).await);
    assert!(there(4).await && there(5).await);
    let state = bus.read_state(&engine(), "k0").await.unwrap();
    bus.write_state(&engine(), "k0", bytes(10), Some(state.revision)).await.unwrap();
    assert!(there(0).await);
}
