//! The thread that owns the files: it writes what has come meanwhile at once, so that many writes share one `fsync`.

use std::{
    io,
    sync::{Arc, mpsc},
};

use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};

use super::{
    entry::Entry,
    error::SpoolError,
    journal::{Journal, Queued},
    message::{Command, Journals, SenderEvent},
    status::SpoolStatus,
};

/// Writes that share one `fsync`, at most.
const MAX_BATCH: usize = 1000;

/// Starts the thread.
pub(super) fn start(
    journal: Journal,
    events: UnboundedSender<SenderEvent>,
    status: Arc<watch::Sender<SpoolStatus>>,
) -> io::Result<Journals> {
    let (sender, commands) = mpsc::channel();
    let worker = Worker { journal, events, status };
    std::thread::Builder::new().name("callhistory-spool".to_owned()).spawn(move || worker.run(&commands))?;
    Ok(Journals(sender))
}

struct Worker {
    journal: Journal,
    events: UnboundedSender<SenderEvent>,
    status: Arc<watch::Sender<SpoolStatus>>,
}

impl Worker {
    fn run(mut self, commands: &mpsc::Receiver<Command>) {
        while let Ok(first) = commands.recv() {
            let (mut appends, mut marked, mut closing) = (Vec::new(), Vec::new(), None);
            for command in std::iter::once(first).chain(commands.try_iter().take(MAX_BATCH)) {
                match command {
                    Command::Append(entry, reply) => appends.push((*entry, reply)),
                    Command::Finish(sequence) => marked.push((sequence, true, self.journal.finish(sequence))),
                    Command::Reject(write) => marked.push((write.sequence, false, self.journal.reject(&write))),
                    Command::Close(reply) => closing = Some(reply),
                }
            }
            self.append(appends);
            self.settle(marked);
            if let Some(reply) = closing {
                drop(self);
                let _ = reply.send(());
                return;
            }
        }
    }

    fn append(&mut self, appends: Vec<(Entry, oneshot::Sender<Result<(), SpoolError>>)>) {
        if appends.is_empty() {
            return;
        }
        let (entries, replies): (Vec<_>, Vec<_>) = appends.into_iter().unzip();
        let results = self.journal.append(entries);
        self.publish(|_| {});
        for (result, reply) in results.into_iter().zip(replies) {
            let result = result.map(|queued: Queued| {
                let _ = self.events.send(SenderEvent::Queued(queued));
            });
            // A program that has stopped waiting has written all the same.
            let _ = reply.send(result);
        }
    }

    /// Writes are done once their marks are on the disk; without a mark, a write is sent again later.
    fn settle(&mut self, marked: Vec<(u64, bool, io::Result<()>)>) {
        if marked.is_empty() {
            return;
        }
        let synced = self.journal.sync();
        for (sequence, is_sent, result) in marked {
            let event = match result.as_ref().and(synced.as_ref()) {
                Ok(()) => {
                    self.publish(|status| *if is_sent { &mut status.sent } else { &mut status.rejected } += 1);
                    SenderEvent::Settled(sequence)
                }
                Err(error) => {
                    self.publish(|status| status.last_error = Some(format!("the spool cannot be written: {error}")));
                    SenderEvent::Unmarked(sequence)
                }
            };
            let _ = self.events.send(event);
        }
    }

    fn publish(&self, change: impl FnOnce(&mut SpoolStatus)) {
        self.status.send_modify(|status| {
            status.queued = self.journal.queued();
            status.bytes = self.journal.bytes();
            status.oldest = self.journal.oldest();
            status.damaged = self.journal.damaged();
            change(status);
        });
    }
}
