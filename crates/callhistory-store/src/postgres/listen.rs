//! Waking those who wait on other servers. A notification carries no data and may be lost: whoever waits also looks now and
//! then.

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

use super::connect::{Server, Session, Work, configure};
use crate::feed::Feed;

/// Outside of the transactions of writes: a commit that notifies waits for all others of the database that do.
const NOTIFY: &str = "SELECT pg_notify('callhistory_change', list.value) FROM unnest($1::text[]) AS list (value)";
/// How often a waiter looks while notifications arrive, and while they do not.
const LOOK: Duration = Duration::from_secs(5);
const LOOK_UNHEARD: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells other servers of changes and hears of theirs, over one session.
#[derive(Clone)]
pub(super) struct Listener(Arc<Shared>);

struct Shared {
    feed: Feed,
    /// Workspaces that have changed and are not yet told.
    changed: Mutex<HashSet<WorkspaceId>>,
    told: Notify,
    hears: AtomicBool,
    chance: Mutex<Rng>,
}

impl Listener {
    /// Starts to listen, in the background and again whenever the session ends, until the handle is aborted.
    pub(super) fn start(server: Arc<Server>, feed: Feed, seed: u64) -> (Self, AbortHandle) {
        let shared = Shared {
            feed,
            changed: Mutex::default(),
            told: Notify::new(),
            hears: AtomicBool::new(false),
            chance: Mutex::new(Rng::with_seed(seed)),
        };
        let listener = Self(Arc::new(shared));
        let task = tokio::spawn(listener.clone().listen(server)).abort_handle();
        (listener, task)
    }

    /// Wakes those who wait for a workspace, here and on every server.
    pub(super) fn announce(&self, workspace: &WorkspaceId) {
        self.0.feed.announce(&HashSet::from([workspace.clone()]));
        self.0.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(workspace.clone());
        self.0.told.notify_one();
    }

    /// How long a waiter may sleep before it looks for itself.
    pub(super) fn look(&self) -> Duration {
        self.jitter(if self.0.hears.load(Ordering::Relaxed) { LOOK } else { LOOK_UNHEARD })
    }

    /// Between half of a time and all of it, so that several do not act as one.
    pub(super) fn jitter(&self, most: Duration) -> Duration {
        most.mul_f64(0.5 + self.0.chance.lock().unwrap_or_else(PoisonError::into_inner).f64() / 2.0)
    }

    async fn listen(self, server: Arc<Server>) {
        let mut pause = Duration::from_millis(50);
        loop {
            if let Ok((client, session)) = server.connect().await {
                let heard = self.session(&client, session).await;
                self.0.hears.store(false, Ordering::Relaxed);
                // What was told meanwhile is lost, so everyone looks.
                self.0.feed.announce_all();
                if heard {
                    pause = Duration::from_millis(50);
                }
            }
            sleep(self.jitter(pause)).await;
            pause = PAUSE.min(2 * pause);
        }
    }

    /// Listens and tells until the session ends; gives whether it ever heard.
    async fn session(&self, client: &Client, mut session: Session) -> bool {
        let (sender, mut heard) = mpsc::unbounded_channel();
        let drive = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| session.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message {
                    drop(sender.send(notification.payload().to_owned()));
                }
            }
        });
        let listening = async {
            configure(client, Work::Read).await?;
            client.batch_execute("LISTEN callhistory_change").await
        };
        let listens = listening.await.is_ok();
        self.0.hears.store(listens, Ordering::Relaxed);
        // What was told before is lost as well.
        self.0.feed.announce_all();
        while listens && !client.is_closed() {
            tokio::select! {
                payload = heard.recv() => match payload.map(|payload| payload.parse::<WorkspaceId>()) {
                    None => break,
                    Some(Ok(workspace)) => self.0.feed.announce(&HashSet::from([workspace])),
                    // Whoever may connect may notify; it harms nobody.
                    Some(Err(_)) => {}
                },
                () = self.0.told.notified() => {
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
