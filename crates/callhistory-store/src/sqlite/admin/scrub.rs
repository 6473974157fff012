//! The scrub: reads every page of the file in the background, slowly, so that damage is found before someone needs the data.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

use rusqlite::Connection;

use super::{disk::Disk, verify::is_page_sound};
use crate::{error::StoreError, sqlite::open};

/// Pages per burst, and the pause after each: 2 MiB per second.
const BURST_PAGES: u32 = 64;
const PAUSE: Duration = Duration::from_millis(125);
/// From the start of the server to the first pass, and between two passes.
const FIRST_DELAY: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The background thread, which ends when this is dropped.
pub(crate) struct Scrub {
    _stop: Sender<()>,
}

impl Scrub {
    pub(crate) fn start(path: PathBuf, disk: Arc<Disk>) -> Result<Self, StoreError> {
        let (stop, stopped) = mpsc::channel();
        // Whether the store is open after a pause.
        let pause = move |time| matches!(stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        let run = move || {
            let mut delay = FIRST_DELAY;
            while pause(delay) {
                scrub(&path, &disk, || pause(PAUSE));
                delay = INTERVAL;
            }
        };
        let thread = thread::Builder::new().name("sqlite-scrub".to_owned()).spawn(run);
        thread.map_err(|error| StoreError::Open(format!("the scrub cannot be started: {error}")))?;
        Ok(Self { _stop: stop })
    }
}

/// Verifies every page, until the end of the file or until `pause` says that the store is closed.
fn scrub(path: &Path, disk: &Disk, pause: impl Fn() -> bool) {
    let db = match open::open_reader(path) {
        Ok(db) => db,
        Err(error) => return tracing::warn!(%error, "the scrub cannot read the database"),
    };
    let (mut number, mut suspects) = (0, Vec::new());
    loop {
        for _ in 0..BURST_PAGES {
            number += 1;
            match is_page_sound(&db, number) {
                Some(true) => {}
                Some(false) => suspects.push(number),
                None => return confirm(&db, disk, suspects, pause),
            }
        }
        if !pause() {
            return;
        }
    }
}

/// Verifies the suspects again when all of the WAL was in the file: until then, a page can be missing in the file, or torn by a
/// crash, while the WAL has it.
fn confirm(db: &Connection, disk: &Disk, mut suspects: Vec<u32>, pause: impl Fn() -> bool) {
    let since = disk.truncations();
    while !suspects.is_empty() && disk.wal_bytes() > 0 && disk.truncations() == since {
        if !pause() {
            return;
        }
    }
    suspects.retain(|number| is_page_sound(db, *number) == Some(false));
    for page in &suspects {
        tracing::error!(page, "a page of the database does not match its checksum");
    }
    if !suspects.is_empty() {
        tracing::error!(damaged = suspects.len(), "the scrub found damaged pages; restore a backup");
    }
    disk.damaged_pages.store(suspects.len() as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// A pass finds each damaged page, and no other.
    #[test]
    fn a_pass_counts_the_damaged_pages() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("a.db");
        let (lock, db) = open::open_writer(&path, |_| Ok(())).unwrap();
        drop((lock, db));
        let disk = Disk::new(&path, 0);
        scrub(&path, &disk, || true);
        assert_eq!(disk.damaged_pages.load(Ordering::Relaxed), 0);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        for page in [3, 7] {
            file.write_all_at(b"damage", 4096 * page + 1000).unwrap();
        }
        scrub(&path, &disk, || true);
        assert_eq!(disk.damaged_pages.load(Ordering::Relaxed), 2);
    }

    /// While a reader holds back a checkpoint, new pages can be holes in the file. The WAL has them.
    #[test]
    fn a_page_that_only_the_wal_has_is_no_damage() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("a.db");
        let (_lock, db) = open::open_writer(&path, |_| Ok(())).unwrap();
        db.execute_batch("CREATE TABLE t (x); PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        let fill = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO t SELECT randomblob(9000) FROM n";
        db.execute_batch(fill).unwrap();
        let reader = open::open_reader(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        // Later frames of pages that exist, and new pages, beyond the snapshot of the reader.
        db.execute_batch(&format!(
            "UPDATE t SET x = randomblob(9000) WHERE rowid % 2; {fill}; PRAGMA wal_checkpoint(PASSIVE)"
        ))
        .unwrap();
        let disk = Disk::new(&path, 0);
        let pages = u32::try_from(path.metadata().unwrap().len() / 4096).unwrap();
        let is_hole = |number| is_page_sound(&db, number) == Some(false);
        assert!((1..=pages).any(is_hole), "the checkpoint was not held back");
        let pauses = std::cell::Cell::new(0);
        let pause = || {
            pauses.set(pauses.get() + 1);
            if pauses.get() == 20 {
                reader.execute_batch("COMMIT").unwrap();
                db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
                disk.note_truncation();
            }
            true
        };
        scrub(&path, &disk, pause);
        assert!(pauses.get() >= 20, "it did not wait for the checkpoint");
        assert_eq!(disk.damaged_pages.load(Ordering::Relaxed), 0);
    }

    /// The page with the byte that SQLite locks is never written.
    #[test]
    fn the_lock_page_is_no_damage() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("a.db");
        let (lock, db) = open::open_writer(&path, |_| Ok(())).unwrap();
        drop((lock, db));
        let lock_page = 0x4000_0000 / 4096 + 1;
        std::fs::File::options().write(true).open(&path).unwrap().set_len((lock_page + 1) * 4096).unwrap();
        let db = open::open_reader(&path).unwrap();
        let number = u32::try_from(lock_page).unwrap();
        assert_eq!(
            [number - 1, number, number + 1].map(|page| is_page_sound(&db, page)),
            [false, true, false].map(Some)
        );
    }
}
