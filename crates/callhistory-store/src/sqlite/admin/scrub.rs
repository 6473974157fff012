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
    let (mut number, mut damaged) = (0, 0_u64);
    loop {
        for _ in 0..BURST_PAGES {
            number += 1;
            match is_page_sound(&db, number) {
                Some(true) => {}
                Some(false) => {
                    tracing::error!(page = number, "a page of the database does not match its checksum");
                    damaged += 1;
                }
                None => {
                    disk.damaged_pages.store(damaged, Ordering::Relaxed);
                    let pages = number - 1;
                    if damaged == 0 {
                        tracing::debug!(pages, "the scrub found every page sound");
                    } else {
                        tracing::error!(pages, damaged, "the scrub found damaged pages; restore a backup");
                    }
                    return;
                }
            }
        }
        if !pause() {
            return;
        }
    }
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
}
