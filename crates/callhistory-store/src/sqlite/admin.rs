//! The disk of an embedded database, and what operators do with the database.

pub(super) mod access;
pub(super) mod api_keys;
pub(super) mod backup;
pub(super) mod diagnose;
pub(super) mod disk;
pub(super) mod files;
pub(super) mod replay;
pub(super) mod scrub;
pub(super) mod verify;
