//! axum with sqlx over the database file of callhistory, read only, without keys and without a log.
//!
//! ```sh
//! cargo new peer && cp axum_sqlx.rs peer/src/main.rs && cd peer
//! cargo add axum@0.8 && cargo add sqlx@0.8 --features runtime-tokio,sqlite && cargo add tokio@1 --features full
//! cargo run --release -- callhistory.db 7803
//! ```

use axum::{Router, extract::{Path, State}, http::{HeaderMap, StatusCode, header}, response::IntoResponse, routing::get};
use sqlx::{SqlitePool, sqlite::{SqliteConnectOptions, SqlitePoolOptions}};

/// The transcript, the last member, has a column of its own.
const SELECT: &str = r#"SELECT CASE WHEN transcript IS NULL THEN body ELSE
    CAST(substr(body, 1, length(body) - 1) || ',"transcript":' || transcript || '}' AS BLOB) END FROM call"#;
const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

async fn get_call(State(db): State<SqlitePool>, Path(id): Path<String>, headers: HeaderMap) -> impl IntoResponse {
    let workspace = headers["x-workspace-id"].to_str().unwrap();
    let row: Option<(Vec<u8>,)> = sqlx::query_as(&format!("{SELECT} WHERE workspace_id = ? AND id = ?"))
        .bind(workspace).bind(id).fetch_optional(&db).await.unwrap();
    row.map(|(body,)| (JSON, body)).ok_or(StatusCode::NOT_FOUND)
}

async fn list_calls(State(db): State<SqlitePool>, headers: HeaderMap) -> impl IntoResponse {
    let workspace = headers["x-workspace-id"].to_str().unwrap();
    let rows: Vec<(Vec<u8>,)> =
        sqlx::query_as(&format!("{SELECT} WHERE workspace_id = ? ORDER BY sort_time DESC, id DESC LIMIT 50"))
            .bind(workspace).fetch_all(&db).await.unwrap();
    let bodies: Vec<_> = rows.into_iter().map(|(body,)| body).collect();
    (JSON, [b"[".as_slice(), &bodies.join(&b","[..]), b"]"].concat())
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let options = SqliteConnectOptions::new().filename(arguments.next().unwrap()).read_only(true);
    let db = SqlitePoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
    let router = Router::new()
        .route("/v2/api/call-history/{id}", get(get_call))
        .route("/v2/api/call-history", get(list_calls))
        .with_state(db);
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", arguments.next().unwrap())).await.unwrap();
    axum::serve(listener, router).await.unwrap();
}
