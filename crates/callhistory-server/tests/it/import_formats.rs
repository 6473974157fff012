//! The forms in which an import may arrive, in chunks of different sizes.

use std::process::Stdio;

use callhistory_client::model::examples;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    binary::{command, output_of},
    harness::{CALLS, Server, WORKSPACE},
    import_export::{ARRAY, BATCH, EXPORT, LINES, STRICT, count, counts, errors, gzip, import, warnings},
};

const CSV: (&str, &str) = ("content-type", "text/csv");

/// Sends an import in chunks of this size, and returns its status and its report.
async fn import_in_chunks(
    server: &Server,
    workspace: &str,
    media_type: &str,
    body: &[u8],
    size: usize,
) -> (u16, Value) {
    let mut stream = server.connect().await;
    let head = format!(
        "POST {BATCH}?source=generic HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-workspace-id: {workspace}\r\n\
         content-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let mut sent = head.into_bytes();
    for chunk in body.chunks(size) {
        sent.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        sent.extend_from_slice(chunk);
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b"0\r\n\r\n");
    stream.write_all(&sent).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.unwrap();
    let text = String::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

/// The ids of a workspace, sorted.
async fn ids(server: &Server, workspace: &str) -> Vec<String> {
    let headers = [("x-workspace-id", workspace)];
    let listed = server.send_bare(Method::GET, &format!("{CALLS}?limit=100&fields=_id"), &headers, vec![]).await;
    let listed = listed.json();
    let mut ids: Vec<_> =
        listed.as_array().unwrap().iter().map(|call| call["_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// A stream, the ids that it must write, and the lines of its errors and of its skipped values.
struct Form(&'static str, &'static str, Vec<u8>, &'static [&'static str], &'static [u64], &'static [u64]);

fn utf16(text: &str, is_big_endian: bool) -> Vec<u8> {
    let bytes = |unit: u16| if is_big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() };
    format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
}

fn json_forms() -> Vec<Form> {
    let (lines, json) = ("application/x-ndjson", "application/json");
    let text = |text: &str| text.as_bytes().to_vec();
    let pretty = "{\n  \"_id\": \"a\",\n  \"transcript\": [\n    {\n      \"role\": \"user\"\n    }\n  ]\n}\n";
    vec![
        Form("byte order mark, CRLF and blank lines", lines, text("\u{feff}{\"_id\":\"a\"}\r\n\r\n \r\n{\"_id\":\"b\"}\r\n"), &["a", "b"], &[], &[]),
        Form("two joined files", lines, text("\u{feff}{\"_id\":\"a\"}\n\u{feff}{\"_id\":\"b\"}\u{feff}{\"_id\":\"c\"}"), &["a", "b", "c"], &[], &[]),
        Form("carriage returns", lines, text("{\"_id\":\"a\"}\rx\r{\"_id\":\"b\"}\r"), &["a", "b"], &[2], &[]),
        Form("an array with other values", json, text("[null,{\"_id\":\"a\"}, 1 ,\"x,]\",true,{\"_id\":\"b\"}]"), &["a", "b"], &[], &[1, 3, 4, 5]),
        Form("an array with something else", json, text("[{\"_id\":\"a\"}, oops, {\"_id\":\"b\"}\n, 'x' {\"_id\":\"c\"},]"), &["a", "b", "c"], &[2, 4], &[]),
        Form("an array of lists", json, text("[[{\"_id\":\"a\"}],[{\"_id\":\"b\"},{\"_id\":\"c\"}],[]]"), &["a", "b", "c"], &[], &[]),
        Form("lists without an end", json, "[".repeat(100_000).into_bytes(), &[], &[1, 2], &[]),
        Form("an array instead of lines", lines, text("[\n{\"_id\":\"a\"},\n{\"_id\":\"b\"}\n]\n"), &["a", "b"], &[], &[]),
        Form("one record", json, text(" {\"_id\":\"a\",\"metadata\":{\"calls\":[{\"id\":1}]}} "), &["a"], &[], &[]),
        Form("pretty-printed records", lines, text(&format!("{pretty}{}", pretty.replace("\"a\"", "\"b\""))), &["a", "b"], &[], &[]),
        Form("pretty-printed records without indentation", json, text(&pretty.replace("  ", "").repeat(2).replacen("\"a\"", "\"b\"", 1)), &["a", "b"], &[], &[]),
        Form("joined objects", json, text("{\"_id\":\"a\"}{\"_id\":\"b\"} {\"_id\":\"c\"},{\"_id\":\"d\"}"), &["a", "b", "c", "d"], &[], &[]),
        Form("comments", lines, text("# a\n// b\n{\"_id\":\"a\"}\n-- c\n{\"_id\":\"b\"}"), &["a", "b"], &[1, 2, 4], &[]),
        Form("a line that is cut", lines, text("{\"_id\":\"x\",\"summary\":\"unter\n{\"_id\":\"a\"}\n{\"_id\":\"y\",\"metadata\":{\n{\"_id\":\"b\"}\n{\"_id\":\"z\",\"transcript\":[\n{\"_id\":\"c\"}\n{\"_id\":\"d\"}\n"), &["a", "b", "c", "d"], &[1, 3, 5], &[]),
        Form("a record that is cut", lines, text("{\"_id\":\"a\"}\n{\"_id\":\"b\",\"summary\":\"x"), &["a"], &[2], &[]),
        Form("an array that is cut", json, text("[{\"_id\":\"a\"},{\"_id\":\"b\"}"), &["a", "b"], &[3], &[]),
        Form("a broken record of a pretty-printed array", json, text("[\n  {\n    \"_id\": \"a\"\n  },\n  {\n    \"_id\": \"b\"x\",\n    \"agent\": \"y\"\n  },\n  {\n    \"_id\": \"c\"\n  }\n]"), &["a", "c"], &[2], &[]),
        Form("a broken pretty-printed record", lines, text("{\n  \"_id\": \"a\"x\",\n  \"agent\": \"y\",\n  \"metadata\": {}\n}\n{\n  \"_id\": \"b\"\n}\n"), &["b"], &[1], &[]),
        Form("a text sequence", "application/json-seq", text("\u{1e}{\"_id\":\"a\"}\n\u{1e}{\"_id\":\"b\"}\n"), &["a", "b"], &[], &[]),
        Form("a page of Twilio", json, text("{\"page\":0,\"calls\":[{\"sid\":\"CA1\"},{\"sid\":\"CA2\"}],\"uri\":\"/x\",\"next\":{\"id\":7}}"), &["CA1", "CA2"], &[], &[]),
        Form("a page with other values", json, text("{\n  \"meta\": {\"total\": 2},\n  \"call_summaries\": [null, {\"id\": \"a\"}, 5],\n  \"url\": \"x\"\n}"), &["a"], &[], &[1, 3]),
        Form("a nested page", json, text("{\"_links\":{},\"_embedded\":{\"calls\":[{\"uuid\":\"a\"}]},\"count\":1}"), &["a"], &[], &[]),
        Form("pages one after the other", lines, text("{\"data\":[{\"id\":\"a\"}]}\n{\"data\":[]}\n{\"results\":[{\"id\":\"b\"}],\"has_more\":false}\n"), &["a", "b"], &[], &[]),
        Form("an empty page", json, text("{\"meta\":{\"page\":0},\"call_summaries\":[]}"), &[], &[], &[]),
        Form("a page that is cut", json, text("{\"count\":3,\"calls\":[{\"call_id\":\"a\"},{\"call_id\":\"b\"},{\"call"), &["a", "b"], &[3], &[]),
        Form("a record with lists", json, text("{\"items\":[{\"id\":\"x\"}],\"data\":[{\"id\":\"y\"}],\"id\":\"a\"}"), &["a"], &[], &[]),
        Form("UTF-16 with little endians", lines, utf16("{\"_id\":\"a\",\"summary\":\"Müller 😀\"}\r\n{\"_id\":\"b\"}\r\n", false), &["a", "b"], &[], &[]),
        Form("UTF-16 with big endians", json, utf16("[{\"_id\":\"a\",\"summary\":\"Müller 😀\"},{\"_id\":\"b\"}]", true), &["a", "b"], &[], &[]),
        Form("NaN, Infinity and Latin-1", lines, b"{\"_id\":\"a\",\"duration\":NaN}\n{\"_id\":\"b\",\"duration\":Infinity}\n{\"_id\":\"c\",\"agent\":\"M\xfcller\"}\n".to_vec(), &["a", "b", "c"], &[], &[]),
        Form("MongoDB extended JSON", lines, text("{\"_id\":{\"$oid\":\"507f1f77bcf86cd799439011\"},\"startTime\":{\"$numberLong\":\"1680000000\"}}"), &["507f1f77bcf86cd799439011"], &[], &[]),
        Form("CSV instead of lines", lines, text("_id,status\na,completed\nb,completed\n"), &[], &[1], &[]),
        Form("markup", json, text("<html>\n<body>\n</body>\n"), &[], &[1], &[]),
        Form("a form", lines, text("CallSid=CA1&From=%2B49"), &[], &[1], &[]),
    ]
}

fn csv_forms() -> Vec<Form> {
    let csv = "text/csv; charset=UTF-8";
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        Form(
            "commas",
            csv,
            text("_id,startTime,cost.customer_charge\r\na,1680000000.50,0.10\r\n\r\nb,,\r\n"),
            &["a", "b"],
            &[],
            &[],
        ),
        Form(
            "semicolons and a byte order mark",
            csv,
            text("\u{feff}sep=;\n\"_id\";\"summary\"\n\"a\";\"x;\n\"\"y\"\"\"\n\"b\";\"\""),
            &["a", "b"],
            &[],
            &[],
        ),
        Form("tabs and carriage returns", csv, text("_id\tstatus\ra\tcompleted\rb\tfailed\r"), &["a", "b"], &[], &[]),
        Form("UTF-16", "text/csv; charset=utf-16", utf16("_id\tagent\r\na\tMüller\r\n", false), &["a"], &[], &[]),
        Form("too many cells", csv, text("_id,status\na,completed\nb,completed,x\nc,failed\n"), &["a", "c"], &[3], &[]),
        Form("a row that is cut", csv, text("_id,status,summary\na,completed,\nb,completed,\"x"), &["a"], &[3], &[]),
        Form("an open quotation mark", csv, text("_id,summary\na,ok\nb,\"unfinished\nc,x\n"), &["a"], &[3], &[]),
        Form("a quotation mark inside a cell", csv, text("_id,agent\na,7\" pipe\nb,5\" pipe"), &["a", "b"], &[], &[]),
        Form("empty cells at the end", csv, text("_id,status\na,completed,\n  \nb,failed,,\n"), &["a", "b"], &[], &[]),
        Form(
            "a log",
            csv,
            text("1609459200 ACC: call answered: timestamp=1609459200;method=INVITE\nACC: x;method=BYE\n"),
            &[],
            &[1],
            &[],
        ),
        Form(
            "no names",
            csv,
            text("2008/06/28 09:28:41,00:00:00,9,8004206,I\n2008/06/28 09:30:57,00:00:13,7,0155,I\n"),
            &[],
            &[1],
            &[],
        ),
    ]
}

#[tokio::test]
async fn an_import_may_have_any_form_of_json() {
    check_forms(json_forms()).await;
}

#[tokio::test]
async fn an_import_may_have_any_form_of_csv() {
    check_forms(csv_forms()).await;
}

async fn check_forms(forms: Vec<Form>) {
    let server = Server::start().await;
    for (number, Form(name, media_type, body, expected, errors, skipped)) in forms.into_iter().enumerate() {
        for size in [1, 7, 64 * 1024] {
            let workspace = format!("w{number}-{size}");
            let (status, report) = import_in_chunks(&server, &workspace, media_type, &body, size).await;
            let lines = |name: &str, code: &str| {
                let listed = report[name].as_array().unwrap().iter();
                let listed = listed.filter(|item| code.is_empty() || (item["code"] == code && item["pointer"] == ""));
                listed.map(|item| item["line"].as_u64().unwrap()).collect::<Vec<_>>()
            };
            assert_eq!(ids(&server, &workspace).await, expected, "{name} in chunks of {size}: {report}");
            assert_eq!(
                (lines("errors", ""), lines("warnings", "left_out")),
                (errors.into(), skipped.into()),
                "{name}: {report}"
            );
            let is_failure = expected.is_empty() && !errors.is_empty();
            assert_eq!(status, if is_failure { 422 } else { 200 }, "{name}: {report}");
        }
    }
}

/// One hint, not one for each line.
#[tokio::test]
async fn bytes_of_another_format_get_one_hint() {
    let server = Server::start().await;
    let csv = "_id,status\n".to_owned() + &"a,completed\n".repeat(500);
    let response = import(&server, &[LINES], csv.into()).await;
    assert_eq!((counts(&response), errors(&response).len()), ([0, 0, 0, 501], 1));
    assert!(response.body.contains("text/csv"), "{}", response.body);
    let records: String = (0..100).map(|number| format!("{{\"_id\":\"c{number}\"}}\n")).collect();
    for (body, hint) in [
        (gzip(records.as_bytes()), "Content-Encoding: gzip"),
        (b"PK\x03\x04\x14\x00\x06\x00[Content_Types].xml".to_vec(), "xlsx"),
        (b"(\xb5/\xfd\x04\x00A\x00\x00".to_vec(), "zstd"),
    ] {
        for media_type in [LINES, ARRAY, CSV] {
            let response = import(&server, &[media_type], body.clone()).await;
            assert_eq!((response.status, response.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
            assert!(response.json()["detail"].as_str().unwrap().contains(hint), "{}", response.body);
        }
    }
    let twice = gzip(&gzip(records.as_bytes()));
    let response = import(&server, &[LINES, ("content-encoding", "gzip")], twice).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST, "{}", response.body);
    let encoded = format!("[{:?}]", "{\"_id\":\"a\"}");
    let response = import(&server, &[ARRAY], encoded.into()).await;
    assert_eq!(
        (counts(&response), count(&response, "skipped")),
        ([0, 0, 0, 0], 1),
        "a failure, although nothing is rejected"
    );
    assert!(response.body.contains("encoded twice"), "{}", response.body);
}

#[tokio::test]
async fn media_types_and_codings_have_many_names() {
    let server = Server::start().await;
    let names = [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/x-jsonl",
        "text/x-ndjson",
        "application/json",
        "Application/JSON; charset=utf8",
        "application/vnd.api+json",
        "application/json;charset=\"UTF-8\"",
    ];
    for name in names {
        let response = import(&server, &[("content-type", name)], "{\"_id\":\"a\"}".into()).await;
        assert_eq!(response.status, StatusCode::OK, "{name}: {}", response.body);
    }
    for name in ["application/csv", "text/csv;header=present"] {
        let response = import(&server, &[("content-type", name)], "_id\na\n".into()).await;
        assert_eq!(counts(&response), [0, 0, 1, 0], "{name}: {}", response.body);
    }
    let body = "{\"_id\":\"a\"}";
    for (coding, body) in
        [("identity", body.into()), ("x-gzip", gzip(body.as_bytes())), ("GZIP", gzip(body.as_bytes()))]
    {
        let response = import(&server, &[LINES, ("content-encoding", coding)], body).await;
        assert_eq!(counts(&response), [0, 0, 1, 0], "{coding}");
    }
}

/// A page of any size is split while it arrives.
#[tokio::test]
async fn a_large_page_is_imported_in_batches() {
    let server = Server::start().await;
    let summary = "x".repeat(200);
    let items: Vec<_> =
        (0..5_000).map(|number| format!("{{\"call_id\":\"c{number:04}\",\"summary\":\"{summary}\"}}")).collect();
    let page = format!("{{\"total\":5000,\"calls\":[{}],\"next\":null}}", items.join(",\n  "));
    let response = import(&server, &[ARRAY], page.into()).await;
    assert_eq!((counts(&response), count(&response, "warned")), ([5_000, 0, 0, 0], 5_000));
    assert_eq!(warnings(&response).len(), 1000, "all are counted, the first are listed");
}

#[tokio::test]
async fn an_export_as_csv_can_be_imported() {
    let server = Server::start().await;
    let odd = json!({
        "status": "completed", "summary": " =a\r\nb\t\"c\",;'d\u{0}".replace('\u{0}', ""), "agent": "", "fromPhoneNumber": "",
        "startTime": 1.50, "answeredAt": 2, "endTime": 1e1, "duration": 8.5, "callId": "00123",
        "cost": {"customer_charge": -0.10, "llm": 1}, "metadata": {"a": [1, "x"]}, "transcript": [{"content": "=1"}],
    });
    server.put("67375a0f2b8c4e001f3d9a11", &[], examples::COMPLETE_EXAMPLE).await;
    server.put("odd", &[], &odd.to_string()).await;
    let unknown = "{\"_id\":\"unknown\",\"sentiment\":\"good\",\"extra\":{\"x\":1.50},\"Ä\":[],\"agentId\":\"a\"}\n";
    assert_eq!(counts(&import(&server, &[LINES], unknown.into()).await), [1, 0, 0, 0]);
    // Its duration is derived, and it stays without one.
    server.put("span", &[], r#"{"startTime":1.5,"endTime":10,"agent":""}"#).await;
    let before = server.send(Method::GET, EXPORT, &[], "").await.body;
    let table = server.send(Method::GET, &format!("{EXPORT}?format=csv"), &[], "").await.body;
    let response = import(&server, &[CSV], table.clone().into()).await;
    assert_eq!(counts(&response), [0, 0, 4, 0], "{}", response.body);
    assert_eq!(warnings(&response), ["2 /sentiment unknown_member", "2 /extra unknown_member", "2 /Ä unknown_member"]);
    let other = [("x-workspace-id", "other"), CSV];
    let moved = server.send_bare(Method::POST, BATCH, &other, table.into()).await;
    assert_eq!(counts(&moved), [4, 0, 0, 0]);
    let there = server.send_bare(Method::GET, EXPORT, &other[..1], vec![]).await.body;
    assert_eq!(there.replace("\"workspaceId\":\"other\"", &format!("\"workspaceId\":\"{WORKSPACE}\"")), before);
}

#[tokio::test]
async fn cells_become_values_by_the_type_of_their_member() {
    let server = Server::start().await;
    let table = "_id,startTime,duration,status,metadata,cost.customer_charge,cost.llm,queue,\n\
                 a,1680000000.250,17,completed,\"{\"\"x\"\":1.50}\",0.10,1,007,x\n\
                 b,2023-03-28T10:40:00Z,,,,,,,\n";
    let response = import(&server, &[CSV], table.into()).await;
    assert_eq!(counts(&response), [2, 0, 0, 0], "{}", response.body);
    assert_eq!(
        warnings(&response),
        ["2 /queue unknown_member", "2 /column9 unknown_member", "3 /startTime time_as_text"]
    );
    let body = server.get("a", &[]).await.body;
    for part in [
        "\"startTime\":1680000000.250,",
        "\"duration\":17",
        "\"metadata\":{\"x\":1.50}",
        "\"queue\":\"007\"",
        "\"cost\":{\"customer_charge\":0.10,\"llm\":1}",
        "\"column9\":\"x\"",
    ] {
        assert!(body.contains(part), "{part}: {body}");
    }
    assert_eq!(server.get("b", &[]).await.json()["startTime"], 1_680_000_000);
}

#[tokio::test]
async fn an_atomic_import_writes_all_or_nothing() {
    let server = Server::start().await;
    let atomic = |query: &'static str| format!("{BATCH}?atomic=true{query}");
    let headers = [("x-workspace-id", WORKSPACE), LINES];
    let send = async |query, body: String| server.send_bare(Method::POST, &atomic(query), &headers, body.into()).await;
    let lines: String = (0..3_000).map(|number| format!("{{\"_id\":\"c{number}\"}}\n")).collect();
    let broken = send("", format!("{lines}oops\n")).await;
    assert_eq!(broken.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!((errors(&broken), broken.json()["aborted"].clone()), (vec!["3001 - malformed".to_owned()], json!(true)));
    assert_eq!((count(&broken, "created"), count(&broken, "rejected")), (0, 1));
    assert_eq!(ids(&server, WORKSPACE).await, [""; 0]);
    let whole = send("", lines.clone()).await;
    assert_eq!((counts(&whole), whole.json()["aborted"].clone()), ([3_000, 0, 0, 0], json!(false)));
    // The store rejects some.
    let taken =
        send("&mode=create", "{\"_id\":\"new\"}\n{\"_id\":\"c1\",\"status\":\"busy\"}\nnull\n".to_owned()).await;
    assert_eq!(taken.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", taken.body);
    assert_eq!(
        (errors(&taken), warnings(&taken)),
        (vec!["2 /_id conflict".to_owned()], vec!["3  left_out".to_owned()])
    );
    assert_eq!((count(&taken, "created"), count(&taken, "skipped")), (0, 1));
    assert_eq!(server.get("new", &[]).await.status, StatusCode::NOT_FOUND);
    let many: String = (0..10_001).map(|number| format!("{{\"_id\":\"m{number}\"}}\n")).collect();
    let refused = send("", many).await;
    assert_eq!((refused.status, refused.code().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
    assert_eq!(server.get("m1", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_mode_says_what_happens_to_records_that_exist() {
    let server = Server::start().await;
    let headers = [("x-workspace-id", WORKSPACE), LINES];
    let send = async |query: &str, body: &str| {
        server.send_bare(Method::POST, &format!("{BATCH}{query}"), &headers, body.into()).await
    };
    let completed = "{\"_id\":\"a\",\"status\":\"completed\",\"endTime\":1680000060}\n";
    assert_eq!(counts(&send("?source=generic&mode=replace", completed).await), [1, 0, 0, 0]);
    let stale = send("", "{\"_id\":\"a\",\"status\":\"ringing\"}\n").await;
    assert_eq!((counts(&stale), count(&stale, "stale")), ([0, 0, 0, 0], 1));
    let merged = send("?mode=merge", "{\"_id\":\"a\",\"status\":\"ringing\",\"agentId\":\"x\"}\n").await;
    assert_eq!((counts(&merged), count(&merged, "merged")), ([0, 0, 0, 0], 1), "{}", merged.body);
    assert_eq!(warnings(&merged), ["1 /status status_kept"]);
    let call = server.get("a", &[]).await.json();
    assert_eq!(
        (call["status"].clone(), call["endTime"].clone(), call["agentId"].clone()),
        (json!("completed"), json!(1_680_000_060), json!("x"))
    );
    let created = send("?mode=create", "{\"_id\":\"a\",\"status\":\"failed\"}\n{\"_id\":\"b\"}\n").await;
    assert_eq!((counts(&created), errors(&created)), ([1, 0, 0, 1], vec!["1 /_id conflict".to_owned()]));
    server.send(Method::DELETE, &format!("{CALLS}/b"), &[], "").await;
    let deleted = send("", "{\"_id\":\"b\"}\n").await;
    assert_eq!((counts(&deleted), count(&deleted, "deleted")), ([0, 0, 0, 0], 1), "{}", deleted.body);
    assert_eq!(counts(&send("?restoreDeleted=true", "{\"_id\":\"b\"}\n").await), [1, 0, 0, 0]);
    for query in
        ["?mode=merg", "?source=vapi", "?atomic=yes", "?restoreDeleted=1", "?limit=1", "?mode=merge&mode=merge"]
    {
        let refused = send(query, completed).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::BAD_REQUEST, "invalid_parameter"),
            "{query}"
        );
    }
    assert_eq!(
        send("?mode=&atomic=&source=&restoreDeleted=", completed).await.status,
        StatusCode::OK,
        "blank parameters are not given"
    );
}

/// The bytes of a line are kept where the record differs from them.
#[tokio::test]
async fn what_was_changed_is_kept_as_it_was_sent() {
    let server = Server::start().await;
    let line = "{\"_id\":\"a\", \"duration\" : NaN,\"agent\":\"x\"}";
    let body = format!("{line}\n{{\"_id\":\"b\",\"agent\":\"x\"}}\n");
    assert_eq!(counts(&import(&server, &[LINES], body.into()).await), [2, 0, 0, 0]);
    let table = "_id,duration\nc,nonsense\n";
    let workspace = WORKSPACE.parse().unwrap();
    assert_eq!(counts(&import(&server, &[CSV], table.into()).await), [1, 0, 0, 0]);
    for (id, sent, media_type) in [("a", line, "application/json"), ("c", "_id,duration\r\nc,nonsense\n", "text/csv")] {
        let original = server.store.get_original(&workspace, &id.parse().unwrap(), 1).await.unwrap().unwrap();
        assert_eq!((&original.body[..], original.info.media_type.as_str()), (sent.as_bytes(), media_type));
        assert_eq!(original.info.source, "import");
    }
    assert_eq!(server.store.list_originals(&workspace, &"b".parse().unwrap()).await.unwrap(), Some(vec![]));
}

#[tokio::test]
async fn strict_handling_is_a_preference_of_imports() {
    let server = Server::start().await;
    let body = "{\"_id\":\"a\",\"status\":\"busy\"}\n{\"_id\":\"b\",\"sentiment\":1}\n{\"callId\":\"c\"}\n";
    let strict = import(&server, &[LINES, STRICT], body.into()).await;
    assert_eq!(
        (counts(&strict), errors(&strict)),
        ([1, 0, 0, 2], vec!["2 /sentiment unknown".to_owned(), "3 /_id missing".to_owned()])
    );
    assert_eq!(strict.header("preference-applied"), "handling=strict");
    let lenient = import(&server, &[LINES], body.into()).await;
    assert_eq!(
        (counts(&lenient), warnings(&lenient)),
        ([2, 0, 1, 0], vec!["2 /sentiment unknown_member".to_owned(), "3 /_id id_derived".to_owned()])
    );
    assert!(!lenient.headers.contains_key("preference-applied"));
}

#[tokio::test]
async fn files_of_any_form_are_imported_without_a_server() {
    let directory = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        let child = command(directory.path()).args(arguments).args(["--data-dir", "data"]).stdin(Stdio::null()).spawn();
        output_of(child.unwrap())
    };
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    let table = "_id,status\na,completed\nb,failed\n";
    write("table.csv", table.as_bytes());
    write("table.csv.gz", &gzip(table.as_bytes()));
    write("page.json", b"{\"calls\":[{\"callId\":\"c\"},null]}");
    write("wide.txt", &utf16("{\"_id\":\"d\"}\r\n", false));
    write("sheet.xlsx", b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00\x21\x00");
    write("bad.ndjson", b"{\"_id\":\"e\"}\noops\n");
    assert_eq!(run(&["migrate"]).0, 0);
    let (code, printed, _) = run(&["import", "--workspace", "w", "table.csv", "table.csv.gz", "page.json", "wide.txt"]);
    let expected = "table.csv: 2 created, 0 replaced, 0 unchanged, 0 rejected\n\
                    table.csv.gz: 0 created, 0 replaced, 2 unchanged, 0 rejected\n\
                    page.json: 1 created, 0 replaced, 0 unchanged, 0 rejected, 1 skipped, 1 with warnings\n\
                    wide.txt: 1 created, 0 replaced, 0 unchanged, 0 rejected\n";
    assert_eq!((code, printed.as_str()), (0, expected));
    write("vendor.json", b"{\"calls\":[{\"sid\":\"CA1\"}]}");
    let (code, _, reason) = run(&["import", "--check", "vendor.json"]);
    assert!(code == 1 && reason.contains("source=generic"), "{reason}");
    assert_eq!(run(&["import", "--check", "--source", "generic", "vendor.json"]).0, 0);
    let (code, _, reason) = run(&["import", "--check", "sheet.xlsx"]);
    assert!(code == 1 && reason.contains("xlsx"), "{reason}");
    let (code, printed, reason) = run(&["import", "--workspace", "w", "--atomic", "bad.ndjson"]);
    assert!(code == 1 && printed.contains("0 created") && reason.contains("bad.ndjson:2: "), "{printed}{reason}");
    for options in [&["import", "--check", "bad.ndjson"][..], &["import", "--check", "--atomic", "bad.ndjson"]] {
        let (code, printed, _) = run(options);
        assert_eq!((code, printed.as_str()), (1, "bad.ndjson: 1 valid, 1 rejected\n"));
    }
    let (code, printed, _) = run(&["import", "--workspace", "w", "--mode", "merge", "table.csv"]);
    assert!(code == 0 && printed.contains("2 unchanged"), "{printed}");
}

/// The list of the platform that this API is compatible with, as its pages show it.
#[tokio::test]
async fn the_documented_list_goes_in_and_comes_back() {
    let list = r#"[{
        "_id": "00000000bf7ca4a7c69e0000", "timestamp": 1737062894.9754236, "callId": "00000000013bd867b55ca000-00t00imaqj",
        "fromPhoneNumber": "+00000000000", "toPhoneNumber": "+00000000000", "direction": "bidirectional",
        "agent": "SampleAgent", "status": "active", "callFlowName": "Example Call Flow", "cost": 0, "recordingUrl": null,
        "summary": "Call summary here", "analyzedData": {}, "variables": {}, "transcript": []
    }]"#;
    let server = Server::start().await;
    let response = import(&server, &[ARRAY], list.into()).await;
    assert_eq!(counts(&response), [1, 0, 0, 0], "{}", response.body);
    assert_eq!(warnings(&response), ["1 /timestamp renamed", "1 /cost cost_as_number"]);
    let call = server.get("00000000bf7ca4a7c69e0000", &[]).await.body;
    for part in [
        "\"startTime\":1737062894.9754236,",
        "\"cost\":{\"customer_charge\":0}",
        "\"callId\":\"00000000013bd867b55ca000-00t00imaqj\"",
        "\"agent\":\"SampleAgent\"",
        "\"callFlowName\":\"Example Call Flow\"",
        "\"transcript\":[]",
    ] {
        assert!(call.contains(part), "{part}: {call}");
    }
    assert_eq!(counts(&import(&server, &[ARRAY], list.into()).await), [0, 0, 1, 0], "the same list again");
}
