//! Writes that survive an outage and a restart (feature `spool`).
//!
//! A [`SpoolingWriter`] takes a write once it is in a bounded file, and sends it in the background. The program does not wait for
//! the service, and loses no call when the network or the service is down, or when its own process is killed.
//!
//! ```no_run
//! # async fn example(client: callhistory_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use callhistory_client::{CallInput, CallPatch, CallStatus, spool::SpoolingWriter};
//!
//! let writer = SpoolingWriter::builder(client, "/var/lib/agent/calls").max_bytes(256 * 1024 * 1024).open().await?;
//! let ended = CallPatch::from(CallInput { status: Some(CallStatus::Completed), ..CallInput::default() });
//! match writer.upsert_call("1234567890abcdef", &ended).await {
//!     // It is on the disk, and will be sent.
//!     Ok(()) => println!("the call is safe"),
//!     Err(error) if error.is_full() => eprintln!("the service was away for too long: {error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! let status = writer.status();
//! println!("{} writes wait, the oldest since {:?}", status.queued, status.oldest);
//! writer.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! * **Nothing is lost.** A write that was taken is on the disk (`fsync`), also after `kill -9` or a power cut. It is removed once
//!   the service has stored it or refused it for good. Checksums detect what the disk has damaged.
//! * **Nothing is doubled.** A write whose response was lost is sent again, by the ID of its record, which the spool gives to a
//!   creation. A conditional write that is refused then counts as sent if the record is as it would have left it.
//! * **Writes of one record are sent in their order,** one after the other. Writes of several records are sent at the same time.
//! * **One process at a time.** Another one that opens the spool gets [`SpoolError::is_locked`].
//!
//! # What an error means for a write
//!
//! | response | |
//! |---|---|
//! | none, 401, 403, 408, 425, 429, 502, 503, 504, or an unknown route | everything waits, for 0.2 s to one minute or as `Retry-After` says, and a single request finds out whether it is over |
//! | 400, 404, 409, 410, 412, 413, 415 or 422 of the service | the write is [rejected](SpoolingWriter::rejected) with its problem, and what follows is sent |
//! | 500 and others | the write is tried again 20 times, and then rejected; what follows of its record waits |
//!
//! # Files
//!
//! The directory has the queue in segments (`*.spool`, `*.done`), `rejected.ndjson` with one [`RejectedWrite`] per line, and the lock.
//! Only the owner can read it. `rejected.ndjson` does not count for the bound: read it, and delete it while the spool is closed.

mod entry;
mod error;
mod journal;
mod message;
mod queue;
mod sender;
mod status;
mod thread;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use callhistory_model::{CallId, CallInput, CallPatch, Handling, JsonText, Timestamp};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use self::{
    entry::{Condition, Entry, WriteOptions},
    journal::Journal,
    message::{Command, Journals, SenderEvent},
    queue::Queue,
    sender::Sender,
};
pub use self::{
    entry::{RejectedWrite, SpooledOperation},
    error::SpoolError,
    status::SpoolStatus,
};
use crate::{calls::random_bits, client::Client, error::Error, transport::encode, version::Version};

/// Opens a spool; returned by [`SpoolingWriter::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until the spool is opened"]
pub struct SpoolBuilder {
    client: Client,
    directory: PathBuf,
    max_bytes: u64,
}

impl SpoolBuilder {
    /// The default of [`max_bytes`](Self::max_bytes): 64 MiB.
    pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

    /// The size of the queue in bytes from which no further write is taken; 64 MiB by default.
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Opens the spool, creates its directory, and starts to send what waits in it. Must be called in a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`SpoolError::is_locked`] if another process has opened it. Other errors are of the file system, or say that the spool
    /// belongs to another workspace.
    pub async fn open(self) -> Result<SpoolingWriter, SpoolError> {
        let Self { client, directory, max_bytes } = self;
        let workspace = client.workspace().to_owned();
        let path = directory.clone();
        let opened = tokio::task::spawn_blocking(move || Journal::open(&path, &workspace, max_bytes)).await;
        let (journal, queued) = opened.map_err(std::io::Error::other)??;
        let status = Arc::new(watch::Sender::new(SpoolStatus {
            queued: journal.queued(),
            bytes: journal.bytes(),
            oldest: journal.oldest(),
            damaged: journal.damaged(),
            ..SpoolStatus::default()
        }));
        let (events, received) = mpsc::unbounded_channel();
        let journal = thread::start(journal, events.clone(), Arc::clone(&status))?;
        let mut queue = Queue::default();
        queued.into_iter().for_each(|queued| queue.push(queued));
        let sender = Sender {
            client,
            directory: directory.clone(),
            queue,
            journal: journal.clone(),
            events: events.clone(),
            status: Arc::clone(&status),
            in_flight: 0,
            outages: 0,
            is_paused: false,
            is_closing: false,
        };
        let task = Mutex::new(Some(tokio::spawn(sender.run(received))));
        let spool = Spool { directory, journal, events, status, task };
        Ok(SpoolingWriter { spool: Arc::new(spool), options: WriteOptions::default() })
    }
}

/// What the writers of one spool share.
struct Spool {
    directory: PathBuf,
    journal: Journals,
    events: mpsc::UnboundedSender<SenderEvent>,
    status: Arc<watch::Sender<SpoolStatus>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Spool {
    /// The sender closes the files once the requests that are on their way have ended.
    fn drop(&mut self) {
        let _ = self.events.send(SenderEvent::Close);
    }
}

/// Writes call records by way of a file: see the [module](self). Clones share the spool.
#[derive(Clone)]
pub struct SpoolingWriter {
    spool: Arc<Spool>,
    options: WriteOptions,
}

impl std::fmt::Debug for SpoolingWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpoolingWriter").field("directory", &self.spool.directory).finish_non_exhaustive()
    }
}

impl SpoolingWriter {
    /// Returns a builder for the spool in this directory, which sends with this client.
    ///
    /// The workspace and the key are those of the client. Its retries do not matter: the spool repeats requests itself.
    pub fn builder(client: Client, directory: impl Into<PathBuf>) -> SpoolBuilder {
        SpoolBuilder { client, directory: directory.into(), max_bytes: SpoolBuilder::MAX_BYTES }
    }

    /// The same spool, whose writes prefer this handling of what breaks a rule.
    #[must_use]
    pub fn with_handling(&self, handling: Handling) -> Self {
        let mut writer = self.clone();
        writer.options.handling = Some(handling);
        writer
    }

    /// The same spool, with `replace_call`, `update_call`, `upsert_call` and `delete_call` limited to this version of the record.
    #[must_use]
    pub fn if_version(&self, version: &Version) -> Self {
        let mut writer = self.clone();
        writer.options.condition = Some(Condition::IfVersion(version.clone()));
        writer
    }

    /// The same spool, with `replace_call` limited to a record that does not exist.
    #[must_use]
    pub fn if_absent(&self) -> Self {
        let mut writer = self.clone();
        writer.options.condition = Some(Condition::IfAbsent);
        writer
    }

    /// Takes the creation of a record, and returns its ID: 24 hexadecimal digits that sort by time, as those of the service. The
    /// record can be changed by it at once. An `Idempotency-Key` would expire in a long outage; the ID does not.
    ///
    /// # Errors
    ///
    /// [`SpoolError::is_full`], [`SpoolError::is_closed`], [`SpoolError::is_invalid_request`], or an error of the file system:
    /// the write was not taken.
    #[expect(clippy::disallowed_methods, reason = "an ID starts with its time")]
    pub async fn create_call(&self, call: &CallInput) -> Result<CallId, SpoolError> {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let id = format!("{seconds:08x}{:016x}", random_bits()? >> 64);
        let id: CallId = id.parse().map_err(|error| Error::invalid_source("the call ID is invalid", error))?;
        self.if_absent().take(SpooledOperation::Create, &id, Some(encode(call)?)).await?;
        Ok(id)
    }

    /// Takes the creation or replacement of a record.
    ///
    /// # Errors
    ///
    /// Those of [`create_call`](Self::create_call).
    pub async fn replace_call(&self, id: &str, call: &CallInput) -> Result<(), SpoolError> {
        self.take(SpooledOperation::Replace, id, Some(encode(call)?)).await
    }

    /// Takes a change of a record in part.
    ///
    /// # Errors
    ///
    /// Those of [`create_call`](Self::create_call).
    pub async fn update_call(&self, id: &str, patch: &CallPatch) -> Result<(), SpoolError> {
        self.take(SpooledOperation::Update, id, Some(patch.to_json().into_bytes())).await
    }

    /// Takes a change of a record in part, which creates the record if it does not exist.
    ///
    /// # Errors
    ///
    /// Those of [`create_call`](Self::create_call).
    pub async fn upsert_call(&self, id: &str, patch: &CallPatch) -> Result<(), SpoolError> {
        self.take(SpooledOperation::Upsert, id, Some(patch.to_json().into_bytes())).await
    }

    /// Takes the deletion of a record. A record that does not exist counts as deleted.
    ///
    /// # Errors
    ///
    /// Those of [`create_call`](Self::create_call).
    pub async fn delete_call(&self, id: &str) -> Result<(), SpoolError> {
        self.take(SpooledOperation::Delete, id, None).await
    }

    #[expect(clippy::disallowed_methods, reason = "the age of a write is a figure of the spool")]
    async fn take(&self, operation: SpooledOperation, id: &str, body: Option<Vec<u8>>) -> Result<(), SpoolError> {
        let id: CallId = id.parse().map_err(|error| Error::invalid_source("the call ID is invalid", error))?;
        let invalid = |error| Error::invalid_source("the record cannot be serialized", error);
        let body = body.map(|body| serde_json::from_slice::<JsonText>(&body)).transpose().map_err(invalid)?;
        let WriteOptions { condition, handling } = self.options.clone();
        let entry = Entry {
            sequence: 0,
            at: Timestamp::from(SystemTime::now()),
            operation,
            id: id.into(),
            condition,
            is_lenient: handling == Some(Handling::Lenient),
            is_strict: handling == Some(Handling::Strict),
            body,
        };
        let (reply, taken) = oneshot::channel();
        self.spool.journal.send(Command::Append(Box::new(entry), reply));
        taken.await.map_err(|_| SpoolError::closed())?
    }

    /// The figures of the spool.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        self.spool.status.borrow().clone()
    }

    /// The figures of the spool, now and whenever they change: for gauges and alarms.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<SpoolStatus> {
        self.spool.status.subscribe()
    }

    /// Waits until nothing waits: each write that was taken is stored or rejected. It may wait for as long as an outage lasts.
    pub async fn flush(&self) {
        // The sender is in the spool, which this writer keeps.
        let _ = self.spool.status.subscribe().wait_for(|status| status.queued == 0).await;
    }

    /// What the service has refused for good, the oldest first: the lines of `rejected.ndjson`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub async fn rejected(&self) -> Result<Vec<RejectedWrite>, SpoolError> {
        let directory = self.spool.directory.clone();
        let read = tokio::task::spawn_blocking(move || journal::read_rejected(&directory)).await;
        Ok(read.map_err(std::io::Error::other)??)
    }

    /// Closes the spool for all clones: waits for the requests that are on their way, and releases the lock. What waits is sent
    /// when the spool is opened again. Without it, the last clone that is dropped closes the spool in the background.
    pub async fn close(self) {
        let _ = self.spool.events.send(SenderEvent::Close);
        let task = self.spool.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}
