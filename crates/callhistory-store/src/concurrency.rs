//! Machinery that the engines share: fairness between workspaces, group commit, notification, export streams.

pub(crate) mod change_notifier;
pub(crate) mod export_stream;
pub(crate) mod fair_semaphore;
pub(crate) mod group_commit;
