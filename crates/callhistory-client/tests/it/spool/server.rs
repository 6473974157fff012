//! A server that applies writes, counts them, and can be told to fail. It has threads of its own: it does not depend on the
//! clock of a test.

use std::{
    collections::HashMap,
    io::{BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use callhistory_client::model::examples;
use serde_json::Value;

/// One write that was applied.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Applied {
    pub(super) method: String,
    pub(super) id: String,
    /// The summary of the record or of the patch.
    pub(super) summary: String,
}

#[derive(Default)]
pub(super) struct State {
    /// The writes, in the order in which they were applied.
    pub(super) applied: Vec<Applied>,
    pub(super) records: HashMap<String, Value>,
    /// Every request.
    pub(super) requests: usize,
    /// The status of writes of a record, or of all with the ID `*`.
    pub(super) statuses: HashMap<String, u16>,
    /// Of this number of responses, one is lost after the write was applied.
    pub(super) loses_one_in: Option<usize>,
    /// The record whose writes are applied, and answered only when it is another one.
    pub(super) holds: Option<String>,
    pub(super) key: Option<String>,
}

pub(super) struct Server {
    pub(super) url: String,
    shared: Arc<(Mutex<State>, Condvar)>,
}

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: Value,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(super) fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { url, shared }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    /// Changes the server, and answers what it holds if it holds it no more.
    pub(super) fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.shared.1.notify_all();
    }

    /// Answers requests for a record, or for all with the ID `*`, by this status.
    pub(super) fn fail(&self, id: &str, status: u16) {
        self.state().statuses.insert(id.to_owned(), status);
    }

    /// Waits until the server is in this state.
    pub(super) fn wait(&self, condition: impl Fn(&State) -> bool) {
        let (state, result) = self
            .shared
            .1
            .wait_timeout_while(self.state(), Duration::from_secs(120), |state| !condition(state))
            .unwrap();
        assert!(!result.timed_out(), "{:?}", state.applied);
    }
}

fn serve(stream: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = read(&mut reader) else { return };
    let mut state = shared.0.lock().unwrap();
    state.requests += 1;
    let (status, body, is_lost) = state.answer(&request);
    shared.1.notify_all();
    let id = request.path.rsplit('/').next().unwrap_or_default().to_owned();
    let state = shared.1.wait_while(state, |state| state.holds.as_deref() == Some(&id)).unwrap();
    drop(state);
    if is_lost {
        return;
    }
    let media_type = if status < 300 { "application/json" } else { "application/problem+json" };
    let head = format!(
        "HTTP/1.1 {status} S\r\nconnection: close\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = (&stream).write_all(format!("{head}{body}").as_bytes());
}

fn read(reader: &mut impl std::io::BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let path = target.split('?').next()?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body: serde_json::from_slice(&body).unwrap_or_default() })
}

impl State {
    /// The status, the body, and whether the response is lost.
    fn answer(&mut self, request: &Request) -> (u16, String, bool) {
        let id = request.path.rsplit('/').next().unwrap_or_default();
        if let Some(status) = self.statuses.get("*").or_else(|| self.statuses.get(id)) {
            return (*status, problem(*status, "invalid_record"), false);
        }
        if self.key.is_some() && self.key.as_ref() != request.headers.get("x-api-key") {
            return (401, problem(401, "key_invalid"), false);
        }
        let is_write = request.method != "GET";
        let is_lost = is_write && self.loses_one_in.is_some_and(|count| self.requests.is_multiple_of(count));
        if is_write && request.headers.contains_key("if-none-match") && self.records.contains_key(id) {
            return (412, problem(412, "precondition_failed"), false);
        }
        let id = id.to_owned();
        if is_write {
            let summary = request.body["summary"].as_str().unwrap_or_default().to_owned();
            self.applied.push(Applied { method: request.method.clone(), id: id.clone(), summary });
        }
        match request.method.as_str() {
            "DELETE" => match self.records.remove(&id) {
                Some(_) => return (204, String::new(), is_lost),
                None => return (404, problem(404, "call_not_found"), is_lost),
            },
            "GET" => {}
            method => {
                let base = || serde_json::from_str(r#"{"metadata":{},"functionCalls":[],"analyzedData":{}}"#).unwrap();
                let mut record: Value =
                    if method == "PATCH" { self.records.get(&id).cloned().unwrap_or_else(base) } else { base() };
                record.as_object_mut().unwrap().extend(request.body.as_object().cloned().unwrap_or_default());
                let example: Value = serde_json::from_str(examples::SOURCE_EXAMPLE).unwrap();
                for name in ["workspaceId", "createdAt", "updatedAt"] {
                    record[name] = example[name].clone();
                }
                record["_id"] = id.clone().into();
                self.records.insert(id.clone(), record);
            }
        }
        match self.records.get(&id) {
            Some(record) => (200, record.to_string(), is_lost),
            None => (404, problem(404, "call_not_found"), is_lost),
        }
    }
}

fn problem(status: u16, code: &str) -> String {
    format!(r#"{{"type":"urn:x","title":"t","status":{status},"code":"{code}","detail":"d","requestId":"r"}}"#)
}
