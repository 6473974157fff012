//! The conformance suite: each promise of `CallStore` is one test. An engine runs it with [`conformance`].

use std::{collections::HashSet, sync::Arc};

use crate::databases::open;
use callhistory_model::{
    CallId, CallInput, CallPatch, CallRecord, ExportQuery, Handling, ListQuery, MetricsQuery, Timestamp, WorkspaceId,
    examples,
};
use callhistory_store::{
    CallStore, IdempotencyKey, Precondition, StoreError, StoreOptions, Thresholds, VersionSet, WriteOutcome,
    WrittenCall,
};

pub(crate) use crate::bounds::{
    an_import_over_large_records_is_split, an_unchanged_record_may_exceed_a_lowered_limit,
    the_last_originals_are_listed,
};
pub(crate) use crate::clocks::{
    a_generated_id_is_not_older_than_the_last_change, an_idempotency_key_outlives_a_jump_of_the_clock,
    times_of_changes_do_not_go_back,
};
pub(crate) use crate::concurrent::{
    a_busy_workspace_does_not_delay_a_quiet_one, a_failed_write_does_not_change_a_list,
    a_follower_reconstructs_all_records, a_waiter_is_woken_only_by_its_workspace,
    concurrent_creations_with_one_key_create_one_record, exports_of_one_workspace_do_not_block_others,
    pagination_during_writes_returns_each_steady_record_once,
};
pub(crate) use crate::late_facts::{
    a_deleted_record_stays_deleted_in_imports, a_final_status_is_not_undone, a_merge_keeps_what_it_replaces,
    a_patch_can_create, a_strict_write_keeps_unknown_members, an_import_can_refuse_other_records,
    an_import_counts_repeated_ids, an_original_is_returned_byte_for_byte, long_labels_are_found,
    merges_in_any_order_lead_to_one_record, national_numbers_follow_the_numbering_plan,
    senseless_values_count_as_unknown, the_longest_names_are_stored, the_size_of_a_record_is_bounded,
};
pub(crate) use crate::metrics::{
    figures_are_filters, members_of_metadata_are_groups, metrics_say_what_they_are_of,
    time_groups_without_calls_are_filled,
};
pub(crate) use crate::reference_model::{
    queries_equal_the_reference_model, queries_with_the_default_thresholds_equal_the_reference_model,
};
pub(crate) use crate::search::{
    a_search_returns_its_evidence, search_covers_each_member, search_finds_words_of_every_script,
};
pub(crate) use crate::transcripts::{
    a_list_without_transcripts_does_not_read_them, a_transcript_can_have_twelve_megabytes,
    a_transcript_is_part_of_its_record,
};

/// A database that outlives the stores opened on it.
pub(crate) trait Database: Send + Sync + 'static {
    /// The names of the strategies of its planner.
    const STRATEGIES: &[&str];

    fn open_with(&self, options: StoreOptions) -> impl Future<Output = Arc<dyn CallStore>> + Send;

    fn open(&self) -> impl Future<Output = Arc<dyn CallStore>> + Send {
        self.open_with(StoreOptions { thresholds: Thresholds::SMALL, ..StoreOptions::default() })
    }

    /// Opens a store whose records have at most ten thousand bytes.
    fn open_small(&self) -> impl Future<Output = Arc<dyn CallStore>> + Send {
        self.open_with(StoreOptions { max_record_bytes: 10_000, ..StoreOptions::default() })
    }
}

/// Defines the tests of an engine, from a function that creates an empty [`Database`].
macro_rules! conformance {
    ($make:path) => {
        $crate::conformance::conformance!($make:
            a_record_is_returned_byte_for_byte,
            an_absent_record_is_none,
            a_workspace_cannot_read_another,
            an_acknowledged_write_survives_reopening,
            a_repeated_write_changes_nothing,
            a_replacement_keeps_created_at_and_sets_updated_at,
            a_write_can_set_created_at_and_updated_at,
            each_change_gets_the_next_sequence,
            concurrent_writes_get_distinct_gapless_sequences,
            preconditions_are_checked_in_the_transaction,
            a_creation_does_not_replace,
            a_creation_with_an_idempotency_key_happens_once,
            an_idempotency_key_outlives_a_jump_of_the_clock,
            times_of_changes_do_not_go_back,
            a_generated_id_is_not_older_than_the_last_change,
            a_write_completes_after_its_caller_disconnects,
            a_closed_store_refuses_writes,
            a_patch_changes_only_its_members,
            a_deletion_appears_in_the_change_feed,
            a_cursor_is_valid_only_for_its_query,
            metrics_include_the_first_and_last_valid_time,
            metrics_say_what_they_are_of,
            figures_are_filters,
            members_of_metadata_are_groups,
            time_groups_without_calls_are_filled,
            a_failed_write_does_not_change_a_list,
            a_follower_reconstructs_all_records,
            pagination_during_writes_returns_each_steady_record_once,
            concurrent_creations_with_one_key_create_one_record,
            a_waiter_is_woken_only_by_its_workspace,
            exports_of_one_workspace_do_not_block_others,
            a_transcript_is_part_of_its_record,
            a_final_status_is_not_undone,
            a_merge_keeps_what_it_replaces,
            an_import_can_refuse_other_records,
            a_deleted_record_stays_deleted_in_imports,
            an_import_counts_repeated_ids,
            a_patch_can_create,
            a_strict_write_keeps_unknown_members,
            an_original_is_returned_byte_for_byte,
            the_size_of_a_record_is_bounded,
            senseless_values_count_as_unknown,
            long_labels_are_found,
            national_numbers_follow_the_numbering_plan,
            merges_in_any_order_lead_to_one_record,
            the_longest_names_are_stored,
            an_unchanged_record_may_exceed_a_lowered_limit,
            the_last_originals_are_listed,
            an_import_over_large_records_is_split,
            a_list_without_transcripts_does_not_read_them,
            a_transcript_can_have_twelve_megabytes,
            a_busy_workspace_does_not_delay_a_quiet_one,
            search_finds_words_of_every_script,
            search_covers_each_member,
            a_search_returns_its_evidence,
            queries_equal_the_reference_model,
            queries_with_the_default_thresholds_equal_the_reference_model,
        );
    };
    ($make:path: $($promise:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let database = $make();
            $crate::conformance::$promise(&database).await;
        })+
    };
}
pub(crate) use conformance;

pub(crate) fn if_match(versions: VersionSet) -> Precondition {
    Precondition { if_match: Some(versions), if_none_match: None }
}

pub(crate) fn if_none_match(versions: VersionSet) -> Precondition {
    Precondition { if_match: None, if_none_match: Some(versions) }
}

/// The error of a URL that cannot be opened.
pub(crate) async fn refusal(url: &str) -> String {
    match open(url).await {
        Err(StoreError::Open(message)) => message,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

pub(crate) fn workspace(name: &str) -> WorkspaceId {
    name.parse().unwrap()
}

pub(crate) fn id(name: &str) -> CallId {
    name.parse().unwrap()
}

pub(crate) fn at(second: u8) -> Timestamp {
    format!("2026-01-01T00:00:{second:02}Z").parse().unwrap()
}

pub(crate) fn input(json: &str) -> CallInput {
    CallInput::from_json(json.as_bytes()).unwrap()
}

pub(crate) fn record(written: &WrittenCall) -> CallRecord {
    serde_json::from_slice(&written.call.body).unwrap()
}

pub(crate) async fn put(store: &dyn CallStore, ws: &str, call: &str, json: &str, second: u8) -> WrittenCall {
    store
        .replace_call(&workspace(ws), &id(call), input(json).into(), Precondition::default(), at(second))
        .await
        .unwrap()
}

pub(crate) async fn a_record_is_returned_byte_for_byte(database: &impl Database) {
    let store = database.open().await;
    let written = put(&*store, "w", "c", examples::COMPLETE_EXAMPLE, 1).await;
    assert_eq!(written.outcome, WriteOutcome::Created);
    let read = store.get_call(&workspace("w"), &id("c")).await.unwrap().unwrap();
    assert_eq!(read, written.call);
    let expected = {
        let mut record: CallRecord = serde_json::from_str(examples::COMPLETE_EXAMPLE).unwrap();
        (record.id, record.workspace_id) = (id("c"), workspace("w"));
        record.to_json()
    };
    assert_eq!(String::from_utf8_lossy(&read.body), String::from_utf8_lossy(&expected));
}

pub(crate) async fn an_absent_record_is_none(database: &impl Database) {
    let store = database.open().await;
    assert_eq!(store.get_call(&workspace("w"), &id("c")).await.unwrap(), None);
}

pub(crate) async fn a_workspace_cannot_read_another(database: &impl Database) {
    let store = database.open().await;
    let mine = put(&*store, "mine", "c", r#"{"summary": "mine"}"#, 1).await;
    assert_eq!(store.get_call(&workspace("theirs"), &id("c")).await.unwrap(), None);
    let theirs = put(&*store, "theirs", "c", r#"{"summary": "theirs"}"#, 2).await;
    assert_eq!(theirs.outcome, WriteOutcome::Created, "the same ID in another workspace is another record");
    assert_eq!(theirs.call.sequence, 1, "a workspace counts its own changes");
    assert_eq!(store.get_call(&workspace("mine"), &id("c")).await.unwrap().unwrap(), mine.call);
    // IDs are case-sensitive.
    assert_eq!(store.get_call(&workspace("MINE"), &id("c")).await.unwrap(), None);
    assert_eq!(store.get_call(&workspace("mine"), &id("C")).await.unwrap(), None);
}

pub(crate) async fn an_acknowledged_write_survives_reopening(database: &impl Database) {
    let store = database.open().await;
    let written = put(&*store, "w", "c", examples::SOURCE_EXAMPLE, 1).await;
    store.close().await;
    drop(store);
    let read = database.open().await.get_call(&workspace("w"), &id("c")).await.unwrap();
    assert_eq!(read, Some(written.call));
}

pub(crate) async fn a_repeated_write_changes_nothing(database: &impl Database) {
    let store = database.open().await;
    let first = put(&*store, "w", "c", r#"{"status": "ongoing", "metadata": {"n": 1.50}}"#, 1).await;
    let again = put(&*store, "w", "c", r#"{"metadata": {"n": 1.50}, "status": "ongoing"}"#, 2).await;
    assert_eq!((again.outcome, &again.call), (WriteOutcome::Unchanged, &first.call));
    let digits = put(&*store, "w", "c", r#"{"metadata": {"n": 1.5}, "status": "ongoing"}"#, 3).await;
    assert_eq!(digits.outcome, WriteOutcome::Replaced, "other digits are another value");
}

pub(crate) async fn a_replacement_keeps_created_at_and_sets_updated_at(database: &impl Database) {
    let store = database.open().await;
    put(&*store, "w", "c", r#"{"status": "ongoing", "agentId": "a"}"#, 10).await;
    let replaced = put(&*store, "w", "c", r#"{"status": "completed"}"#, 20).await;
    assert_eq!(replaced.outcome, WriteOutcome::Replaced);
    let after = record(&replaced);
    assert_eq!((after.created_at, after.updated_at), (at(10), at(20)));
    assert_eq!(after.agent_id, None, "a replacement removes members that it does not have");
    let set_back = record(&put(&*store, "w", "c", r#"{"status": "failed"}"#, 5).await);
    assert_eq!(set_back.updated_at.as_str(), "2026-01-01T00:00:20.000001Z", "a change looks older than the last one");
}

pub(crate) async fn a_write_can_set_created_at_and_updated_at(database: &impl Database) {
    let store = database.open().await;
    let both = r#"{"createdAt": "2025-01-01T10:00:00Z", "updatedAt": "2025-01-01T10:05:00.5Z"}"#;
    let written = record(&put(&*store, "w", "both", both, 1).await);
    assert_eq!(written.created_at.as_str(), "2025-01-01T10:00:00Z");
    assert_eq!(written.updated_at.as_str(), "2025-01-01T10:05:00.5Z");
    let written = record(&put(&*store, "w", "late", r#"{"updatedAt": "2025-01-01T10:05:00Z"}"#, 1).await);
    assert_eq!(written.created_at, written.updated_at, "a record is not created after its last change");
    let written = record(&put(&*store, "w", "late", r#"{"updatedAt": "2024-01-01T00:00:00Z"}"#, 1).await);
    assert_eq!(written.created_at, written.updated_at, "nor by a replacement");
    let written = record(&put(&*store, "w", "early", r#"{"createdAt": "2027-01-01T00:00:00Z"}"#, 1).await);
    assert_eq!(written.created_at, written.updated_at, "a record is not changed before its creation");
}

pub(crate) async fn each_change_gets_the_next_sequence(database: &impl Database) {
    let store = database.open().await;
    let mut sequences = Vec::new();
    for (call, status) in [("a", "ongoing"), ("b", "ongoing"), ("a", "ongoing"), ("a", "completed")] {
        let json = format!(r#"{{"status": "{status}"}}"#);
        sequences.push(put(&*store, "w", call, &json, 1).await.call.sequence);
    }
    assert_eq!(sequences, [1, 2, 1, 3], "a write that changes nothing takes no sequence");
}

pub(crate) async fn concurrent_writes_get_distinct_gapless_sequences(database: &impl Database) {
    let store = database.open().await;
    let tasks = (0..200).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { put(&*store, "w", &format!("c{n}"), "{}", 1).await.call.sequence })
    });
    let mut sequences = HashSet::new();
    for task in tasks.collect::<Vec<_>>() {
        sequences.insert(task.await.unwrap());
    }
    assert_eq!(sequences, (1..=200).collect(), "no sequence is missing or repeated");
}

pub(crate) async fn preconditions_are_checked_in_the_transaction(database: &impl Database) {
    let store = database.open().await;
    let write = |precondition: Precondition, status: &str| {
        let (store, input) = (store.clone(), input(&format!(r#"{{"status": "{status}"}}"#)));
        async move { store.replace_call(&workspace("w"), &id("c"), input.into(), precondition, at(1)).await }
    };
    let only_if = |versions: &[i64]| if_match(VersionSet::OneOf(versions.to_vec()));
    let unless = |versions: &[i64]| if_none_match(VersionSet::OneOf(versions.to_vec()));
    let exists = if_match(VersionSet::Any);
    let absent = if_none_match(VersionSet::Any);
    let failed = |result: Result<WrittenCall, StoreError>| matches!(result, Err(StoreError::PreconditionFailed));
    assert!(failed(write(exists, "ringing").await), "no record to match");
    write(absent.clone(), "ringing").await.unwrap();
    assert!(failed(write(absent, "active").await), "the record exists");
    assert!(failed(write(only_if(&[7]), "active").await));
    write(only_if(&[7, 1]), "active").await.unwrap();
    assert!(failed(write(unless(&[2]), "busy").await));
    // One of many writes with the same precondition succeeds.
    let version = only_if(&[2]);
    let tasks: Vec<_> = (0..20).map(|n| tokio::spawn(write(version.clone(), &format!("s{n}")))).collect();
    let mut wins = 0;
    for task in tasks {
        wins += usize::from(task.await.unwrap().is_ok());
    }
    assert_eq!(wins, 1);
}

pub(crate) async fn a_creation_does_not_replace(database: &impl Database) {
    let store = database.open().await;
    let (ws, call) = (workspace("w"), id("c"));
    let create = || store.create_call(&ws, &call, CallInput::default().into(), None, at(1));
    let first = create().await.unwrap();
    assert_eq!((first.outcome, first.call.sequence), (WriteOutcome::Created, 1));
    assert!(matches!(create().await, Err(StoreError::IdTaken)));
    assert_eq!(put(&*store, "w", "d", "{}", 1).await.call.sequence, 2, "a refused write takes no sequence");
}

pub(crate) async fn a_creation_with_an_idempotency_key_happens_once(database: &impl Database) {
    let store = database.open().await;
    let create = |call: String, json: &str, key: &str, ws: &str, time: Timestamp| {
        let (store, input, ws) = (store.clone(), input(json), workspace(ws));
        let key = Some(IdempotencyKey(key.to_owned()));
        async move { store.create_call(&ws, &id(&call), input.into(), key, time).await }
    };
    let tasks: Vec<_> =
        (0..32).map(|n| tokio::spawn(create(format!("c{n}"), r#"{"agentId": "a"}"#, "k", "w", at(1)))).collect();
    let mut responses = HashSet::new();
    for task in tasks {
        let written = task.await.unwrap().unwrap();
        responses.insert((written.id.to_string(), written.call.sequence, written.call.body));
    }
    assert_eq!(responses.len(), 1, "every copy gets the first response");
    let other = create("other".into(), r#"{"agentId": "b"}"#, "k", "w", at(2)).await;
    assert!(matches!(other, Err(StoreError::IdempotencyKeyReused)));
    let elsewhere = create("c".into(), r#"{"agentId": "b"}"#, "k", "v", at(2)).await.unwrap();
    assert_eq!(elsewhere.call.sequence, 1, "a key belongs to its workspace");
    // The key survives a restart. After 24 hours it is free for another record, and after 48 hours also for the same one.
    store.close().await;
    drop(store);
    let reopened = database.open().await;
    let again = |call: &'static str, agent: &str, time: &str| {
        let (store, time, key) = (reopened.clone(), time.parse().unwrap(), Some(IdempotencyKey("k".to_owned())));
        let input = input(&format!(r#"{{"agentId": "{agent}"}}"#));
        async move { store.create_call(&workspace("w"), &id(call), input.into(), key, time).await }
    };
    for time in ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z"] {
        let replayed = again("late", "a", time).await.unwrap();
        assert!(responses.iter().any(|(first, ..)| *first == replayed.id.to_string()), "{time}");
    }
    assert!(matches!(again("late", "b", "2026-01-02T00:00:00Z").await, Err(StoreError::IdempotencyKeyReused)));
    assert_eq!(again("late", "b", "2026-01-02T00:00:01Z").await.unwrap().id, id("late"));
    assert_eq!(again("later", "b", "2026-01-04T00:00:00Z").await.unwrap().id, id("late"));
    assert_eq!(again("later", "b", "2026-01-04T00:00:01Z").await.unwrap().id, id("later"));
}

pub(crate) async fn a_write_completes_after_its_caller_disconnects(database: &impl Database) {
    let store = database.open().await;
    for n in 0..1000 {
        let (ws, call) = (workspace("w"), id(&format!("c{n}")));
        let write = store.replace_call(&ws, &call, CallInput::default().into(), Precondition::default(), at(1));
        // One poll hands the write over. Tokio's budget for one task would end the loop early.
        let mut write = Box::pin(tokio::task::unconstrained(write));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        drop(write.as_mut().poll(&mut context));
    }
    store.close().await;
    drop(store);
    let reopened = database.open().await;
    for n in 0..1000 {
        assert!(
            reopened.get_call(&workspace("w"), &id(&format!("c{n}"))).await.unwrap().is_some(),
            "write {n} is lost"
        );
    }
}

pub(crate) async fn a_closed_store_refuses_writes(database: &impl Database) {
    let store = database.open().await;
    put(&*store, "w", "c", "{}", 1).await;
    store.check().await.unwrap();
    store.close().await;
    let late = store
        .replace_call(&workspace("w"), &id("d"), CallInput::default().into(), Precondition::default(), at(1))
        .await;
    assert!(matches!(late, Err(StoreError::Unavailable(_))));
    assert!(store.check().await.is_err());
}

pub(crate) async fn a_patch_changes_only_its_members(database: &impl Database) {
    let store = database.open().await;
    put(&*store, "w", "c", r#"{"status":"ongoing","metadata":{"a":1.50,"b":{"c":1,"d":2}},"summary":"s"}"#, 1).await;
    let patch = |json: &str, precondition: Precondition| {
        let (store, patch) = (store.clone(), CallPatch::parse(json.as_bytes(), Handling::Strict).unwrap());
        async move { store.update_call(&workspace("w"), &id("c"), patch.into(), precondition, at(9)).await }
    };
    let any = Precondition::default;
    let json = r#"{"metadata":{"b":{"c":null,"e":0.10}},"summary":null,"status":"completed"}"#;
    let written = patch(json, any()).await.unwrap().unwrap();
    let after = record(&written);
    assert_eq!(after.metadata.as_str(), r#"{"a":1.50,"b":{"d":2,"e":0.10}}"#, "untouched digits stay");
    assert_eq!((after.summary.as_deref(), after.updated_at, after.created_at), (None, at(9), at(1)));
    let again = patch(json, any()).await.unwrap().unwrap();
    assert_eq!((again.outcome, again.call), (WriteOutcome::Unchanged, written.call.clone()));
    for late in [r#"{"status":"ongoing"}"#, r#"{"status":null}"#, r#"{"status":"ringing","summary":"late"}"#] {
        assert!(matches!(patch(late, any()).await, Err(StoreError::FinalStatus)), "{late}");
        let exists = if_match(VersionSet::Any);
        assert!(matches!(patch(late, exists).await, Err(StoreError::FinalStatus)), "{late}");
    }
    patch(r#"{"status":"failed","summary":"late"}"#, any()).await.unwrap();
    let seen = if_match(VersionSet::OneOf(vec![3]));
    assert_eq!(patch(r#"{"status":"ongoing"}"#, seen).await.unwrap().unwrap().outcome, WriteOutcome::Replaced);
    for wrong in [r#"{"mood":1}"#, r#"{"_id":"d"}"#, r#"{"workspaceId":"v"}"#] {
        assert!(matches!(patch(wrong, any()).await, Err(StoreError::Invalid(_))), "{wrong}");
    }
    let large = |name: &str| format!(r#"{{"metadata":{{"{name}":"{}"}}}}"#, "x".repeat(9_000_000));
    patch(&large("one"), any()).await.unwrap();
    let grown = patch(&large("two"), any()).await;
    assert!(matches!(grown, Err(StoreError::Invalid(_))), "a patched record has the size limit of a request");
    let elsewhere =
        store.update_call(&workspace("v"), &id("c"), CallPatch::default().into(), any(), at(9)).await.unwrap();
    assert_eq!(elsewhere, None);
}

pub(crate) async fn a_deletion_appears_in_the_change_feed(database: &impl Database) {
    let store = database.open().await;
    let first = put(&*store, "w", "c", r#"{"summary":"first"}"#, 1).await.call.sequence;
    let other = if_match(VersionSet::OneOf(vec![first + 1]));
    let delete = |precondition| {
        let store = store.clone();
        async move { store.delete_call(&workspace("w"), &id("c"), precondition, at(2)).await }
    };
    assert!(matches!(delete(other).await, Err(StoreError::PreconditionFailed)));
    assert!(!store.delete_call(&workspace("v"), &id("c"), Precondition::default(), at(2)).await.unwrap());
    assert!(delete(Precondition::default()).await.unwrap());
    assert!(!delete(Precondition::default()).await.unwrap());
    assert_eq!(store.get_call(&workspace("w"), &id("c")).await.unwrap(), None);
    put(&*store, "w", "c", r#"{"summary":"second"}"#, 3).await;
    let changes = store.list_call_changes(&workspace("w"), None, 10).await.unwrap();
    let seen: Vec<_> = changes.changes.iter().map(|change| (change.kind.as_str(), change.body.is_some())).collect();
    assert_eq!(seen, [("created", false), ("deleted", false), ("created", true)]);
    assert!(!changes.has_more);
    let rest = store.list_call_changes(&workspace("w"), Some(&changes.changes[1].cursor), 10).await.unwrap();
    assert_eq!(rest.changes, changes.changes[2..]);
    for foreign in [("v", changes.cursor.as_str()), ("w", "AAAA"), ("w", "")] {
        let refused = store.list_call_changes(&workspace(foreign.0), Some(foreign.1), 10).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{foreign:?}");
    }
}

/// The query of each group finds its records, also those with the first and the last valid time.
pub(crate) async fn metrics_include_the_first_and_last_valid_time(database: &impl Database) {
    let store = database.open().await;
    put(&*store, "w", "first", r#"{"startTime":0}"#, 1).await;
    put(&*store, "w", "last", r#"{"startTime":9151487999.999999999}"#, 1).await;
    for key in ["hour", "day", "week", "month"] {
        for zone in ["UTC", "Pacific/Auckland", "America/Los_Angeles"] {
            let query = MetricsQuery::from_query(&format!("groupBy={key}&timezone={zone}")).unwrap();
            let groups = store.get_call_metrics(&workspace("w"), &query).await.unwrap().groups.unwrap();
            assert_eq!(groups.len(), 2, "{key} {zone}");
            for group in groups {
                let page = store.list_calls(&workspace("w"), &ListQuery::from_query(&group.query).unwrap()).await;
                assert_eq!(page.unwrap().calls.len(), 1, "{key} {zone}: {}", group.query);
            }
        }
    }
}

pub(crate) async fn a_cursor_is_valid_only_for_its_query(database: &impl Database) {
    let store = database.open().await;
    for number in 0..5 {
        put(&*store, "w", &format!("c{number}"), r#"{"agentId":"a"}"#, 1).await;
    }
    let query = |text: &str| ListQuery::from_query(text).unwrap();
    let cursor = store.list_calls(&workspace("w"), &query("agentId=a&limit=2")).await.unwrap().next.unwrap();
    let with = |ws: &'static str, text: &str| {
        let (store, query) = (store.clone(), query(text).cursor(cursor.clone()));
        async move { store.list_calls(&workspace(ws), &query).await }
    };
    assert_eq!(with("w", "agentId=a&limit=1000").await.unwrap().calls.len(), 3, "the size of the page may change");
    for (ws, text) in [("v", "agentId=a"), ("w", ""), ("w", "agentId=b"), ("w", "agentId=a&sort=startTime")] {
        assert!(matches!(with(ws, text).await, Err(StoreError::Refused(_))), "{ws} {text}");
    }
    for at in 0..cursor.len() {
        let mut forged = cursor.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let query = query("agentId=a").cursor(String::from_utf8(forged).unwrap());
        let response = store.list_calls(&workspace("w"), &query).await;
        // The version, the epoch, and what the tag proves.
        let is_refused = match at {
            2..12 => matches!(response, Err(StoreError::CursorExpired)),
            _ => matches!(response, Err(StoreError::Refused(_) | StoreError::CursorExpired)),
        };
        assert!(is_refused && (at < 13 || matches!(response, Err(StoreError::Refused(_)))), "{query:?}: {response:?}");
    }
}

/// A record whose bytes another program has changed fails alone, until it is deleted and written again. `damage` changes the
/// stored bytes of "damaged" behind the back of the store.
pub(crate) async fn a_damaged_record_fails_alone(database: &impl Database, damage: impl AsyncFnOnce()) {
    let store = database.open().await;
    for name in ["damaged", "sound"] {
        put(&*store, "w", name, r#"{"summary":"0.10"}"#, 1).await;
    }
    damage().await;
    // A new store has no cached record.
    store.close().await;
    drop(store);
    let store = database.open().await;
    let (workspace, damaged, sound) = (workspace("w"), id("damaged"), id("sound"));
    let is_damaged = |error: Option<StoreError>| assert!(matches!(error, Some(StoreError::Damaged(_))), "{error:?}");
    is_damaged(store.get_call(&workspace, &damaged).await.err());
    is_damaged(store.list_calls(&workspace, &ListQuery::default()).await.err());
    is_damaged(store.list_call_changes(&workspace, None, 10).await.err());
    let mut export = store.export_calls(&workspace, &ExportQuery::default()).await.unwrap();
    let mut last = None;
    while let Some(chunk) = export.recv().await {
        last = Some(chunk);
    }
    is_damaged(last.and_then(Result::err));
    assert!(store.get_call(&workspace, &sound).await.unwrap().is_some());
    // Both are in one group at least once.
    for _ in 0..20 {
        let any = Precondition::default;
        let (failed, written) = tokio::join!(
            store.replace_call(&workspace, &damaged, input(r#"{"summary":"new"}"#).into(), any(), at(2)),
            store.replace_call(&workspace, &sound, input(r#"{"summary":"new"}"#).into(), any(), at(2)),
        );
        is_damaged(failed.err());
        written.unwrap();
    }
    assert!(store.delete_call(&workspace, &damaged, Precondition::default(), at(3)).await.unwrap());
    put(&*store, "w", "damaged", r#"{"summary":"again"}"#, 4).await;
    assert_eq!(store.list_calls(&workspace, &ListQuery::default()).await.unwrap().calls.len(), 2);
    store.close().await;
}
