//! Group commit: writes that arrive during a commit share the next one. An engine supplies the transaction of a group, and the
//! thread or task that runs it.

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
};

use tokio::sync::oneshot;

use crate::error::StoreError;

/// Maximum number of writes in flight, of all workspaces and of one; further callers wait for a permit.
pub(crate) const QUEUE: (usize, usize) = (4096, 1024);
/// Maximum number of writes in one group, so that no caller waits for an unbounded number of others.
const MAX_GROUP: usize = 512;

/// The transaction of a group, as its writes see it.
pub(crate) trait GroupTransaction: 'static {
    /// What the engine must know of a write before it runs.
    type Info: Send;
    /// Why a write is not part of the group.
    type Error: Clone + From<StoreError> + Into<StoreError> + Send;
    /// What the replies need from the commit.
    type Commit: Copy;
}

/// A write in the queue of an engine.
pub(crate) type QueuedWrite<Tx> = Box<dyn Write<Tx>>;

/// A write and its caller, who waits for the reply.
pub(crate) trait Write<Tx: GroupTransaction>: Send {
    fn info(&self) -> &Tx::Info;
    /// The number of records that it writes.
    fn weight(&self) -> usize;
    /// Runs the work; a panic is an error. After an error, the engine rolls back what the work has done.
    fn run(&mut self, tx: &mut Tx) -> Result<(), Tx::Error>;
    /// Replies to the caller with the result of the work, or with the error of the group.
    fn respond(self: Box<Self>, group: &Result<Tx::Commit, StoreError>);
}

struct PendingWrite<I, F, E, R, T, P> {
    info: I,
    weight: usize,
    work: F,
    result: Option<Result<R, E>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    _permit: P,
}

/// Makes a write of `weight` records, and the future of its reply, which the work returns as a function of the commit. The permit
/// is held until the reply, also if the caller stops waiting.
pub(crate) fn queue_write<Tx, F, R, T, P>(
    info: Tx::Info,
    weight: usize,
    permit: P,
    work: F,
) -> (QueuedWrite<Tx>, impl Future<Output = Result<T, StoreError>>)
where
    Tx: GroupTransaction,
    F: FnMut(&mut Tx) -> Result<R, Tx::Error> + Send + 'static,
    R: FnOnce(Tx::Commit) -> T + Send + 'static,
    T: Send + 'static,
    P: Send + 'static,
{
    let (reply, response) = oneshot::channel();
    let write = Box::new(PendingWrite { info, weight, work, result: None, reply, _permit: permit });
    let stopped = |_| StoreError::Unavailable("the writer has stopped".to_owned());
    (write, async move { response.await.map_err(stopped)? })
}

impl<Tx, F, R, T, P> Write<Tx> for PendingWrite<Tx::Info, F, Tx::Error, R, T, P>
where
    Tx: GroupTransaction,
    F: FnMut(&mut Tx) -> Result<R, Tx::Error> + Send,
    R: FnOnce(Tx::Commit) -> T + Send,
    T: Send,
    P: Send,
{
    fn info(&self) -> &Tx::Info {
        &self.info
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn run(&mut self, tx: &mut Tx) -> Result<(), Tx::Error> {
        // A panic would end the thread or task of the group, and with it the other writes.
        let result = panic::catch_unwind(AssertUnwindSafe(|| (self.work)(tx)));
        let result = result.unwrap_or_else(|_| Err(StoreError::Internal("a write panicked".to_owned()).into()));
        let outcome = result.as_ref().map(drop).map_err(Clone::clone);
        self.result = Some(result);
        outcome
    }

    fn respond(self: Box<Self>, group: &Result<Tx::Commit, StoreError>) {
        let result = match (group, self.result) {
            // First, because the work can have seen another write of the group that was rolled back.
            (Err(error), _) => Err(error.clone()),
            (Ok(commit), Some(result)) => result.map(|reply| reply(*commit)).map_err(Into::into),
            (Ok(_), None) => Err(StoreError::Internal("a write was not run".to_owned())),
        };
        // The caller can have hung up; its write is committed all the same.
        drop(self.reply.send(result));
    }
}

/// Takes the next group from the front of a queue. A write of many records is a group of its own: it needs no savepoint, and
/// its failure is that of the group.
pub(crate) fn take_group<Tx: GroupTransaction>(queue: &mut VecDeque<QueuedWrite<Tx>>) -> Vec<QueuedWrite<Tx>> {
    let single = queue.iter().take(MAX_GROUP).take_while(|write| write.weight() <= 1).count();
    queue.drain(..single.max(1).min(queue.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoTransaction;

    impl GroupTransaction for NoTransaction {
        type Info = ();
        type Error = StoreError;
        type Commit = ();
    }

    /// Groups keep the order of the queue and the maximum size, and a write of many records is alone.
    #[test]
    fn a_write_of_many_records_is_a_group_of_its_own() {
        let write = |weight| queue_write((), weight, (), |_: &mut NoTransaction| Ok(|()| ())).0;
        let weights = [vec![1, 0, 1, 7, 8, 1], vec![1; MAX_GROUP + 1]].concat();
        let mut queue: VecDeque<_> = weights.into_iter().map(write).collect();
        let mut sizes = Vec::new();
        while !queue.is_empty() {
            sizes.push(take_group(&mut queue).len());
        }
        assert_eq!(sizes, [3, 1, 1, MAX_GROUP, 2]);
        assert!(take_group(&mut queue).is_empty());
    }
}
