//! The figures of a spool.

use callhistory_model::Timestamp;

/// The figures of a [`SpoolingWriter`](super::SpoolingWriter) at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpoolStatus {
    /// Number of writes that wait, with those on their way.
    pub queued: u64,
    /// Size of the files of the queue, in bytes. Sent writes count until their file is deleted.
    pub bytes: u64,
    /// When the oldest write that waits was taken.
    pub oldest: Option<Timestamp>,
    /// Number of writes that the service has stored since the spool was opened.
    pub sent: u64,
    /// Number of writes that the service has refused for good since the spool was opened.
    pub rejected: u64,
    /// Number of writes that were in the files and could not be read when the spool was opened: the disk has damaged them. A copy of each
    /// file with damage is kept (`*.damaged`).
    pub damaged: u64,
    /// Whether the service has answered the last write: not in an outage, and not before the first request.
    pub is_connected: bool,
    /// The last error of a request, in one line.
    pub last_error: Option<String>,
}
