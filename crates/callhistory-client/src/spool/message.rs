//! What the sender and the thread of the files tell each other.

use std::{sync::mpsc, time::Duration};

use tokio::sync::oneshot;

use super::{
    entry::{Entry, RejectedWrite},
    error::SpoolError,
    journal::Queued,
};

/// Commands for the thread of the files.
pub(super) enum Command {
    Append(Box<Entry>, oneshot::Sender<Result<(), SpoolError>>),
    Finish(u64),
    Reject(Box<RejectedWrite>),
    /// Ends the thread, and releases the lock before it answers.
    Close(oneshot::Sender<()>),
}

/// Sends commands to the thread.
#[derive(Clone)]
pub(super) struct Journals(pub(super) mpsc::Sender<Command>);

impl Journals {
    /// The thread has ended where the spool is closed: the command has no meaning then.
    pub(super) fn send(&self, command: Command) {
        let _ = self.0.send(command);
    }
}

/// Events for the sender.
pub(super) enum SenderEvent {
    /// A write is in the file.
    Queued(Queued),
    /// A request has ended.
    Answered(u64, Outcome),
    /// A write is marked as done.
    Settled(u64),
    /// A write could not be marked: it is sent again.
    Unmarked(u64),
    /// A write can be tried again.
    Rested(u64),
    /// The pause of an outage is over.
    Awake,
    /// No further write comes, and no further request starts.
    Close,
}

/// What a response means for a write.
pub(super) enum Outcome {
    /// It is stored.
    Sent,
    /// It will never be.
    Rejected(Box<RejectedWrite>),
    /// The service cannot be reached, or does not let this client in: everything waits.
    Outage { error: String, retry_after: Option<Duration> },
    /// The service failed at this write.
    Fault(Box<RejectedWrite>),
    /// The file could not be read.
    Unreadable(String),
}
