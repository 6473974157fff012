//! Whatever these tests send and read is a canary: none of it may stand in the log, which is at its most talkative here.

use std::{
    collections::HashSet,
    io,
    sync::{
        LazyLock, Mutex, Once, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tracing_subscriber::{EnvFilter, fmt};

/// The words that were sent or read so far.
static CANARIES: LazyLock<RwLock<HashSet<String>>> = LazyLock::new(RwLock::default);
static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LINES: AtomicUsize = AtomicUsize::new(0);

/// The tests' own client is in this process, and may say what it likes.
const FILTER: &str = "trace,reqwest=off,hyper_util::client=off,hyper::client=off,callhistory_client=off";

/// The words of a text that can be told from those of a log: long ones with digits among letters, and long numbers.
fn words(text: &[u8]) -> impl Iterator<Item = &str> {
    let words = text.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')));
    words.filter_map(|word| std::str::from_utf8(word).ok()).filter(|word| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        // A time of the log ends so.
        let is_time = word.ends_with('Z') || word.contains('T');
        (word.len() >= 6 && digits > 0 && digits < word.len() && !is_time) || (digits == word.len() && digits >= 10)
    })
}

/// Keeps the words of something that was sent or read.
pub(crate) fn keep(text: &[u8]) {
    let known = CANARIES.read().unwrap();
    let fresh: Vec<String> = words(text).filter(|word| !known.contains(*word)).take(1000).map(str::to_owned).collect();
    drop(known);
    if !fresh.is_empty() {
        CANARIES.write().unwrap().extend(fresh);
    }
}

/// A log that is looked through and thrown away.
struct Sieve;

impl io::Write for Sieve {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        let canaries = CANARIES.read().unwrap();
        if let Some(word) = words(line).find(|word| canaries.contains(*word)) {
            LEAKS.lock().unwrap().push(format!("{word} stands in the log: {}", String::from_utf8_lossy(line)));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has the log of this process looked through from now on.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = EnvFilter::try_new(FILTER).unwrap();
        fmt().compact().without_time().with_ansi(false).with_env_filter(filter).with_writer(|| Sieve).init();
    });
}

/// What was found since the last look.
pub(crate) fn leaks() -> Vec<String> {
    std::mem::take(&mut *LEAKS.lock().unwrap())
}

/// A word of a request that is logged is found: this look is not blind.
#[tokio::test]
async fn a_leak_is_found() {
    let server = crate::harness::Server::start().await;
    server.get("leak-4711-of-this-test", &[]).await;
    let before = LINES.load(Ordering::Relaxed);
    assert!(before > 0, "nothing is logged");
    tracing::info!(target: "callhistory_server", "leak-4711-of-this-test");
    let mut leaks = LEAKS.lock().unwrap();
    let own = leaks.iter().position(|leak| leak.contains("leak-4711-of-this-test")).unwrap();
    leaks.remove(own);
}
