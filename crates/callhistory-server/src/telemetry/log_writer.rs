//! Writes the log to standard error from a thread of its own, in batches: `tracing-appender` alone makes one system call for each
//! line, which costs more than a read.

use std::{
    io::{self, BufWriter, Write},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that wait to be written. Further ones are lost: a log that nobody reads must not stop the service.
const MAX_LINES: usize = 16 * 1024;
/// The largest system call, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// How long lines are collected after a batch. The first line after a pause is written at once.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);

/// An output whose flush ends a batch. Errors are ignored: a closed standard error leaves nobody to report them to.
struct BatchWriter<W: Write> {
    output: BufWriter<W>,
    lost: Arc<OnceLock<ErrorCounter>>,
    reported: usize,
}

impl<W: Write> Write for BatchWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        drop(self.output.write_all(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let lost = self.lost.get().map_or(0, ErrorCounter::dropped_lines);
        let lines = lost - self.reported;
        if lines > 0 {
            self.reported = lost;
            let message = r#"{"level":"WARN","message":"lines of the log were lost","lines":"#;
            drop(writeln!(self.output, "{message}{lines}}}"));
        }
        drop(self.output.flush());
        thread::sleep(BATCH_INTERVAL);
        Ok(())
    }
}

/// Starts the thread. It writes the lines that are left when the guard is dropped, for about a second at most.
pub(crate) fn start(output: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    let lost = Arc::new(OnceLock::new());
    let output = BufWriter::with_capacity(BATCH_BYTES, output);
    let batches = BatchWriter { output, lost: Arc::clone(&lost), reported: 0 };
    let (lines, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(MAX_LINES).thread_name("log").finish(batches);
    lost.get_or_init(|| lines.error_counter());
    (lines, guard)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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
        let (mut lines, guard) = start(output.clone());
        for number in 0..10_000 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        drop(guard);
        let expected: String = (0..10_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(String::from_utf8(output.0.lock().unwrap().clone()).unwrap(), expected);
    }

    #[test]
    fn an_unread_log_has_bounded_memory_and_reports_lost_lines() {
        let output = Output::default();
        let (mut lines, guard) = start(output.clone());
        let blocked = output.0.lock().unwrap();
        for _ in 0..2 * MAX_LINES {
            lines.write_all(b"a line of the log\n").unwrap();
        }
        let lost = lines.error_counter().dropped_lines();
        drop(blocked);
        drop(guard);
        let written = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        let report = format!(r#"{{"level":"WARN","message":"lines of the log were lost","lines":{lost}}}"#);
        assert!(lost > 0 && written.contains(&report), "{lost} lines were lost");
        assert_eq!(written.lines().filter(|line| *line == "a line of the log").count(), 2 * MAX_LINES - lost);
    }
}
