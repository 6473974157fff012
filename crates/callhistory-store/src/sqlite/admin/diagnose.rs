//! Diagnostics of an embedded database, without changing it.

use std::path::Path;

use rusqlite::Connection;

use super::{
    backup::OTHER_NAME,
    disk::{MAX_WAL_BYTES, free_bytes, is_read_only},
    files::{is_in_use, is_used_under_another_name},
    verify::damage,
};
use crate::{
    diagnostic::Diagnostic,
    error::StoreError,
    partial_file::{folder, sibling},
    sqlite::{columnar::rebuild, open},
};

/// Free space below which the disk is a warning, in bytes.
const LOW_DISK_BYTES: u64 = 1024 * 1024 * 1024;

/// Checks the database; with `full`, reads all of it.
pub(crate) fn diagnose(database: &Path, full: bool) -> Vec<Diagnostic> {
    let mut diagnostics = vec![Diagnostic::ok("engine", format!("SQLite {}, embedded", rusqlite::version()))];
    if !database.exists() {
        let detail = format!("{} does not exist yet; the server creates it", database.display());
        diagnostics.push(Diagnostic::warning("database", detail));
        return diagnostics;
    }
    if is_used_under_another_name(database) {
        diagnostics.push(Diagnostic::error("database", format!("{} {OTHER_NAME}", database.display())));
        return diagnostics;
    }
    let is_served = is_in_use(database);
    diagnostics
        .push(Diagnostic::ok("server", if is_served { "is running on this database" } else { "is not running" }));
    match open::open_reader(database).and_then(|db| open::check_owner(&db, database).map(|()| db)) {
        Ok(db) => {
            diagnostics.push(state_of_schema(&db));
            if full {
                diagnostics.extend([integrity(&db), metrics(&db)]);
            } else {
                diagnostics.push(Diagnostic::ok("integrity", "not checked; pass --full"));
            }
        }
        Err(error) => diagnostics.push(Diagnostic::error("database", error.to_string())),
    }
    diagnostics.push(permissions(database));
    let wal = sibling(database, "-wal").metadata().map_or(0, |file| file.len());
    let wal_detail = format!("{} MiB", wal / 1024 / 1024);
    diagnostics.push(if wal > MAX_WAL_BYTES {
        Diagnostic::warning("wal", format!("{wal_detail}: another program holds it"))
    } else {
        Diagnostic::ok("wal", wal_detail)
    });
    if is_read_only(database) {
        diagnostics.push(Diagnostic::error("disk", "is read-only; reads go on, writes do not"));
    }
    if let Some(free) = free_bytes(database) {
        let size = database.metadata().map_or(0, |file| file.len());
        let detail = format!("{} MiB free, the database has {} MiB", free / 1024 / 1024, size / 1024 / 1024);
        diagnostics.push(match free {
            0..16_777_216 => Diagnostic::error("disk", detail),
            _ if free < LOW_DISK_BYTES => Diagnostic::warning("disk", detail),
            _ => Diagnostic::ok("disk", detail),
        });
    }
    if is_served && !sibling(database, ".ballast").exists() {
        let detail = "there is none: the disk is full, or was when the server started";
        diagnostics.push(Diagnostic::warning("ballast", detail));
    }
    diagnostics
}

fn state_of_schema(db: &Connection) -> Diagnostic {
    let version = "SELECT max(version) FROM refinery_schema_history";
    match db.query_row(version, [], |row| row.get::<_, i64>(0)) {
        Ok(version) if version == open::newest_migration() => Diagnostic::ok("schema", format!("version {version}")),
        Ok(version) if version < open::newest_migration() => {
            Diagnostic::warning("schema", format!("version {version}; the next start of the server migrates it"))
        }
        Ok(version) => Diagnostic::error("schema", format!("version {version} is newer than this program")),
        Err(error) => Diagnostic::error("schema", StoreError::from(error).to_string()),
    }
}

fn integrity(db: &Connection) -> Diagnostic {
    match damage(db) {
        Ok(None) => Diagnostic::ok("integrity", "every page was read and is valid"),
        Ok(Some(damage)) => Diagnostic::error("integrity", damage),
        Err(error) => Diagnostic::error("integrity", error.to_string()),
    }
}

fn metrics(db: &Connection) -> Diagnostic {
    match rebuild::are_consistent(db) {
        Ok(true) => Diagnostic::ok("metrics", "the columns match the records"),
        Ok(false) => Diagnostic::error(
            "metrics",
            "the columns do not match the records; stop the server and run rebuild-metrics",
        ),
        Err(error) => Diagnostic::error("metrics", error.to_string()),
    }
}

#[cfg(unix)]
fn permissions(database: &Path) -> Diagnostic {
    use std::os::unix::fs::PermissionsExt as _;
    let others = |path: &Path| path.metadata().is_ok_and(|found| found.permissions().mode() & 0o007 != 0);
    let folder = folder(database);
    if others(database) && others(folder) {
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        return Diagnostic::warning("permissions", format!("others can read {}: chmod 700 it", folder.display()));
    }
    Diagnostic::ok("permissions", "others cannot reach the files")
}

#[cfg(not(unix))]
fn permissions(_: &Path) -> Diagnostic {
    Diagnostic::ok("permissions", "not checked on this system")
}
