//! Sends what waits, in order, and decides what an error means for a write.

use std::{path::PathBuf, sync::Arc, time::Duration};

use callhistory_model::{CallInput, CallPatch, CallRecord, Handling, ProblemCode, Timestamp, UpdateQuery};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    entry::{Condition, Entry, RejectedWrite, SpooledOperation},
    journal::{self, Queued},
    message::{Command, Journals, Outcome, SenderEvent},
    queue::Queue,
    status::SpoolStatus,
};
use crate::{client::Client, error::Error};

/// Requests at one time, each of another record.
const MAX_IN_FLIGHT: usize = 8;
const MIN_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Failures of the service at one write, such as the status 500, after which the write is rejected: it took a quarter of an hour.
const MAX_FAULTS: u32 = 20;

pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) directory: PathBuf,
    pub(super) queue: Queue,
    pub(super) journal: Journals,
    pub(super) events: mpsc::UnboundedSender<SenderEvent>,
    pub(super) status: Arc<watch::Sender<SpoolStatus>>,
    pub(super) in_flight: usize,
    /// Outages since the last response.
    pub(super) outages: u32,
    pub(super) is_paused: bool,
    pub(super) is_closing: bool,
}

impl Sender {
    /// Runs until the spool is closed and the requests that it has sent have ended. Then it closes the files: nobody else may send
    /// while a request is on its way.
    pub(super) async fn run(mut self, mut events: mpsc::UnboundedReceiver<SenderEvent>) {
        self.fill();
        while !(self.is_closing && self.in_flight == 0)
            && let Some(event) = events.recv().await
        {
            self.handle(event);
            self.fill();
        }
        let (reply, closed) = oneshot::channel();
        self.journal.send(Command::Close(reply));
        let _ = closed.await;
    }

    fn handle(&mut self, event: SenderEvent) {
        match event {
            SenderEvent::Queued(queued) => self.queue.push(queued),
            SenderEvent::Settled(sequence) => self.queue.finish(sequence),
            SenderEvent::Unmarked(sequence) => self.after(MAX_PAUSE, SenderEvent::Rested(sequence)),
            SenderEvent::Rested(sequence) => self.queue.put_back(sequence),
            SenderEvent::Awake => self.is_paused = false,
            SenderEvent::Close => self.is_closing = true,
            SenderEvent::Answered(sequence, outcome) => {
                self.in_flight -= 1;
                self.answered(sequence, outcome);
            }
        }
    }

    fn answered(&mut self, sequence: u64, outcome: Outcome) {
        let is_outage = matches!(outcome, Outcome::Outage { .. });
        if !matches!(outcome, Outcome::Unreadable(_)) {
            self.status.send_if_modified(|status| std::mem::replace(&mut status.is_connected, !is_outage) == is_outage);
        }
        if !is_outage {
            self.outages = 0;
        }
        match outcome {
            Outcome::Sent => self.journal.send(Command::Finish(sequence)),
            Outcome::Rejected(write) => self.journal.send(Command::Reject(write)),
            Outcome::Fault(write) => match self.queue.count_fault(sequence) {
                MAX_FAULTS.. => self.journal.send(Command::Reject(write)),
                faults => {
                    self.report(&write.error);
                    self.after(pause(faults), SenderEvent::Rested(sequence));
                }
            },
            Outcome::Unreadable(error) => {
                self.report(&error);
                self.after(MAX_PAUSE, SenderEvent::Rested(sequence));
            }
            Outcome::Outage { error, retry_after } => {
                self.report(&error);
                self.queue.put_back(sequence);
                self.outages += 1;
                if !self.is_paused {
                    self.is_paused = true;
                    self.after(pause(self.outages).max(retry_after.unwrap_or_default()), SenderEvent::Awake);
                }
            }
        }
    }

    fn report(&self, error: &str) {
        self.status.send_modify(|status| status.last_error = Some(error.to_owned()));
    }

    /// Sends an event to this task, later.
    fn after(&self, time: Duration, event: SenderEvent) {
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            // The task has ended where the spool is closed.
            let _ = events.send(event);
        });
    }

    /// Starts requests. After an outage, a single one finds out whether it is over.
    fn fill(&mut self) {
        let limit = if self.outages > 0 { 1 } else { MAX_IN_FLIGHT };
        while !self.is_paused && !self.is_closing && self.in_flight < limit {
            let Some(queued) = self.queue.take() else { return };
            let (client, directory, events) = (self.client.clone(), self.directory.clone(), self.events.clone());
            self.in_flight += 1;
            tokio::spawn(async move {
                let sequence = queued.sequence;
                let outcome = send(&client, directory, queued).await;
                let _ = events.send(SenderEvent::Answered(sequence, outcome));
            });
        }
    }
}

/// 0.2 s, 0.4 s and so on, up to a minute.
fn pause(count: u32) -> Duration {
    MIN_PAUSE.saturating_mul(1 << count.saturating_sub(1).min(16)).min(MAX_PAUSE)
}

async fn send(client: &Client, directory: PathBuf, queued: Queued) -> Outcome {
    let place = queued.place;
    let read = tokio::task::spawn_blocking(move || journal::read(&directory, place)).await;
    let entry = match read {
        Ok(Ok(entry)) => entry,
        Ok(Err(error)) => return Outcome::Unreadable(error.to_string()),
        Err(error) => return Outcome::Unreadable(error.to_string()),
    };
    let client = client_for(client, &entry);
    let body = entry.body.as_ref().map(|body| body.as_str().to_owned()).unwrap_or_default();
    let id = &entry.id;
    let result = match entry.operation {
        SpooledOperation::Create | SpooledOperation::Replace => {
            client.replace_json(id, body.into_bytes()).await.map(drop)
        }
        SpooledOperation::Update => client.patch_json(id, body, UpdateQuery::new()).await.map(drop),
        SpooledOperation::Upsert => client.patch_json(id, body, UpdateQuery::new().upsert(true)).await.map(drop),
        SpooledOperation::Delete => client.delete_call(id).await,
    };
    match result {
        Ok(()) => Outcome::Sent,
        Err(error) if is_done(&client, &entry, &error, queued.is_repeat).await => Outcome::Sent,
        Err(error) => outcome(entry, &error),
    }
}

/// The client with the condition and the handling of a write, and without retries: the spool repeats it.
fn client_for(client: &Client, entry: &Entry) -> Client {
    let client = client.with(|mut options| {
        if let Some(handling) = entry.handling() {
            options = options.handling(handling);
        }
        options.max_retries(0)
    });
    match &entry.condition {
        Some(Condition::IfAbsent) => client.if_absent(),
        Some(Condition::IfVersion(version)) => client.if_version(version),
        None => client,
    }
}

/// Whether a write that failed is stored all the same: its response was lost, or an earlier attempt has written it.
async fn is_done(client: &Client, entry: &Entry, error: &Error, is_repeat: bool) -> bool {
    match entry.operation {
        _ if error.was_accepted() => true,
        SpooledOperation::Delete => error.code() == Some(&ProblemCode::CallNotFound),
        // Nobody else knows the ID.
        SpooledOperation::Create => is_repeat && error.is_precondition_failed(),
        _ if is_repeat && error.is_precondition_failed() => match client.get_call(&entry.id).await {
            Ok(stored) => has_written(entry, &stored).unwrap_or(false),
            Err(_) => false,
        },
        _ => false,
    }
}

/// Whether a record is as a write would leave it.
fn has_written(entry: &Entry, stored: &CallRecord) -> Option<bool> {
    let body = entry.body.as_ref()?.as_str().as_bytes();
    let handling = entry.handling().unwrap_or(Handling::Strict);
    let mut written = match entry.operation {
        SpooledOperation::Replace => CallInput::parse(body, handling).ok()?.input,
        _ => CallPatch::parse(body, handling).ok()?.apply(stored, handling).ok()?.input,
    };
    written.id = Some(stored.id.clone());
    written.workspace_id = Some(stored.workspace_id.clone());
    written.created_at = Some(stored.created_at.clone());
    written.updated_at = Some(stored.updated_at.clone());
    Some(written.into_record().ok()? == *stored)
}

fn outcome(entry: Entry, error: &Error) -> Outcome {
    let is_of_service = error.problem().is_some();
    let is_route = matches!(error.code(), Some(ProblemCode::RouteNotFound | ProblemCode::MethodNotAllowed));
    let is_refused_here = error.status().is_none() && error.is_invalid_request();
    match error.status() {
        Some(400 | 404 | 409 | 410 | 412 | 413 | 415 | 422) if is_of_service && !is_route => {
            Outcome::Rejected(Box::new(rejected(entry, error)))
        }
        None if is_refused_here => Outcome::Rejected(Box::new(rejected(entry, error))),
        // A proxy, a wrong URL or a wrong key says nothing about the write.
        Some(401 | 403 | 404 | 405 | 407) | None => outage(error),
        Some(_) if error.is_retryable() || is_route => outage(error),
        Some(_) => Outcome::Fault(Box::new(rejected(entry, error))),
    }
}

fn outage(error: &Error) -> Outcome {
    Outcome::Outage { error: error.to_string(), retry_after: error.retry_after() }
}

#[expect(clippy::disallowed_methods, reason = "the time of the rejection")]
fn rejected(entry: Entry, error: &Error) -> RejectedWrite {
    RejectedWrite {
        sequence: entry.sequence,
        at: entry.at,
        rejected_at: Timestamp::from(std::time::SystemTime::now()),
        operation: entry.operation,
        id: entry.id,
        body: entry.body,
        error: error.to_string(),
        status: error.status(),
        problem: error.problem().cloned(),
    }
}
