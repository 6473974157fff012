//! The way of the log to standard error. Whoever has a line puts it into memory, and a thread of its own writes many of them
//! with one system call: a line for each request must not cost more than the request.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, in bytes. Further ones are lost: a log that nobody reads must not stop the service.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What is kept of that memory when there are fewer again.
const KEPT_BYTES: usize = 256 * 1024;
/// How long lines are gathered after some have been written. The first one after a pause is written at once.
const GATHERING: Duration = Duration::from_millis(10);
/// How long the end of the process waits for the last lines.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Shared>);

/// Writes what is left when it is dropped.
pub(crate) struct Guard(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    lost: u64,
    is_over: bool,
    is_done: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self, mut output: impl Write) {
        // Two buffers in turns: one that grew from nothing each time would be copied as it grows.
        let (mut is_over, mut lines) = (false, Vec::new());
        while !is_over {
            let waiting = self.lock();
            let is_idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.is_over;
            let mut waiting = self.changed.wait_while(waiting, is_idle).unwrap_or_else(PoisonError::into_inner);
            is_over = waiting.is_over;
            std::mem::swap(&mut waiting.lines, &mut lines);
            let lost = std::mem::take(&mut waiting.lost);
            drop(waiting);
            // Where standard error is closed there is nobody to tell.
            drop(output.write_all(&lines));
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
            if lost > 0 {
                drop(writeln!(
                    output,
                    "{{\"level\":\"WARN\",\"message\":\"lines of the log were lost\",\"lines\":{lost}}}"
                ));
            }
            if !is_over {
                thread::sleep(GATHERING);
            }
        }
        self.lock().is_done = true;
        self.changed.notify_all();
    }
}

/// Starts the thread that writes.
pub(crate) fn start(output: impl Write + Send + 'static) -> io::Result<(Lines, Guard)> {
    let shared = Arc::new(Shared::default());
    let writing = Arc::clone(&shared);
    thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_all(output))?;
    Ok((Lines(Arc::clone(&shared)), Guard(shared)))
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.lines.len() + line.len() > MAX_BYTES {
            waiting.lost += 1;
            return Ok(line.len());
        }
        let is_first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        drop(waiting);
        if is_first {
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.is_over = true;
        self.0.changed.notify_all();
        // Longer than that, nobody reads.
        drop(self.0.changed.wait_timeout_while(waiting, END_TIMEOUT, |waiting| !waiting.is_done));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that takes lines only while the other side holds nothing back.
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
    fn every_line_is_written_in_order_until_the_end() {
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
    fn a_log_that_nobody_reads_takes_bounded_memory_and_says_what_was_lost() {
        let output = Output::default();
        let (mut lines, guard) = start(output.clone()).unwrap();
        let stuck = output.0.lock().unwrap();
        let line = [b'x'; 1024];
        for _ in 0..(2 * MAX_BYTES / line.len()) {
            lines.write_all(&line).unwrap();
        }
        assert!(lines.0.lock().lines.len() <= MAX_BYTES);
        drop(stuck);
        drop(guard);
        let written = output.0.lock().unwrap();
        // Written where the lines were lost, which need not be the end.
        let says_so = String::from_utf8_lossy(&written).contains("lines of the log were lost");
        assert!(says_so && written.len() <= 2 * MAX_BYTES, "{}", written.len());
    }
}
