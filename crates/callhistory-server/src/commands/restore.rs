//! The sub-command `restore`: restores a backup, and says what comes back with it.

use std::{path::Path, time::Duration};

use callhistory_model::Timestamp;
use callhistory_store::{ApiKey, DatabaseUrl};

use super::{CommandError, describe, keys};

/// Restores a backup; returns what to print.
pub(super) fn run(url: &DatabaseUrl, file: &Path, revoke_keys: bool, now: &Timestamp) -> Result<String, CommandError> {
    let backup = callhistory_store::restore(file, url, revoke_keys, now)?;
    let mut text = format!("{url} holds {}. Followers of the change feed must start again.", describe(&backup));
    if let Some(last) = &backup.last_change {
        let minutes = now.unix_nanos().saturating_sub(last.unix_nanos()).max(0).unsigned_abs() / 60_000_000_000;
        let age = humantime::format_duration(Duration::from_secs(minutes * 60));
        text.push_str(&format!(
            "\nWarning: the last change in the backup is of {last}, {age} ago. Records that were deleted since then exist \
             again: delete them again."
        ));
    }
    let valid: Vec<_> = backup.keys.iter().filter(|key| keys::state(key, now) == "active").collect();
    if valid.is_empty() {
        return Ok(text);
    }
    if revoke_keys {
        text.push_str(&format!(
            "\nAll keys are revoked, {} of them were valid. Create new ones with `keys create`.",
            valid.len()
        ));
        return Ok(text);
    }
    text.push_str(
        "\nWarning: these keys are valid, also those that were revoked since the backup. Revoke them with `keys revoke \
         ID`, or restore with --revoke-keys.",
    );
    let line = |key: &&ApiKey| {
        let workspace = key.workspace.as_ref().map_or("(operator)", |workspace| workspace.as_str());
        // Quoted: a name can have any characters.
        format!("\n  {}  {workspace}  created {}  {:?}", key.id, key.created_at, key.name)
    };
    text.extend(valid.iter().map(line));
    Ok(text)
}
