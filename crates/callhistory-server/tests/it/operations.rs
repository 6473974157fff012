//! Operations of a running service: backup, diagnostics, metrics, traces and supervision.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use callhistory_client::{CallInput, ChangesQuery, Client};
use serde_json::Value;
use sha2::Digest as _;
use tempfile::TempDir;

use crate::{
    binary::{Running, command, run},
    harness::PATIENCE,
};

/// The exported lines of a workspace by their IDs.
async fn records(base: &str) -> HashMap<String, String> {
    let export = reqwest::Client::new().get(format!("{base}/v2/api/call-history/export"));
    let lines = export.header("x-workspace-id", "w").send().await.unwrap().text().await.unwrap();
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["_id"].as_str().unwrap().to_owned();
    lines.lines().map(|line| (id(line), line.to_owned())).collect()
}

/// Writes a record and returns its version.
async fn version_of_later(base: &str) -> i64 {
    let put = reqwest::Client::new().put(format!("{base}/v2/api/call-history/later")).header("x-workspace-id", "w");
    let response = put.header("content-type", "application/json").body("{}").send().await.unwrap();
    response.headers()["etag"].to_str().unwrap().trim_matches('"').split('-').next().unwrap().parse().unwrap()
}

/// Writes until it is stopped, and lists the acknowledged IDs.
fn write(
    client: Client,
    writer: usize,
    acknowledged: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let id = format!("w{writer}-{number}");
            let input = CallInput { summary: Some(format!("The {number}th of {writer}.")), ..CallInput::default() };
            client.replace_call(&id, &input).await.unwrap();
            acknowledged.lock().unwrap().push(id);
        }
    })
}

/// A backup during the writes of eight clients contains every record that was acknowledged before it began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_during_writes_is_restored_byte_for_byte() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let server = Running::start(path, &[]);
    let (acknowledged, stop) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> =
        (0..8).map(|writer| write(server.client("w"), writer, Arc::clone(&acknowledged), Arc::clone(&stop))).collect();
    while acknowledged.lock().unwrap().len() < 500 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = acknowledged.lock().unwrap().clone();
    let (code, printed, errors) = run(path, &["backup", "copy.db"]);
    let after = acknowledged.lock().unwrap().len();
    assert!(code == 0 && printed.contains("records and"), "{errors}");
    assert!(after > before.len(), "nothing was written during the backup");
    #[cfg(unix)]
    for file in ["copy.db", "copy.db.sha256"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.join(file).metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{file}: other users could read personal data");
    }
    let later = version_of_later(&server.base).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let original = records(&server.base).await;
    let cursor = server.client("w").list_call_changes(&ChangesQuery::default()).await.unwrap().cursor;

    let (code, _, errors) = run(path, &["restore", "copy.db"]);
    assert!(code == 1 && errors.contains("in use by another process"), "{errors}");
    let (code, printed, errors) = run(path, &["restore", "copy.db", "--data-dir", "other"]);
    assert!(code == 0, "{errors}");
    let restored = Running::start(path, &["--data-dir", "other"]);
    let copied = records(&restored.base).await;
    assert!(printed.contains(&format!(" holds {} records", copied.len())), "{printed}");
    assert!(before.iter().all(|id| copied.contains_key(id)), "an acknowledged record is not in the backup");
    assert!(copied.iter().all(|(id, record)| original.get(id) == Some(record)), "a record of the backup differs");
    assert!(!copied.contains_key("later"));
    println!(
        "{} records were acknowledged before the backup, {} during it; it contains {}, each as it was written",
        before.len(),
        after - before.len(),
        copied.len()
    );
    // No version that was issued after the backup is issued again.
    assert!(version_of_later(&restored.base).await > later + 1_000_000);
    let query = ChangesQuery::new().cursor(cursor);
    assert!(restored.client("w").list_call_changes(&query).await.unwrap_err().is_cursor_expired());
    let (code, _, errors) = run(path, &["backup", "copy.db"]);
    assert!(code == 1 && errors.contains("does not overwrite"), "{errors}");
}

/// A backup does not know what was revoked and erased after it: the restore says what comes back.
#[tokio::test]
async fn a_restore_names_the_keys_that_are_valid_again() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    assert_eq!(run(path, &["migrate"]).0, 0);
    let create = |name: &str| {
        let (_, key, _) = run(path, &["keys", "create", "--workspace", "w", "--scopes", "calls:read", "--name", name]);
        key.trim().to_owned()
    };
    let (early, late) = (create("revoked before"), create("revoked\nafter"));
    let id = |key: &str| key.split('_').nth(2).unwrap().to_owned();
    assert_eq!(run(path, &["keys", "revoke", &early]).0, 0);
    std::fs::write(path.join("a.ndjson"), "{\"_id\":\"a\"}\n").unwrap();
    assert_eq!(run(path, &["import", "--workspace", "w", "a.ndjson"]).0, 0);
    assert_eq!(run(path, &["backup", "copy.db"]).0, 0);
    assert_eq!(run(path, &["keys", "revoke", &late]).0, 0);
    let (code, printed, errors) = run(path, &["restore", "copy.db", "--data-dir", "one"]);
    assert_eq!(code, 0, "{errors}");
    let (warned, listed) = printed.split_once("these keys are valid").unwrap();
    assert!(
        warned.contains("The last change in the backup is of 20") && warned.contains("delete them again"),
        "{printed}"
    );
    assert!(listed.contains(&id(&late)) && listed.contains("\"revoked\\nafter\"") && listed.contains("--revoke-keys"));
    assert!(!listed.contains(&id(&early)), "{printed}");
    let (code, printed, _) = run(path, &["restore", "copy.db", "--data-dir", "two", "--revoke-keys"]);
    assert!(
        code == 0 && printed.contains("All keys of the backup are revoked") && !printed.contains(&id(&late)),
        "{printed}"
    );
    let answers = async |data: &str| {
        let server = Running::start(path, &["--data-dir", data, "--require-keys"]);
        let get = reqwest::Client::new().get(format!("{}/v2/api/call-history/a", server.base));
        get.header("x-workspace-id", "w").header("x-api-key", &late).send().await.unwrap().status().as_u16()
    };
    assert_eq!([answers("one").await, answers("two").await], [200, 401]);
    let (_, printed, _) = run(path, &["keys", "list", "--data-dir", "two"]);
    assert_eq!(printed.matches("revoked  ").count(), 2, "{printed}");
}

/// With the old database, a restore repeats what was deleted and revoked after the backup.
#[tokio::test]
async fn a_restore_repeats_deletions_and_revocations() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    assert_eq!(run(path, &["migrate"]).0, 0);
    let create = ["keys", "create", "--operator", "--scopes", "calls:read,calls:write,calls:delete"];
    let keys = [run(path, &create).1, run(path, &create).1].map(|key| key.trim().to_owned());
    let client = |server: &Running, key: &str| {
        Client::builder(&server.base).workspace("w").api_key(key).max_retries(0).build().unwrap()
    };
    let mut server = Running::start(path, &["--require-keys"]);
    let writer = client(&server, &keys[0]);
    for id in ["kept", "deleted", "again", "before"] {
        writer.replace_call(id, &CallInput { summary: Some(id.to_owned()), ..CallInput::default() }).await.unwrap();
    }
    // This one is deleted and created before the backup.
    writer.delete_call("before").await.unwrap();
    writer.replace_call("before", &CallInput::default()).await.unwrap();
    assert_eq!(run(path, &["backup", "copy.db"]).0, 0);
    for id in ["deleted", "again"] {
        writer.delete_call(id).await.unwrap();
    }
    writer.replace_call("again", &CallInput::default()).await.unwrap();
    assert_eq!(run(path, &["keys", "revoke", &keys[1]]).0, 0);
    server.signal("-KILL");
    server.child.wait().unwrap();
    std::fs::rename(path.join("callhistory-data"), path.join("broken")).unwrap();
    let old = "broken/callhistory.db";
    let (code, printed, errors) = run(path, &["restore", "copy.db", "--deletions-from", old]);
    assert_eq!(code, 0, "{errors}");
    assert!(printed.contains("2 records were deleted again and 1 keys revoked again"), "{printed}");
    let server = Running::start(path, &["--require-keys"]);
    let reader = client(&server, &keys[0]);
    for (id, exists) in [("kept", true), ("before", true), ("deleted", false), ("again", false)] {
        assert_eq!(reader.get_call(id).await.is_ok(), exists, "{id}");
    }
    let changes = reader.list_call_changes(&ChangesQuery::default()).await.unwrap().changes;
    let last: Vec<_> = changes.iter().rev().take(2).map(|change| change.kind.as_str()).collect();
    assert_eq!(last, ["deleted", "deleted"]);
    assert_eq!(client(&server, &keys[1]).get_call("kept").await.unwrap_err().status(), Some(401));
    let (code, printed, _) = run(path, &["doctor", "--full", "--require-keys"]);
    assert_eq!(code, 0, "{printed}");
    let (code, _, errors) = run(path, &["restore", "copy.db", "--data-dir", "x", "--deletions-from", "absent.db"]);
    assert!(code == 1 && errors.contains("absent.db"), "{errors}");
    assert!(!path.join("x/callhistory.db").exists());
}

/// A refused restore leaves no files.
#[test]
fn a_damaged_backup_is_not_restored() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    std::fs::write(path.join("a.ndjson"), (0..500).map(|n| format!("{{\"_id\":\"c{n}\"}}\n")).collect::<String>())
        .unwrap();
    assert_eq!(run(path, &["backup", "copy.db"]).0, 1, "there is nothing to back up");
    assert_eq!(run(path, &["migrate"]).0, 0);
    assert_eq!(run(path, &["import", "--workspace", "w", "a.ndjson"]).0, 0);
    assert_eq!(run(path, &["backup", "copy.db"]).0, 0);
    let refused = |expected: &str| {
        let (code, _, errors) = run(path, &["restore", "copy.db", "--data-dir", "other"]);
        assert!(code == 1 && errors.contains(expected), "{errors}");
        assert!(!path.join("other/callhistory.db").exists() && !path.join("other/callhistory.db.partial").exists());
    };
    let (whole, sums) =
        (std::fs::read(path.join("copy.db")).unwrap(), std::fs::read_to_string(path.join("copy.db.sha256")).unwrap());
    std::fs::remove_file(path.join("copy.db.sha256")).unwrap();
    refused("copy.db.sha256 cannot be read");
    std::fs::write(path.join("copy.db.sha256"), &sums).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    std::fs::write(path.join("copy.db"), &damaged).unwrap();
    refused("does not match the checksum");
    // With a matching checksum, the database check finds the damage.
    let pages = whole.len() / 4096;
    for page in 1..pages {
        damaged[page * 4096..page * 4096 + 16].fill(0xff);
    }
    std::fs::write(path.join("copy.db"), &damaged).unwrap();
    let sum: String = sha2::Sha256::digest(&damaged).iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(path.join("copy.db.sha256"), sum).unwrap();
    refused("");
    std::fs::write(path.join("copy.db"), &whole).unwrap();
    std::fs::write(path.join("copy.db.sha256"), sums).unwrap();
    assert_eq!(run(path, &["restore", "copy.db", "--data-dir", "other"]).0, 0);
}

#[test]
fn doctor_reports_ok_warnings_and_errors() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let (code, printed, _) = run(path, &["doctor"]);
    assert!(code == 1 && printed.contains("warning  database") && printed.contains("ok  clock"), "{printed}");
    assert!(!path.join("callhistory-data").exists(), "the checks created a database");
    assert_eq!(run(path, &["migrate"]).0, 0);
    let (code, printed, _) = run(path, &["doctor", "--full", "--json"]);
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, &report["severity"]), (0, &"ok".into()), "{printed}");
    let names: Vec<_> =
        report["diagnostics"].as_array().unwrap().iter().map(|found| found["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "settings",
            "clock",
            "limits",
            "engine",
            "server",
            "schema",
            "integrity",
            "metrics",
            "permissions",
            "wal",
            "disk",
            "keys"
        ]
    );
    let (code, printed, _) = run(path, &["doctor", "--require-keys"]);
    assert!(code == 2 && printed.contains("no caller can be authorized"), "{printed}");
    let made = run(path, &["keys", "create", "--operator", "--scopes", "calls:read", "--expires-in", "3d"]);
    assert_eq!(made.0, 0);
    let (code, printed, _) = run(path, &["doctor", "--require-keys", "--log", "warn"]);
    assert!(
        code == 1
            && printed.contains("1 expire within thirty days")
            && printed.contains("require_keys (--require-keys), log (--log)"),
        "{printed}"
    );
    let server = Running::start(path, &[]);
    assert!(run(path, &["doctor"]).1.contains("is running on this database"));
    drop(server);
    std::fs::write(path.join("callhistory-data/callhistory.db"), "no database at all, but a text of some length")
        .unwrap();
    std::fs::remove_file(path.join("callhistory-data/callhistory.db-wal")).unwrap();
    let (code, printed, _) = run(path, &["doctor"]);
    assert!(code == 2 && printed.contains("error  database"), "{printed}");
}

/// Labels are routes, methods and statuses, and nothing that a caller sent.
#[tokio::test]
async fn prometheus_metrics_are_labeled_by_route() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &["--operations-listen", "127.0.0.1:0"]);
    let metrics = server.welcome.split("Operations: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let client = server.client("canary-workspace");
    client.replace_call("canary-id", &CallInput::default()).await.unwrap();
    for _ in 0..3 {
        client.get_call("canary-id").await.unwrap();
    }
    let raw = reqwest::Client::new();
    let odd = raw.request("CANARY".parse().unwrap(), format!("{}/canary-path?canary=canary", server.base));
    assert_eq!(odd.send().await.unwrap().status().as_u16(), 404);
    let response = reqwest::get(&metrics).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = response.text().await.unwrap();
    let number = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let route = r#"route="/v2/api/call-history/{callHistoryId}""#;
    let count = |method: &str, status: u16| {
        number(&format!(r#"callhistory_http_requests_total{{{route},method="{method}",status="{status}"}}"#))
    };
    assert_eq!((count("GET", 200), count("PUT", 201)), (3.0, 1.0));
    assert_eq!(number(&format!(r#"callhistory_http_request_duration_seconds_count{{{route},method="GET"}}"#)), 3.0);
    assert_eq!(number(r#"callhistory_http_requests_total{route="-",method="other",status="404"}"#), 1.0);
    assert!(number("callhistory_commit_seconds_count") >= 1.0 && number("callhistory_commit_writes_sum") >= 1.0);
    assert!(number("callhistory_wal_bytes") > 0.0 && number("callhistory_disk_free_bytes") > 0.0);
    assert!(number("process_resident_memory_bytes") > 1e6 && number("callhistory_connections") >= 1.0);
    assert_eq!((number("callhistory_disk_full"), number("callhistory_writes_stopped")), (0.0, 0.0));
    assert!(!text.to_lowercase().contains("canary"), "{text}");
    let operations = metrics.trim_end_matches("/metrics");
    for path in ["/healthz", "/readyz"] {
        assert_eq!(reqwest::get(format!("{operations}{path}")).await.unwrap().status().as_u16(), 200);
    }
    // The operations port serves no records, and the API port no metrics.
    for url in [format!("{operations}/v2/api/call-history"), format!("{}/metrics", server.base)] {
        assert_eq!(reqwest::get(url).await.unwrap().status().as_u16(), 404);
    }
    for (file, marks) in [("grafana.json", "callhistory_"), ("alerts.yml", "callhistory_")] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(file);
        let asked = std::fs::read_to_string(path).unwrap();
        let names =
            asked.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with(marks));
        for name in names {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {base} ")), "{file} uses {name}, which does not exist");
        }
    }
}

/// An OTLP collector that accepts every request.
fn collector() -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 65536]);
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                request.extend_from_slice(&buffer[..count]);
                let Some(head) = request.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
                let length = text.split("content-length: ").nth(1).map(|rest| rest.split("\r\n").next().unwrap());
                let length: usize = length.unwrap().parse().unwrap();
                if request.len() >= head + 4 + length {
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                    drop(sender.send(std::mem::take(&mut request)));
                }
            }
        }
    });
    (port, received)
}

#[tokio::test]
async fn traces_go_to_the_otlp_endpoint() {
    let directory = TempDir::new().unwrap();
    let (port, received) = collector();
    let endpoint = format!("http://127.0.0.1:{port}");
    let mut command = command(directory.path());
    command
        .args(["--listen", "127.0.0.1:0"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_SERVICE_NAME", "calls-eu");
    let mut server = Running::spawn(&mut command);
    let url = format!("{}/v2/api/call-history/canary-id?canary=canary", server.base);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = reqwest::Client::new().get(url).header("x-workspace-id", "canary").header("x-api-key", "canary");
    request.header("traceparent", format!("00-{trace}-b7ad6b7169203331-01")).send().await.unwrap();
    server.signal("-TERM");
    assert!(server.child.wait().unwrap().success());
    let sent = received.recv_timeout(PATIENCE).unwrap();
    let text = String::from_utf8_lossy(&sent);
    assert!(text.starts_with("POST /v1/traces HTTP/1.1"), "{text}");
    for part in ["GET /v2/api/call-history/{callHistoryId}", "http.response.status_code", "calls-eu"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let id: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&trace[at * 2..at * 2 + 2], 16).unwrap()).collect();
    assert!(sent.windows(16).any(|window| window == id), "the trace of the caller is not continued");
    assert!(!text.contains("canary"), "{text}");
    for (name, value, reason) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318", "must begin with http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "protocol grpc is not supported"),
    ] {
        let mut command = crate::binary::command(directory.path());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env(name, value);
        let output = command.output().unwrap();
        assert!(!output.status.success() && String::from_utf8(output.stderr).unwrap().contains(reason));
    }
}

/// A supervisor is notified when the service accepts connections, that it is alive, and that it stops.
#[test]
fn a_supervisor_is_notified() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = command(directory.path());
    command.args(["--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut server = Running::spawn(&mut command);
    let hear = || {
        let mut buffer = [0; 1024];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    assert!(hear().contains("READY=1"));
    for _ in 0..3 {
        assert!(hear().contains("WATCHDOG=1"));
    }
    server.signal("-TERM");
    assert!((0..10).any(|_| hear().contains("STOPPING=1")));
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn rebuild_metrics_needs_a_stopped_server() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    std::fs::write(path.join("calls.ndjson"), "{\"_id\":\"a\"}\n{\"_id\":\"b\"}\n").unwrap();
    assert_eq!(run(path, &["migrate"]).0, 0);
    assert_eq!(run(path, &["import", "--workspace", "w", "calls.ndjson"]).0, 0);
    let (code, printed, _) = run(path, &["rebuild-metrics"]);
    assert!(code == 0 && printed.contains("rebuilt from 2 records"), "{printed}");
    let server = Running::start(path, &[]);
    let (code, _, complaint) = run(path, &["rebuild-metrics"]);
    assert!(code == 1 && complaint.contains("in use"), "{complaint}");
    drop(server);
}
