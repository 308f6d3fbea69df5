use bytes::Bytes;
use mahavishnu_bus::Error;
use mahavishnu_bus::references::{References, Referrer};
use mahavishnu_core::id::ArtifactId;
use mahavishnu_test_support::wait::in_time;

use super::*;

/// How many messages the store holds.
async fn stored(nats: &TestNats) -> u64 {
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    raw.get_stream("OBJ_MAHAVISHNU_ARTIFACTS").await.unwrap().get_info().await.unwrap().state.messages
}

#[tokio::test]
async fn the_same_content_is_stored_once_under_its_hash() {
    let (nats, bus) = start().await;
    let hello = bus.put_artifact(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(hello.as_str(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    let before = stored(&nats).await;
    let mut upload = bus.begin_upload().unwrap();
    upload.write(b"hel").await.unwrap();
    upload.write(b"").await.unwrap();
    upload.write(b"lo").await.unwrap();
    assert_eq!(bus.finish_upload(upload).await.unwrap(), (hello.clone(), 5));
    let file = nats.directory().join("hello");
    std::fs::write(&file, "hello").unwrap();
    assert_eq!(bus.put_artifact_file(&file).await.unwrap(), hello);
    assert_eq!(bus.put_artifact(Bytes::from_static(b"hello")).await.unwrap(), hello);
    assert_eq!(stored(&nats).await, before);
    assert_eq!(bus.get_artifact(&hello).await.unwrap(), "hello");
    bus.put_artifact(Bytes::from_static(b"other")).await.unwrap();
    assert!(stored(&nats).await > before);
}

#[tokio::test]
async fn contents_of_many_pieces_and_of_none() {
    let (_nats, bus) = start().await;
    let large: Bytes = (0..3_000_001_u32).map(|n| (n * 31 % 251) as u8).collect::<Vec<_>>().into();
    for content in [large, Bytes::new()] {
        let id = bus.put_artifact(content.clone()).await.unwrap();
        assert!(bus.has_artifact(&id).await.unwrap());
        assert!(bus.get_artifact(&id).await.unwrap() == content);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (_nats, bus) = start().await;
    let id = ArtifactId::parse(&"0".repeat(64)).unwrap();
    assert!(!bus.has_artifact(&id).await.unwrap());
    assert!(matches!(bus.get_artifact(&id).await, Err(Error::NotFound)));
}

#[tokio::test]
async fn what_somebody_keeps_is_not_removed_and_what_is_removed_leaves_nothing() {
    let (nats, bus) = start().await;
    let before = stored(&nats).await;
    let content: Bytes = vec![7; 300_000].into();
    let id = bus.put_artifact(content.clone()).await.unwrap();
    let listed = bus.artifacts().await.unwrap();
    assert_eq!(listed.iter().map(|one| (&one.id, one.size)).collect::<Vec<_>>(), [(&id, 300_000)]);
    // Stored again by somebody else, while a coordinator looks for what nothing refers to.
    let other = connect(&nats).await;
    assert_eq!(other.put_artifact(content.clone()).await.unwrap(), id);
    assert!(!bus.remove_artifact(&listed[0]).await.unwrap(), "it was kept since");
    let listed = bus.artifacts().await.unwrap();
    assert!(other.keep_artifact(&id).await.unwrap());
    assert!(!bus.remove_artifact(&listed[0]).await.unwrap(), "it was named since");
    assert!(bus.get_artifact(&id).await.unwrap() == content);

    let listed = bus.artifacts().await.unwrap();
    assert!(bus.remove_artifact(&listed[0]).await.unwrap());
    assert_eq!((bus.artifacts().await.unwrap().len(), stored(&nats).await), (0, before));
    assert!(!bus.has_artifact(&id).await.unwrap() && !bus.keep_artifact(&id).await.unwrap());
    assert!(!bus.remove_artifact(&listed[0]).await.unwrap(), "once");
    assert_eq!(bus.put_artifact(content.clone()).await.unwrap(), id);
    assert!(bus.get_artifact(&id).await.unwrap() == content, "it comes back");
}

#[tokio::test]
async fn content_of_broken_uploads_is_removed_when_it_is_old() {
    let (nats, bus) = start().await;
    let kept = bus.put_artifact(Bytes::from_static(b"kept")).await.unwrap();
    let before = stored(&nats).await;
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    for _ in 0..2 {
        let subject = "$O.MAHAVISHNU_ARTIFACTS.C.broken";
        raw.publish(subject, vec![1; 1000].into()).await.unwrap().await.unwrap();
    }
    assert_eq!(
        bus.remove_loose_content(now() - chrono::TimeDelta::hours(1)).await.unwrap(),
        0,
        "still young"
    );
    assert!(stored(&nats).await > before);
    assert_eq!(bus.remove_loose_content(now() + chrono::TimeDelta::hours(1)).await.unwrap(), 1);
    assert_eq!(stored(&nats).await, before);
    assert_eq!(bus.get_artifact(&kept).await.unwrap(), "kept");
}

#[tokio::test]
async fn what_is_larger_than_the_limit_is_refused() {
    let nats = TestNats::start().await.unwrap();
    let bus =
        Bus::connect(Options { max_artifact: 1 << 20, ..Options::new(nats.url(), "test") }).await.unwrap();
    bus.ensure(&[engine()]).await.unwrap();
    let refused =
        |error: Error| assert!(matches!(error, Error::TooLarge { limit } if limit == 1 << 20), "{error}");
    refused(bus.put_artifact(vec![0; (1 << 20) + 1].into()).await.unwrap_err());
    bus.put_artifact(vec![0; 1 << 20].into()).await.unwrap();
    let mut upload = bus.begin_upload().unwrap();
    upload.write(&[0; 1 << 19]).await.unwrap();
    refused(upload.write(&[0; (1 << 19) + 1]).await.unwrap_err());
    // A message whose body is one.
    let large = completed(json!({"text": "x".repeat(1 << 20)}));
    refused(bus.input(&execution("e1"), &large, &Trace::new()).await.unwrap_err());
    assert_eq!(bus.artifacts().await.unwrap().len(), 1);
}

/// An execution with this document.
fn documented(id: &ArtifactId, padding: usize) -> Fact {
    let Fact::Accepted(mut fact) = accepted() else { panic!("not accepted") };
    let mut workflow = (*fact.workflow).clone();
    workflow.documents.insert("a.pdf".into(), id.clone());
    workflow.input.insert("padding".into(), "x".repeat(padding).into());
    fact.workflow = Arc::new(workflow);
    Fact::Accepted(fact)
}

#[tokio::test]
async fn references_are_read_from_the_raw_histories() {
    let (_nats, bus) = start().await;
    let trace = Trace::new();
    let put = async |text: &'static str| bus.put_artifact(Bytes::from_static(text.as_bytes())).await.unwrap();
    let [document, inner, unused] = [put("document").await, put("inner").await, put("unused").await];
    bus.accept(&execution("e1"), &documented(&document, 0), &trace).await.unwrap();
    // A body that is an artifact itself, and names another one.
    bus.accept(&execution("e2"), &documented(&inner, 600_000), &trace).await.unwrap();
    bus.accept(&execution("e3"), &documented(&document, 0), &trace).await.unwrap();
    let all = bus.artifacts().await.unwrap();
    assert_eq!(all.len(), 4);
    let mut known = References::default();
    bus.read_references(&mut known).await.unwrap();
    let by = |known: &References, id: &ArtifactId| {
        known.referrers(id).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(by(&known, &document), ["execution e1", "execution e3"]);
    assert_eq!(by(&known, &inner), ["execution e2"]);
    let one = std::slice::from_ref(&unused);
    let left = |known: &References| {
        known.unused(all.clone()).into_iter().map(|artifact| artifact.id).collect::<Vec<_>>()
    };
    assert_eq!(left(&known), one);
    // What comes later is read alone.
    bus.accept(&execution("e4"), &documented(&unused, 0), &trace).await.unwrap();
    assert_eq!(left(&known), one);
    bus.read_references(&mut known).await.unwrap();
    assert_eq!((by(&known, &unused), left(&known).len()), (vec!["execution e4".to_owned()], 0));
    assert_eq!(by(&known, &document), ["execution e1", "execution e3"]);
    bus.remove(&execution("e4")).await.unwrap();
    bus.read_references(&mut known).await.unwrap();
    assert_eq!(left(&known), one, "an execution that is removed refers to nothing");

    let audit = async || bus.audit_artifacts(Duration::ZERO).await.unwrap();
    let (told, hour) = (audit().await, bus.audit_artifacts(Duration::from_secs(3600)).await.unwrap());
    assert_eq!((told.stored, told.referred, told.missing.len()), (4, 3, 0));
    assert_eq!((told.left, hour.left.len()), (vec![unused.clone()], 0), "old enough, not old enough");
    bus.remove(&execution("e1")).await.unwrap();
    bus.remove(&execution("e2")).await.unwrap();
    bus.read_references(&mut known).await.unwrap();
    assert_eq!(by(&known, &document), ["execution e3"]);
    assert_eq!((by(&known, &inner).len(), left(&known).len()), (0, 3));
    assert_eq!(audit().await.left.len(), 3, "the body, what it named, and the unused one");
    let stored = bus.artifacts().await.unwrap();
    let taken = stored.iter().find(|one| one.id == document).unwrap();
    assert!(bus.remove_artifact(taken).await.unwrap());
    assert_eq!(audit().await.missing, [(document, Referrer::Execution(execution("e3")))]);
}

/// A server of a cluster may be behind: it has the message, and not yet the artifact that was stored before it.
#[tokio::test]
async fn a_body_that_is_not_there_yet_is_waited_for() {
    let (nats, bus) = start().await;
    let id = execution("e1");
    bus.accept(&id, &accepted(), &trace()).await.unwrap();
    let fact = progressed("x".repeat(600_000));
    bus.input(&id, &fact, &trace()).await.unwrap();
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = raw.get_stream("OBJ_MAHAVISHNU_ARTIFACTS").await.unwrap();
    let meta = stream.get_last_raw_message_by_subject("$O.MAHAVISHNU_ARTIFACTS.M.*").await.unwrap();
    stream.delete_message(meta.sequence).await.unwrap();

    let mut history = tokio::spawn({
        let (bus, id) = (bus.clone(), id.clone());
        async move { bus.history(&id, 0).await }
    });
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut history).await.is_err(), "passed over");
    raw.publish(meta.subject, meta.payload).await.unwrap().await.unwrap();
    let history = in_time("the body", history).await.unwrap().unwrap().unwrap();
    assert_eq!(history.last().unwrap().record.fact, fact);
}

/// The server allows a stream a thousand consumers.
#[tokio::test]
async fn reading_leaves_no_consumers() {
    let (nats, bus) = start().await;
    let id = bus.put_artifact(Bytes::from_static(b"hello")).await.unwrap();
    for _ in 0..3 {
        bus.get_artifact(&id).await.unwrap();
    }
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let mut stream = raw.get_stream("OBJ_MAHAVISHNU_ARTIFACTS").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.consumer_count, 0);
}

#[tokio::test]
async fn damaged_content_is_an_error() {
    let (nats, bus) = start().await;
    let id = bus.put_artifact(vec![7; 300_000].into()).await.unwrap();
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = raw.get_stream("OBJ_MAHAVISHNU_ARTIFACTS").await.unwrap();
    let piece = stream.get_last_raw_message_by_subject("$O.MAHAVISHNU_ARTIFACTS.C.*").await.unwrap();
    stream.delete_message(piece.sequence).await.unwrap();
    raw.publish(piece.subject, vec![8; piece.payload.len()].into()).await.unwrap().await.unwrap();
    let error = bus.get_artifact(&id).await.unwrap_err();
    assert!(matches!(&error, Error::Nats(cause) if cause.to_string().contains("damaged")), "{error:?}");
}
