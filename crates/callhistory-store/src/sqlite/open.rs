//! Opens a SQLite database: its directory and file, the settings that durability depends on, the migrations.

use std::{
    fs::{DirBuilder, File},
    io,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    admin::{
        access, disk,
        files::{DatabaseLock, cannot_open},
    },
    functions, page_checksum,
};
use crate::{error::StoreError, partial_file::sibling};

/// Older versions can corrupt the WAL.
const MIN_SQLITE_VERSION: i32 = 3_051_003;
/// Marks the file as ours: "CALH".
const APPLICATION_ID: i64 = 0x4341_4c48;
const STATEMENT_CACHE_SIZE: usize = 64;
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Each setting with the value that it must read back as.
const COMMON_SETTINGS: &[(&str, &str)] = &[
    ("synchronous", "2"),
    ("foreign_keys", "1"),
    ("trusted_schema", "0"),
    ("cell_size_check", "1"),
    ("secure_delete", "1"),
    ("temp_store", "2"),
    // A mapped file turns an I/O error into a crash.
    ("mmap_size", "0"),
    ("journal_size_limit", "67108864"),
];

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The newest migration of this version.
pub(crate) fn newest_migration() -> i64 {
    let runner = migrations::migrations::runner();
    runner.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0)
}

/// Opens the writing connection: locks the database for this process, migrates it, and runs `prepare`.
pub(crate) fn open_writer(
    path: &Path,
    prepare: impl Fn(&Connection) -> Result<(), StoreError>,
) -> Result<(DatabaseLock, Connection), StoreError> {
    if rusqlite::version_number() < MIN_SQLITE_VERSION {
        return Err(StoreError::Open(format!("SQLite {} is too old", rusqlite::version())));
    }
    open_exclusively(path, prepare).map_err(|error| access::explain(path, error))
}

fn open_exclusively(
    path: &Path,
    prepare: impl Fn(&Connection) -> Result<(), StoreError>,
) -> Result<(DatabaseLock, Connection), StoreError> {
    create_directory(path).map_err(|error| cannot_open(path, &error))?;
    let lock = DatabaseLock::acquire(path)?;
    match open_locked(path, &prepare) {
        // A full disk has many errors, depending on the file that cannot grow. The ballast lets it start.
        Err(error) if disk::is_nearly_full(path) => {
            disk::release_ballast(&sibling(path, ".ballast"));
            let full = |_| StoreError::Full(format!("{} cannot be opened: {error}", path.display()));
            Ok((lock, open_locked(path, &prepare).map_err(full)?))
        }
        opened => Ok((lock, opened?)),
    }
}

fn open_locked(path: &Path, prepare: impl Fn(&Connection) -> Result<(), StoreError>) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = page_checksum::open(path, flags).map_err(|error| cannot_open(path, &error))?;
    mark_owner(&db, path)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Open(format!("{} cannot be switched to WAL mode", path.display())));
    }
    configure(&db, &[("query_only", "0"), ("cache_size", "-40960")])?;
    migrate(&mut db, path)?;
    prepare(&db)?;
    Ok(db)
}

/// Opens an unfinished copy of a database for writing.
pub(crate) fn open_copy(path: &Path) -> Result<Connection, StoreError> {
    open_locked(path, |_| Ok(()))
}

/// Closes a copy, which is then one file without a WAL.
pub(crate) fn close_copy(copy: Connection) -> Result<(), StoreError> {
    let mode: String = copy.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0))?;
    if mode != "delete" {
        return Err(StoreError::Internal("the copy is still in WAL mode".to_owned()));
    }
    copy.close().map_err(|(_, error)| error.into())
}

/// Opens an existing file, also on a read-only file system.
fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error: rusqlite::Error| {
        let refused = cannot_open(path, &error);
        match StoreError::from(error) {
            // The file is there: the process has no free file descriptor, or the disk is busy.
            StoreError::Unavailable(_) if path.exists() => StoreError::Unavailable(refused.to_string()),
            _ => refused,
        }
    };
    if !disk::is_read_only(path) {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        return page_checksum::open(path, flags).map_err(failed);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = page_checksum::open(path, flags).map_err(failed)?;
    // The other files of the database are there: a server uses it through another mount, or has crashed.
    if db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).is_ok() {
        return Ok(db);
    }
    if sibling(path, "-wal").metadata().is_ok_and(|wal| wal.len() > 0) {
        let remedy = "the disk is read-only, and its write-ahead log of a crash must be recovered first: mount the disk \
                      writable, or copy callhistory.db and callhistory.db-wal to another one";
        return Err(cannot_open(path, &remedy));
    }
    // SQLite cannot create the file of its locks.
    let text = path.to_str().ok_or_else(|| cannot_open(path, &"its path is not UTF-8"))?;
    let name = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let uri = format!("file:{name}?immutable=1");
    page_checksum::open(Path::new(&uri), flags | OpenFlags::SQLITE_OPEN_URI).map_err(failed)
}

/// A connection that only reads.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    try_open_reader(path).map_err(|error| access::explain(path, error))
}

fn try_open_reader(path: &Path) -> Result<Connection, StoreError> {
    let db = open_existing(path)?;
    // The header is read again by each connection, and can be damaged since the start.
    if !page_checksum::are_verified(&db) {
        check_owner(&db, path)?;
    }
    configure(&db, &[("query_only", "1"), ("cache_size", "-8192")])?;
    functions::register_functions(&db)?;
    Ok(db)
}

/// A second writing connection, which may belong to another process than the writer.
pub(crate) fn open_second_writer(path: &Path) -> Result<Connection, StoreError> {
    try_open_second_writer(path).map_err(|error| access::explain(path, error))
}

fn try_open_second_writer(path: &Path) -> Result<Connection, StoreError> {
    let db = open_existing(path)?;
    check_owner(&db, path)?;
    configure(&db, &[("query_only", "0"), ("cache_size", "-512")])?;
    db.prepare("SELECT id FROM api_key").map_err(|_| {
        let message = format!("{} is in use by an older version; stop it first", path.display());
        StoreError::Open(message)
    })?;
    Ok(db)
}

/// Checks that a database that cannot be migrated now can be read by this version.
pub(crate) fn check_readable(db: &Connection, path: &Path) -> Result<(), StoreError> {
    check_owner(db, path)?;
    let version = "SELECT max(version) FROM refinery_schema_history";
    if db.query_row(version, [], |row| row.get::<_, i64>(0))? == newest_migration() {
        return Ok(());
    }
    let message = "is of another version, and cannot be migrated on a read-only disk";
    Err(StoreError::Open(format!("the database {} {message}", path.display())))
}

/// Refuses a database of another program.
pub(crate) fn check_owner(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let id: i64 =
        db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(|error| cannot_open(path, &error))?;
    if id != APPLICATION_ID {
        return Err(StoreError::Open(format!("{} is not a database of this program", path.display())));
    }
    require_checksums(db, path)
}

/// The sequence before the first change of a workspace, for a database that was restored in this minute since 1970, or never
/// (0). Sequences before a restore are not issued again, unless there were more than 16 million a minute.
pub(crate) fn first_sequence(restored: i64) -> i64 {
    restored << 24
}

/// Creates the directory of the database, readable only by its owner: records are personal data.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)?;
    // A new directory is durable once its parent is synced.
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn require_checksums(db: &Connection, path: &Path) -> Result<(), StoreError> {
    if page_checksum::are_verified(db) {
        return Ok(());
    }
    let message =
        "has pages without checksums: its header is damaged, or another program has rewritten it; restore a backup";
    Err(StoreError::Damaged(format!("the database {} {message}", path.display())))
}

/// Marks a new file as a database of this program, and refuses a file of another one.
fn mark_owner(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let open_error = |error: rusqlite::Error| cannot_open(path, &error);
    let id: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(open_error)?;
    if id == APPLICATION_ID {
        return require_checksums(db, path);
    }
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(open_error)?;
    if id != 0 || tables != 0 || !page_checksum::are_verified(db) {
        return Err(StoreError::Open(format!("{} is a database of another program", path.display())));
    }
    db.pragma_update(None, "application_id", APPLICATION_ID).map_err(open_error)
}

/// Sets the settings that durability depends on, and reads them back: SQLite silently ignores an unknown setting.
fn configure(db: &Connection, own: &[(&str, &str)]) -> Result<(), StoreError> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(STATEMENT_CACHE_SIZE);
    // Otherwise SQLite plans a statement again for other bound values, which takes longer than most statements.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    for (name, value) in COMMON_SETTINGS.iter().chain(own) {
        db.execute_batch(&format!("PRAGMA {name} = {value}"))?;
        let actual: i64 = db.pragma_query_value(None, name, |row| row.get(0))?;
        if actual.to_string() != *value {
            return Err(StoreError::Open(format!("SQLite does not take the setting {name} = {value}: it is {actual}")));
        }
    }
    Ok(())
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), StoreError> {
    migrations::migrations::runner().run(db).map(drop).map_err(|error| match error.kind() {
        refinery::error::Kind::MissingVersion(migration) => StoreError::Open(format!(
            "the database {} is from a newer version (migration {migration}); use that version or a later one",
            path.display()
        )),
        _ => StoreError::Open(format!("the database {} cannot be migrated: {error}", path.display())),
    })
}
