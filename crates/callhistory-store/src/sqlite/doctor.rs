//! What an operator wants to know of an embedded database, found out without changing it.

use std::path::Path;

use rusqlite::Connection;

use super::{
    backup::damage,
    disk::{MAX_WAL_BYTES, beside, free_bytes},
    open, recount,
};
use crate::{Finding, StoreError};

/// Less room than this on the disk is worth a word, in bytes.
const LITTLE_ROOM: u64 = 1024 * 1024 * 1024;

/// Looks at the database; with `whole`, reads all of it.
pub(crate) fn examine(database: &Path, whole: bool) -> Vec<Finding> {
    let mut findings = vec![Finding::good("engine", format!("SQLite {}, embedded", rusqlite::version()))];
    if !database.exists() {
        let detail = format!("{} does not exist yet; serving makes it", database.display());
        findings.push(Finding::doubtful("database", detail));
        return findings;
    }
    let is_served = open::is_in_use(database);
    findings.push(Finding::good("server", if is_served { "is running on this database" } else { "is not running" }));
    match open::open_reader(database).and_then(|db| open::check_owner(&db, database).map(|()| db)) {
        Ok(db) => {
            findings.push(state_of_schema(&db));
            if whole {
                findings.extend([integrity(&db), metrics(&db)]);
            } else {
                findings.push(Finding::good("integrity", "not looked at; pass --whole"));
            }
        }
        Err(error) => findings.push(Finding::bad("database", error.to_string())),
    }
    findings.push(permissions(database));
    let wal = beside(database, "-wal").metadata().map_or(0, |file| file.len());
    let wal_detail = format!("{} MiB", wal / 1024 / 1024);
    findings.push(if wal > MAX_WAL_BYTES {
        Finding::doubtful("wal", format!("{wal_detail}: a program other than the server holds it back"))
    } else {
        Finding::good("wal", wal_detail)
    });
    if let Some(free) = free_bytes(database) {
        let size = database.metadata().map_or(0, |file| file.len());
        let detail = format!("{} MiB free, {} MiB taken by the database", free / 1024 / 1024, size / 1024 / 1024);
        findings.push(match free {
            0..16_777_216 => Finding::bad("disk", detail),
            _ if free < LITTLE_ROOM => Finding::doubtful("disk", detail),
            _ => Finding::good("disk", detail),
        });
    }
    if is_served && !beside(database, ".ballast").exists() {
        let detail = "no room is kept aside: the disk is full, or was when the server started";
        findings.push(Finding::doubtful("ballast", detail));
    }
    findings
}

fn state_of_schema(db: &Connection) -> Finding {
    let version = "SELECT max(version) FROM refinery_schema_history";
    match db.query_row(version, [], |row| row.get::<_, i64>(0)) {
        Ok(version) if version == open::newest_migration() => Finding::good("schema", format!("version {version}")),
        Ok(version) if version < open::newest_migration() => {
            Finding::doubtful("schema", format!("version {version}; the next start of the server raises it"))
        }
        Ok(version) => Finding::bad("schema", format!("version {version} is of a newer program than this one")),
        Err(error) => Finding::bad("schema", StoreError::from(error).to_string()),
    }
}

fn integrity(db: &Connection) -> Finding {
    match damage(db) {
        Ok(None) => Finding::good("integrity", "every page was read and is sound"),
        Ok(Some(damage)) => Finding::bad("integrity", damage),
        Err(error) => Finding::bad("integrity", error.to_string()),
    }
}

fn metrics(db: &Connection) -> Finding {
    match recount::are_right(db) {
        Ok(true) => Finding::good("metrics", "are counted from what the records say"),
        Ok(false) => Finding::bad("metrics", "are not those of the records: stop the server and run rebuild-metrics"),
        Err(error) => Finding::bad("metrics", error.to_string()),
    }
}

#[cfg(unix)]
fn permissions(database: &Path) -> Finding {
    use std::os::unix::fs::PermissionsExt as _;
    let others = |path: &Path| path.metadata().is_ok_and(|found| found.permissions().mode() & 0o007 != 0);
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if others(database) && others(folder) {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        return Finding::doubtful("permissions", format!("others can read {}: chmod 700 it", folder.display()));
    }
    Finding::good("permissions", "others cannot reach the files")
}

#[cfg(not(unix))]
fn permissions(_: &Path) -> Finding {
    Finding::good("permissions", "not looked at on this system")
}
