//! No personal data in the log. Every value that any test of this suite sends or reads is a canary: none of them may occur in
//! the log at its most verbose level.

use std::{
    collections::HashSet,
    io::{self, Read as _},
    sync::{
        LazyLock, Mutex, Once, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use callhistory_client::{CallInput, model::examples};
use tempfile::TempDir;
use tracing_subscriber::{EnvFilter, fmt};

use crate::{binary::Running, harness::Server};

/// The words that were sent or read so far.
static CANARIES: LazyLock<RwLock<HashSet<String>>> = LazyLock::new(RwLock::default);
static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LINES: AtomicUsize = AtomicUsize::new(0);

/// The client of the tests is in the same process, and its own log does not count.
const FILTER: &str = "trace,reqwest=off,hyper_util::client=off,hyper::client=off,callhistory_client=off";

/// The words of a text that cannot be words of the log itself: long ones with letters and digits, and long numbers.
fn words(text: &[u8]) -> impl Iterator<Item = &str> {
    let words = text.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')));
    words.filter_map(|word| std::str::from_utf8(word).ok()).filter(|word| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        // The log has timestamps.
        let is_time = word.ends_with('Z') || word.contains('T');
        (word.len() >= 6 && digits > 0 && digits < word.len() && !is_time) || (digits == word.len() && digits >= 10)
    })
}

/// Adds the words of a text that was sent or read to the canaries.
pub(crate) fn add_canaries(text: &[u8]) {
    let known = CANARIES.read().unwrap();
    let fresh: Vec<String> = words(text).filter(|word| !known.contains(*word)).take(1000).map(str::to_owned).collect();
    drop(known);
    if !fresh.is_empty() {
        CANARIES.write().unwrap().extend(fresh);
    }
}

/// The canary that a line of the log contains.
fn find_leak(line: &[u8]) -> Option<String> {
    let canaries = CANARIES.read().unwrap();
    let word = words(line).find(|word| canaries.contains(*word))?;
    Some(format!("{word} is in the log: {}", String::from_utf8_lossy(line)))
}

/// Searches the log for canaries and drops it.
struct LeakScanner;

impl io::Write for LeakScanner {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.fetch_add(1, Ordering::Relaxed);
        LEAKS.lock().unwrap().extend(find_leak(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Scans the log of this process from now on.
pub(crate) fn start_scanner() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = EnvFilter::try_new(FILTER).unwrap();
        fmt().compact().without_time().with_ansi(false).with_env_filter(filter).with_writer(|| LeakScanner).init();
    });
}

/// The leaks that were found since the last call.
pub(crate) fn take_leaks() -> Vec<String> {
    std::mem::take(&mut *LEAKS.lock().unwrap())
}

#[tokio::test]
async fn the_scanner_finds_a_leak() {
    let server = Server::start().await;
    server.get("leak-4711-of-this-test", &[]).await;
    assert!(LINES.load(Ordering::Relaxed) > 0, "nothing is logged");
    assert!(find_leak(b"INFO a request for leak-4711-of-this-test").is_some());
    assert_eq!(find_leak(b"INFO a request"), None);
}

/// The log of the program, with canaries in every member of a record, in the key and in the path.
#[tokio::test]
async fn the_log_holds_no_personal_data() {
    let directory = TempDir::new().unwrap();
    let mut server = Running::start(directory.path(), &["--log", "trace"]);
    let mut log = server.child.stderr.take().unwrap();
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        drop(log.read_to_string(&mut text));
        text
    });
    let client = server.client("w");
    let record = examples::COMPLETE_EXAMPLE.replace(['\n'], "");
    let canary = record
        .replace("sip:alice@example.com", "canary-from")
        .replace("+18005550100", "canary-to")
        .replace("The caller returns", "canary-summary")
        .replace("vip", "canary-metadata")
        .replace("lookup_order", "canary-function")
        .replace("How can I help?", "canary-transcript")
        .replace("positive", "canary-analysis")
        .replace("recordings.example.com", "canary-recording")
        .replace("12345678901234567890123", "98765432109876543210")
        .replace("\"workspaceId\": \"abcdef1234567890\",", "");
    let input = CallInput::from_json(canary.as_bytes()).unwrap();
    client.replace_call("67375a0f2b8c4e001f3d9a11", &input).await.unwrap();
    client.get_call("67375a0f2b8c4e001f3d9a11").await.unwrap();
    let raw = reqwest::Client::new();
    let url = format!("{}/v2/api/call-history/canary-path?canary-query=canary-value", server.base);
    let bodies = [
        r#"{"canary-member": 1}"#,
        r#"{"status": "canary-status", "startTime": "canary-time"}"#,
        r#"{"metadata": {"canary-name": 1, "canary-name": 2}}"#,
        "canary-garbage",
    ];
    for body in bodies {
        for target in [url.as_str(), url.split('?').next().unwrap()] {
            let request = raw.put(target).header("x-workspace-id", "w").header("x-api-key", "canary-key");
            let request =
                request.header("authorization", "Bearer canary-bearer").header("x-canary-header", "canary-header");
            let response = request.header("content-type", "application/json").body(body).send().await.unwrap();
            assert!(response.status().is_client_error());
        }
    }
    drop(raw.request("CANARY".parse().unwrap(), &url).send().await);
    server.signal("-TERM");
    server.child.wait().unwrap();
    let log = log.join().unwrap();
    assert!(log.contains("\"route\":\"/v2/api/call-history/{callHistoryId}\""), "the log is empty or not JSON");
    let leak = log.lines().find(|line| line.to_lowercase().contains("canary") || line.contains("98765432109876543210"));
    assert_eq!(leak, None);
}
