//! The sub-command `restore`: restores a backup, and says what comes back with it.

use std::{path::Path, time::Duration};

use callhistory_model::Timestamp;
use callhistory_store::{ApiKey, DatabaseUrl, RestoreOptions};

use super::{CommandError, describe, keys};

/// Restores a backup; returns what to print.
pub(super) fn run(
    url: &DatabaseUrl,
    file: &Path,
    options: RestoreOptions<'_>,
    now: &Timestamp,
) -> Result<String, CommandError> {
    let backup = callhistory_store::restore(file, url, options, now)?;
    let mut text = format!("{url} holds {}. Followers of the change feed must start again.", describe(&backup));
    let age = backup.last_change.as_ref().map(|last| {
        let minutes = now.unix_nanos().saturating_sub(last.unix_nanos()).max(0).unsigned_abs() / 60_000_000_000;
        let age = humantime::format_duration(Duration::from_secs(minutes * 60));
        format!("The last change in the backup is of {last}, {age} ago.")
    });
    match (options.deletions_from, age) {
        (Some(old), age) => text.push_str(&format!(
            "\n{} By {}, {} records were deleted again and {} keys revoked again.",
            age.unwrap_or_default(),
            old.display(),
            backup.deleted_again,
            backup.revoked_again
        )),
        (None, Some(age)) => text.push_str(&format!(
            "\nWarning: {age} Records that were deleted since then exist again: delete them again, or restore with \
             --deletions-from OLD."
        )),
        (None, None) => {}
    }
    let valid: Vec<_> = backup.keys.iter().filter(|key| keys::state(key, now) == "active").collect();
    if options.revokes_keys {
        text.push_str("\nAll keys of the backup are revoked. Create new ones with `keys create`.");
    } else if !valid.is_empty() {
        let known =
            if options.deletions_from.is_some() { "" } else { ", also those that were revoked since the backup" };
        text.push_str(&format!(
            "\nWarning: these keys are valid{known}. Revoke them with `keys revoke ID`, or restore with --revoke-keys."
        ));
        text.extend(valid.iter().map(line));
    }
    Ok(text)
}

fn line(key: &&ApiKey) -> String {
    let workspace = key.workspace.as_ref().map_or("(operator)", |workspace| workspace.as_str());
    // Quoted: a name can have any characters.
    format!("\n  {}  {workspace}  created {}  {:?}", key.id, key.created_at, key.name)
}
