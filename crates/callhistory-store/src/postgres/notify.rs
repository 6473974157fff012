//! Notifications between servers. A notification carries no data and can be lost: followers also poll.

use std::{
    collections::HashSet,
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use callhistory_model::WorkspaceId;
use fastrand::Rng;
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::sleep,
};
use tokio_postgres::{AsyncMessage, Client};

use super::{
    config::{DatabaseServer, Session, SessionKind, configure},
    write::statements::{LISTEN, NOTIFY},
};
use crate::concurrency::change_notifier::ChangeNotifier;

/// Interval at which followers poll, with and without a session that receives notifications.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
const POLL_INTERVAL_WITHOUT_SESSION: Duration = Duration::from_millis(500);
/// Delay between two attempts to connect: it doubles from the first to the second value, with jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Sends notifications to other servers and receives theirs, over one session.
#[derive(Clone)]
pub(super) struct Listener(Arc<Shared>);

struct Shared {
    notifier: ChangeNotifier,
    /// Workspaces with changes that are not sent yet.
    changed: Mutex<HashSet<WorkspaceId>>,
    wake: Notify,
    is_listening: AtomicBool,
    random: Mutex<Rng>,
}

impl Listener {
    /// Listens in the background, and reconnects, until the handle is aborted.
    pub(super) fn start(server: Arc<DatabaseServer>, notifier: ChangeNotifier, seed: u64) -> (Self, AbortHandle) {
        let shared = Shared {
            notifier,
            changed: Mutex::default(),
            wake: Notify::new(),
            is_listening: AtomicBool::new(false),
            random: Mutex::new(Rng::with_seed(seed)),
        };
        let listener = Self(Arc::new(shared));
        let task = tokio::spawn(listener.clone().listen(server)).abort_handle();
        (listener, task)
    }

    /// Notifies the followers of a workspace, on every server.
    pub(super) fn notify(&self, workspace: &WorkspaceId) {
        self.0.notifier.notify(&HashSet::from([workspace.clone()]));
        self.0.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(workspace.clone());
        self.0.wake.notify_one();
    }

    /// How long a follower may sleep before it polls.
    pub(super) fn poll_interval(&self) -> Duration {
        self.jitter(if self.0.is_listening.load(Ordering::Relaxed) {
            POLL_INTERVAL
        } else {
            POLL_INTERVAL_WITHOUT_SESSION
        })
    }

    /// A random duration between half of `most` and `most`, so that several servers do not act at once.
    pub(super) fn jitter(&self, most: Duration) -> Duration {
        most.mul_f64(0.5 + self.0.random.lock().unwrap_or_else(PoisonError::into_inner).f64() / 2.0)
    }

    async fn listen(self, server: Arc<DatabaseServer>) {
        let mut backoff = BACKOFF.0;
        loop {
            if let Ok((client, session)) = server.connect().await {
                let received = self.session(&client, session).await;
                self.0.is_listening.store(false, Ordering::Relaxed);
                // Notifications in between are lost, so all followers poll.
                self.0.notifier.notify_all();
                if received {
                    backoff = BACKOFF.0;
                }
            }
            sleep(self.jitter(backoff)).await;
            backoff = BACKOFF.1.min(2 * backoff);
        }
    }

    /// Sends and receives until the session ends; returns whether it was listening.
    async fn session(&self, client: &Client, mut session: Session) -> bool {
        let (sender, mut received) = mpsc::unbounded_channel();
        let drive = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| session.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message {
                    drop(sender.send(notification.payload().to_owned()));
                }
            }
        });
        let listening = async {
            configure(client, SessionKind::Read).await?;
            client.batch_execute(LISTEN).await
        };
        let listens = listening.await.is_ok();
        self.0.is_listening.store(listens, Ordering::Relaxed);
        // Earlier notifications are lost as well.
        self.0.notifier.notify_all();
        while listens && !client.is_closed() {
            tokio::select! {
                payload = received.recv() => match payload.map(|payload| payload.parse::<WorkspaceId>()) {
                    None => break,
                    Some(Ok(workspace)) => self.0.notifier.notify(&HashSet::from([workspace])),
                    // Any client can send a notification; an invalid one is ignored.
                    Some(Err(_)) => {}
                },
                () = self.0.wake.notified() => {
                    let changed = std::mem::take(&mut *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner));
                    let changed: Vec<_> = changed.iter().map(WorkspaceId::as_str).collect();
                    if client.execute(NOTIFY, &[&changed]).await.is_err() {
                        break;
                    }
                }
            }
        }
        drive.abort();
        listens
    }
}
