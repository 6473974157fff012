//! The formats of exports.

use std::{
    io::{Cursor, Read as _},
    process::Command,
};

use callhistory_client::model::{ExportQuery, examples};
use callhistory_test_support::programs::postgres_programs;
use flate2::read::MultiGzDecoder;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    binary::run,
    harness::{Server, WORKSPACE},
    import_export::EXPORT,
    postgres::database,
};

const EXAMPLE: &str = "67375a0f2b8c4e001f3d9a11";

/// An export as bytes.
async fn export(server: &Server, query: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut request =
        reqwest::Client::builder().no_gzip().build().unwrap().get(server.url(&format!("{EXPORT}?{query}")));
    request = request.header("x-workspace-id", WORKSPACE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.headers().clone(), response.bytes().await.unwrap().to_vec())
}

async fn text(server: &Server, query: &str) -> String {
    String::from_utf8(export(server, query, &[]).await.2).unwrap()
}

/// A server with the example and a record of hostile texts.
async fn server_of_two() -> Server {
    let server = Server::start().await;
    server.put(EXAMPLE, &[], examples::COMPLETE_EXAMPLE).await;
    let hostile = json!({
        "summary": "=HYPERLINK(\"http://x\")", "agent": "@SUM(1)", "callId": "00123456789012345678", "batchId": "1E5",
        "agentId": "-2", "roomName": "a\u{1}\u{1f}b\u{85}c", "callFlowName": "\"", "fromPhoneNumber": "+493012345678",
        "toPhoneNumber": "_x0041_", "status": "a\r\nb", "callType": "", "recordingUrl": "😀".repeat(2_000),
        "startTime": 1.5, "endTime": 100, "cost": {"customer_charge": -0.50, "currency": "EUR"},
        "metadata": {"a": "b,\"c\"\nd"}, "transcript": [{"content": "x".repeat(40_000)}],
    });
    // A value loses the zero.
    let hostile = hostile.to_string().replace("-0.5", "-0.50");
    server.put("hostile", &[], &hostile).await;
    server
}

#[tokio::test]
async fn csv_has_exact_texts_iso_times_and_durations() {
    let server = server_of_two().await;
    let (_, headers, bytes) = export(&server, "format=csv", &[]).await;
    assert_eq!(headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(headers["content-disposition"], "attachment; filename=\"call-history.csv\"");
    let mut reader = csv::Reader::from_reader(&*bytes);
    let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        header.join(","),
        "_id,workspaceId,agentId,callFlowId,roomName,direction,fromPhoneNumber,toPhoneNumber,status,startTime,startTimeIso,\
         endTime,endTimeIso,cost,cost.customer_charge,cost.currency,metadata,functionCalls,summary,analyzedData,createdAt,\
         updatedAt,callId,batchId,callType,agent,callFlowName,duration,answeredAt,answeredAtIso,recordingUrl,variables,\
         transcript,extra"
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let cell = |row: usize, name: &str| rows[row][header.iter().position(|have| have == name).unwrap()].to_owned();
    assert_eq!(cell(0, "cost"), r#"{"customer_charge":0.10,"telephony":0.0125,"llm":0.0300,"currency":"USD"}"#);
    for (row, name, expected) in [
        (0, "startTime", "1737062894.9754236"),
        (0, "startTimeIso", "2025-01-16T21:28:14.975423600Z"),
        (0, "cost.customer_charge", "0.10"),
        (0, "toPhoneNumber", "+18005550100"),
        (1, "summary", "=HYPERLINK(\"http://x\")"),
        (1, "agent", "@SUM(1)"),
        (1, "roomName", "a\u{1}\u{1f}b\u{85}c"),
        (1, "callFlowName", "\""),
        (1, "status", "a\r\nb"),
        (1, "startTimeIso", "1970-01-01T00:00:01.500Z"),
        (1, "endTimeIso", "1970-01-01T00:01:40Z"),
        (1, "answeredAtIso", ""),
        (1, "duration", "98.5"),
        (1, "cost.customer_charge", "-0.50"),
        (1, "cost.currency", "EUR"),
        (1, "extra", r#"{"callType":"","duration":null}"#),
        (1, "metadata", r#"{"a":"b,\"c\"\nd"}"#),
    ] {
        assert_eq!(cell(row, name), expected, "{name}");
    }
    let few = text(&server, "format=csv&fields=callType,callFlowId,endTime,agentId,_id&sort=startTime").await;
    let expected = "callType,callFlowId,endTime,agentId,_id\r\n\"\",,100,\"-2\",\"hostile\"\r\n";
    assert!(few.starts_with(expected), "an empty text is not an absent one: {few}");
    let marked = text(&server, "format=csv&bom=true&fields=_id").await;
    assert_eq!(marked, format!("\u{feff}_id\r\n\"{EXAMPLE}\"\r\n\"hostile\"\r\n"));
}

#[tokio::test]
async fn an_export_has_fields_and_an_order() {
    let server = server_of_two().await;
    server.put("third", &[], r#"{"startTime":5,"cost":{"customer_charge":7}}"#).await;
    let lines = text(&server, "fields=startTime,_id&sort=-cost").await;
    let expected = format!(
        "{{\"_id\":\"third\",\"startTime\":5}}\n{{\"_id\":\"{EXAMPLE}\",\"startTime\":1737062894.9754236}}\n\
         {{\"_id\":\"hostile\",\"startTime\":1.5}}\n"
    );
    assert_eq!(lines, expected);
    server.put("free", &[], r#"{"startTime":9}"#).await;
    for sort in ["startTime", "-startTime", "createdAt", "-updatedAt", "duration", "-duration", "cost", "-cost"] {
        for filter in ["", "&metadata.a=b,%22c%22%0Ad", "&minDuration=50", "&search=hyperlink"] {
            let exported = text(&server, &format!("fields=_id&sort={sort}{filter}")).await;
            let path = format!("/v2/api/call-history?fields=_id&sort={sort}{filter}");
            let listed = server.send(Method::GET, &path, &[], "").await.body;
            assert_eq!(format!("[{}]", exported.trim_end().replace('\n', ",")), listed, "{sort} {filter}");
        }
    }
    for (query, reason) in [
        ("fields=_id,statu", "did you mean \\\"status\\\"?"),
        ("fields=startTimeIso", "is not one of"),
        ("format=csv&fields=_id,_id", "more than once"),
        ("format=excel", "ndjson, csv, xlsx, parquet"),
        ("bom=true", "format=csv"),
        ("sort=status", "startTime"),
    ] {
        let (status, _, body) = export(&server, query, &[]).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {body}");
        assert!(body.contains(reason), "{query}: {body}");
    }
}

#[tokio::test]
async fn an_export_is_compressed_on_request() {
    let server = server_of_two().await;
    for format in ["ndjson", "csv"] {
        let query = format!("format={format}");
        let (_, headers, plain) = export(&server, &query, &[]).await;
        assert!(!headers.contains_key("content-encoding"));
        for (accepted, has_gzip) in [("gzip", true), ("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("br", false)] {
            let (_, headers, bytes) = export(&server, &query, &[("accept-encoding", accepted)]).await;
            assert_eq!(headers.get("content-encoding").is_some(), has_gzip, "{accepted}");
            let vary = headers["vary"].to_str().unwrap();
            assert!(vary.split(", ").any(|name| name == "accept-encoding"), "{vary}");
            let mut read = Vec::new();
            if has_gzip {
                MultiGzDecoder::new(&*bytes).read_to_end(&mut read).unwrap();
            } else {
                read = bytes;
            }
            assert_eq!(read, plain, "{format} {accepted}");
        }
    }
}

/// The text of a file of a workbook.
fn part(workbook: &[u8], name: &str) -> String {
    let mut archive = zip::ZipArchive::new(Cursor::new(workbook)).unwrap();
    let mut text = String::new();
    archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn a_workbook_has_texts_numbers_and_dates() {
    let server = server_of_two().await;
    let (status, headers, bytes) = export(&server, "format=xlsx", &[("accept-encoding", "gzip")]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-disposition"], "attachment; filename=\"call-history.xlsx\"");
    assert_eq!(headers["content-type"], "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet");
    assert!(!headers.contains_key("content-encoding"), "it is compressed already");
    assert_eq!(headers["content-length"], bytes.len().to_string().as_str());
    let sheet = part(&bytes, "xl/worksheets/sheet1.xml");
    assert!(sheet.contains(r#"<pane ySplit="1""#) && !sheet.contains("<f>"), "{sheet}");
    let cell = |name: &str| {
        let start = sheet.find(&format!("<c r=\"{name}\"")).unwrap_or_else(|| panic!("{name}"));
        let cell = &sheet[start..start + sheet[start..].find("</c>").unwrap()];
        cell.replace(&format!(" r=\"{name}\""), "")
    };
    let texts = [
        ("A1", "_id"),
        ("J1", "startTime (UTC)"),
        ("A2", EXAMPLE),
        ("C3", "-2"),
        ("E3", "abc"),
        ("G3", "+493012345678"),
        ("H3", "_x005F_x0041_"),
        ("I3", "a\nb"),
        ("N3", "EUR"),
        ("Q3", "=HYPERLINK(\"http://x\")"),
        ("U3", "00123456789012345678"),
        ("V3", "1E5"),
        ("X3", "@SUM(1)"),
        ("Y3", "\""),
    ];
    for (name, expected) in texts {
        let cell = cell(name);
        assert!(cell.contains("t=\"inlineStr\"") && cell.ends_with(&format!(">{expected}</t></is>")), "{name}: {cell}");
    }
    for (name, expected) in
        [("J3", 25_569.0 + 1.5 / 86_400.0), ("K3", 25_569.0 + 100.0 / 86_400.0), ("M3", -0.5), ("Z3", 98.5)]
    {
        let cell = cell(name);
        let number: f64 = cell.rsplit("<v>").next().unwrap().trim_end_matches("</v>").parse().unwrap();
        assert!(!cell.contains("t=") && (number - expected).abs() < 1e-9, "{name}: {cell}");
    }
    let transcript = cell("AD3");
    assert!(transcript.ends_with("xxx…</t></is>") && transcript.len() < 33_000, "{}", transcript.len());
    assert!(cell("AB3").contains(&"😀".repeat(2_000)));
    assert!(!sheet.contains("<c r=\"W3\""), "an empty text has no cell");
    let empty = export(&server, "format=xlsx&status=none&fields=_id,duration", &[]).await.2;
    assert!(part(&empty, "xl/worksheets/sheet1.xml").contains(">duration</t>"));
}

#[tokio::test]
async fn times_are_in_the_time_zone_of_the_query() {
    let server = Server::start().await;
    server.put("summer", &[], r#"{"startTime":1782907200.5}"#).await;
    server.put("winter", &[], r#"{"startTime":1767268800}"#).await;
    let rows = text(&server, "format=csv&fields=startTimeIso&timezone=Asia/Kolkata").await;
    assert_eq!(rows, "startTimeIso\r\n2026-07-01T17:30:00.500+05:30\r\n2026-01-01T17:30:00+05:30\r\n");
    let rows = text(&server, "format=csv&fields=startTimeIso&timezone=Europe/London").await;
    assert_eq!(rows, "startTimeIso\r\n2026-07-01T13:00:00.500+01:00\r\n2026-01-01T12:00:00+00:00\r\n");
    let book = export(&server, "format=xlsx&fields=startTime&timezone=Europe/London", &[]).await.2;
    let sheet = part(&book, "xl/worksheets/sheet1.xml");
    // 2026-07-01T13:00:00.500 on the clocks of London.
    assert!(sheet.contains("startTime (Europe/London)") && sheet.contains("<v>46204.5416724"), "{sheet}");
}

#[tokio::test]
async fn parquet_is_a_whole_file() {
    let server = server_of_two().await;
    let (_, headers, bytes) = export(&server, "format=parquet", &[("accept-encoding", "gzip")]).await;
    assert_eq!(headers["content-type"], "application/vnd.apache.parquet");
    assert_eq!(headers["content-disposition"], "attachment; filename=\"call-history.parquet\"");
    assert!(!headers.contains_key("content-encoding"));
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

/// Where `psql` is installed; some packages have only the server.
#[tokio::test]
async fn postgresql_reads_csv() {
    let folder = postgres_programs([]).unwrap();
    let Some(psql) = folder.map(|folder| folder.join("psql")).filter(|psql| psql.exists()) else { return };
    let (server, directory) = (server_of_two().await, TempDir::new().unwrap());
    let file = directory.path().join("calls.csv");
    std::fs::write(&file, text(&server, "format=csv").await).unwrap();
    let columns = ExportQuery::COLUMNS.iter().map(|name| match *name {
        "startTime" | "endTime" | "duration" | "cost.customer_charge" => format!("{name:?} numeric"),
        "startTimeIso" | "createdAt" => format!("{name:?} timestamptz"),
        "metadata" | "transcript" => format!("{name:?} json"),
        _ => format!("{name:?} text"),
    });
    let create = format!("CREATE TABLE calls ({})", columns.collect::<Vec<_>>().join(", "));
    let copy = format!("\\copy calls FROM '{}' CSV HEADER", file.display());
    let select = "SELECT row_to_json(calls) FROM calls ORDER BY _id DESC";
    let mut command = Command::new(psql);
    command.args(["-qAt", "-v", "ON_ERROR_STOP=1", "-c", "SET timezone = 'UTC'", "-c", &create, "-c", &copy]);
    let output = command.args(["-c", select, &database()]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed} {}", String::from_utf8_lossy(&output.stderr));
    let hostile: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    for (name, expected) in [
        ("summary", json!("=HYPERLINK(\"http://x\")")),
        ("roomName", json!("a\u{1}\u{1f}b\u{85}c")),
        ("status", json!("a\r\nb")),
        ("callType", json!("")),
        ("callFlowId", Value::Null),
        ("startTimeIso", json!("1970-01-01T00:00:01.5+00:00")),
        ("duration", json!(98.5)),
        ("metadata", json!({"a": "b,\"c\"\nd"})),
    ] {
        assert_eq!(hostile[name], expected, "{name}");
    }
    assert_eq!(printed.lines().count(), 2);
}

#[tokio::test]
async fn the_program_writes_each_format() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    std::fs::write(path.join("a.ndjson"), "{\"_id\":\"a\",\"startTime\":1}\n{\"_id\":\"b\",\"startTime\":2}\n")
        .unwrap();
    assert_eq!(run(path, &["migrate"]).0, 0);
    assert_eq!(run(path, &["import", "--workspace", "w", "a.ndjson"]).0, 0);
    let table =
        ["export", "--workspace", "w", "--format", "csv", "--fields", "startTimeIso,_id", "--sort", "-startTime"];
    let (code, printed, errors) = run(path, &[&table[..], &["--timezone", "Asia/Tokyo", "-o", "-"]].concat());
    let expected = "startTimeIso,_id\r\n1970-01-01T09:00:02+09:00,\"b\"\r\n1970-01-01T09:00:01+09:00,\"a\"\r\n";
    assert_eq!((code, printed.as_str()), (0, expected), "{errors}");
    for (format, start) in [("ndjson", &b"{\"_id\""[..]), ("xlsx", b"PK"), ("parquet", b"PAR1")] {
        let (code, _, errors) = run(path, &["export", "--workspace", "w", "--format", format, "-o", "calls"]);
        assert_eq!(code, 0, "{errors}");
        assert!(std::fs::read(path.join("calls")).unwrap().starts_with(start), "{format}");
    }
    for (option, value, reason) in [
        ("--format", "excel", "ndjson, csv, xlsx, parquet"),
        ("--sort", "name", "startTime"),
        ("--timezone", "Europe/Berlim", "Europe/Berlin"),
        ("--fields", "_id&x", "is not one of"),
    ] {
        let (code, _, errors) = run(path, &["export", "--workspace", "w", option, value]);
        assert!(code != 0 && errors.contains(reason), "{errors}");
    }
}
