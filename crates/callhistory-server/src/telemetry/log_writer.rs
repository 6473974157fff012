//! Writes the log to standard error from a thread of its own, many lines with one system call.
//!
//! `tracing-appender` makes a system call for each line (0.57 s instead of 0.21 s of processor time for 500,000 lines), bounds the
//! number of waiting lines and not their bytes, and when it ends with a full queue it can wait for its reader without a timeout.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// Maximum size of the lines that wait to be written, in bytes. Further lines are lost: a log that nobody reads must not stop
/// the service.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Capacity that an empty buffer keeps, in bytes.
const MIN_CAPACITY: usize = 256 * 1024;
/// How long lines are collected after a batch. The first line after a pause is written at once.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);
/// How long the end of the process waits for the last lines.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Adds lines to the next batch.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<Shared>);

/// Writes the lines that are left when it is dropped.
pub(crate) struct LogGuard(Arc<Shared>);

#[derive(Default)]
struct Shared {
    batch: Mutex<Batch>,
    changed: Condvar,
}

#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    lost: u64,
    is_last: bool,
    is_written: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes batches until the last one. Errors are ignored: a closed standard error leaves nobody to report them to.
    fn write_batches(&self, mut output: impl Write) {
        // Two buffers alternate, because one that grows from nothing is copied as it grows.
        let (mut is_last, mut lines) = (false, Vec::new());
        while !is_last {
            let is_empty = |batch: &mut Batch| batch.lines.is_empty() && !batch.is_last;
            let mut batch = self.changed.wait_while(self.lock(), is_empty).unwrap_or_else(PoisonError::into_inner);
            is_last = batch.is_last;
            std::mem::swap(&mut batch.lines, &mut lines);
            let lost = std::mem::take(&mut batch.lost);
            drop(batch);
            drop(output.write_all(&lines));
            lines.clear();
            lines.shrink_to(MIN_CAPACITY);
            if lost > 0 {
                let message = r#"{"level":"WARN","message":"lines of the log were lost","lines":"#;
                drop(writeln!(output, "{message}{lost}}}"));
            }
            if !is_last {
                thread::sleep(BATCH_INTERVAL);
            }
        }
        self.lock().is_written = true;
        self.changed.notify_all();
    }
}

/// Starts the thread that writes.
pub(crate) fn start(output: impl Write + Send + 'static) -> io::Result<(LogWriter, LogGuard)> {
    let shared = Arc::new(Shared::default());
    let writing = Arc::clone(&shared);
    thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_batches(output))?;
    Ok((LogWriter(Arc::clone(&shared)), LogGuard(shared)))
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut batch = self.0.lock();
        if batch.lines.len() + line.len() > MAX_BYTES {
            batch.lost += 1;
            return Ok(line.len());
        }
        let is_first = batch.lines.is_empty();
        batch.lines.extend_from_slice(line);
        drop(batch);
        if is_first {
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut batch = self.0.lock();
        batch.is_last = true;
        self.0.changed.notify_all();
        drop(self.0.changed.wait_timeout_while(batch, SHUTDOWN_TIMEOUT, |batch| !batch.is_written));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that blocks while the test holds its lock.
    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_in_order() {
        let output = Output::default();
        let (mut lines, guard) = start(output.clone()).unwrap();
        for number in 0..10_000 {
            writeln!(lines, "{number}").unwrap();
        }
        drop(guard);
        let expected: String = (0..10_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8(output.0.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn an_unread_log_has_bounded_memory_and_reports_lost_lines() {
        let output = Output::default();
        let (mut lines, guard) = start(output.clone()).unwrap();
        let blocked = output.0.lock().unwrap();
        let line = [b'x'; 1024];
        for _ in 0..(2 * MAX_BYTES / line.len()) {
            lines.write_all(&line).unwrap();
        }
        assert!(lines.0.lock().lines.len() <= MAX_BYTES);
        drop(blocked);
        drop(guard);
        let written = output.0.lock().unwrap();
        // The report follows the batch that lost lines, which need not be the last one.
        let is_reported = String::from_utf8_lossy(&written).contains("lines of the log were lost");
        assert!(is_reported && written.len() <= 2 * MAX_BYTES, "{}", written.len());
    }

    /// The end of the process does not wait for a reader that never comes.
    #[test]
    fn an_unread_log_does_not_prevent_the_end() {
        let output = Output::default();
        let (mut lines, guard) = start(output.clone()).unwrap();
        let blocked = output.0.lock().unwrap();
        while lines.0.lock().lost == 0 {
            lines.write_all(&[b'x'; 1024]).unwrap();
        }
        drop(guard);
        drop(blocked);
    }
}
