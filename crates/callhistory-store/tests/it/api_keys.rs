//! API keys in both engines, while a store is open.

use callhistory_model::{CallInput, Timestamp};
use callhistory_store::{ApiKey, Precondition, Scope};

use crate::{
    conformance::{id, workspace},
    databases::{open, open_api_keys},
    postgres,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix_nanos((1_767_225_600 + second) * 1_000_000_000)
}

fn key(name: &str) -> ApiKey {
    ApiKey {
        id: name.to_owned(),
        digest: [7; 32],
        name: "the \"dialler\" 📞".to_owned(),
        workspace: Some(workspace("w")),
        scopes: Scope::ALL.to_vec(),
        created_at: at(0),
        expires_at: Some(at(100)),
        revoked_at: None,
        used_at: None,
    }
}

async fn check_api_keys(url: &str) {
    // The first key is created before any server has run.
    let early = open_api_keys(url).await.unwrap();
    assert_eq!(early.list_keys().await.unwrap(), []);
    early.create_key(key("a"), None).await.unwrap();
    drop(early);
    let store = open(url).await.unwrap();
    let (keys, other) = (open_api_keys(url).await.unwrap(), open_api_keys(url).await.unwrap());
    let operator = ApiKey { workspace: None, scopes: vec![Scope::CallsRead], expires_at: None, ..key("b") };
    other.create_key(operator.clone(), None).await.unwrap();
    assert_eq!(keys.find_key("a").await.unwrap(), Some(key("a")));
    assert_eq!(keys.find_key("b").await.unwrap(), Some(operator));
    assert_eq!(keys.find_key("c").await.unwrap(), None);
    assert!(keys.create_key(key("a"), None).await.is_err(), "an ID is unique");
    // Rotation is one transaction: the old key expires as soon as the new one exists.
    other.create_key(ApiKey { created_at: at(5), ..key("c") }, Some(("a".to_owned(), at(50)))).await.unwrap();
    let revoked_at = |id: &'static str| {
        let keys = &keys;
        async move { keys.find_key(id).await.unwrap().unwrap().revoked_at.map(|at| at.unix_nanos()) }
    };
    assert_eq!(revoked_at("a").await, Some(at(50).unix_nanos()));
    // A revocation can become earlier and never later.
    assert!(keys.revoke_key("a", at(60)).await.unwrap());
    assert_eq!(revoked_at("a").await, Some(at(50).unix_nanos()));
    assert!(keys.revoke_key("a", at(10)).await.unwrap());
    assert_eq!(revoked_at("a").await, Some(at(10).unix_nanos()));
    assert!(!keys.revoke_key("none", at(10)).await.unwrap());
    for (second, expected) in [(20, 20), (15, 20), (30, 30)] {
        keys.mark_key_used("c", at(second)).await.unwrap();
        let used = keys.find_key("c").await.unwrap().unwrap().used_at.unwrap();
        assert_eq!(used.unix_nanos(), at(expected).unix_nanos());
    }
    let ids: Vec<_> = keys.list_keys().await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    // Writes of records and of keys do not lock each other out.
    let writes = (0..200).map(|number| {
        let (store, keys) = (store.clone(), keys.clone());
        tokio::spawn(async move {
            let call = id(&format!("c{number}"));
            let any = Precondition::default();
            store.replace_call(&workspace("w"), &call, CallInput::default().into(), any, at(1)).await.unwrap();
            if number % 10 == 0 {
                keys.mark_key_used("b", at(number)).await.unwrap();
            }
        })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    store.close().await;
}

#[tokio::test]
async fn api_keys_are_stored_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    check_api_keys(&format!("sqlite:{}", directory.path().join("data/callhistory.db").display())).await;
    let other = directory.path().join("other.db");
    std::fs::write(&other, "no database").unwrap();
    assert!(open_api_keys(&format!("sqlite:{}", other.display())).await.is_err());
}

#[tokio::test]
async fn api_keys_are_stored_in_postgres() {
    check_api_keys(&postgres::empty().url).await;
}
