use bytes::Bytes;
use mahavishnu_bus::Error;
use mahavishnu_bus::artifacts::Upload;
use mahavishnu_core::id::ArtifactId;

use super::*;

/// How many bytes the store holds.
async fn stored(nats: &TestNats) -> u64 {
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    raw.get_stream("OBJ_MAHAVISHNU_ARTIFACTS").await.unwrap().get_info().await.unwrap().state.bytes
}

#[tokio::test]
async fn the_same_content_is_stored_once_under_its_hash() {
    let (nats, bus) = start().await;
    let hello = bus.put_artifact(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(hello.as_str(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    let before = stored(&nats).await;
    let mut upload = Upload::new().unwrap();
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
