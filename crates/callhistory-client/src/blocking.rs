//! A client that blocks the thread, for programs without an asynchronous runtime (feature `blocking`).
//!
//! It runs the asynchronous client on a runtime of its own, with one thread. Streams are iterators.
//!
//! ```no_run
//! use callhistory_client::{ClientBuilder, ListQuery};
//!
//! let client = ClientBuilder::from_env().build_blocking()?;
//! for call in client.stream_calls(ListQuery::default()) {
//!     println!("{}", call?.id);
//! }
//! # Ok::<(), callhistory_client::Error>(())
//! ```

use std::{fmt, sync::Arc};

use callhistory_model::{
    CallChangePage, CallFilter, CallInput, CallMetrics, CallPatch, CallRecord, ChangesQuery, ExportQuery, ImportReport,
    ListQuery, MetricsQuery, OriginalInfo, SearchHit, SearchPage, SearchQuery,
};
use futures_util::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    builder::ClientBuilder,
    changes::Changes,
    error::Error,
    list::CallPage,
    options::RequestOptions,
    originals::Original,
    stream::ItemStream,
    version::{Version, Versioned},
};

/// A client of one service and one workspace, whose methods block the thread.
///
/// Its methods are those of [`crate::Client`]. What is not here is in [`asynchronous`](Self::asynchronous), with
/// [`wait`](Self::wait) and [`iterate`](Self::iterate).
#[derive(Clone)]
pub struct BlockingClient {
    client: crate::Client,
    runtime: Arc<OwnRuntime>,
}

/// A runtime that may be dropped anywhere.
struct OwnRuntime(Option<Runtime>);

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl OwnRuntime {
    fn block_on<T>(&self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match &self.0 {
            Some(runtime) if Handle::try_current().is_err() => runtime.block_on(future),
            _ => Err(Error::invalid("a blocking client cannot be used inside an asynchronous runtime")),
        }
    }
}

impl ClientBuilder {
    /// Builds a client that blocks the thread.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build), and a thread that cannot be started.
    pub fn build_blocking(self) -> Result<BlockingClient, Error> {
        let client = self.build()?;
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("callhistory-client").enable_all().build();
        let runtime = OwnRuntime(Some(runtime.map_err(Error::setup)?));
        Ok(BlockingClient { client, runtime: Arc::new(runtime) })
    }
}

impl BlockingClient {
    /// The asynchronous client with the same options.
    #[must_use]
    pub fn asynchronous(&self) -> &crate::Client {
        &self.client
    }

    /// Waits for a future of the asynchronous client, such as an import from a stream.
    ///
    /// # Errors
    ///
    /// That of the future; [`Error::is_invalid_request`] inside an asynchronous runtime.
    pub fn wait<T>(&self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.runtime.block_on(future)
    }

    /// Makes a stream of the asynchronous client an iterator.
    pub fn iterate<S>(&self, stream: S) -> Items<S> {
        Items { stream, runtime: Arc::clone(&self.runtime), is_refused: false }
    }

    /// Like [`with`](crate::Client::with).
    #[must_use]
    pub fn with(&self, options: impl FnOnce(RequestOptions) -> RequestOptions) -> Self {
        self.on(self.client.with(options))
    }

    /// Like [`for_workspace`](crate::Client::for_workspace).
    ///
    /// # Errors
    ///
    /// [`Error::is_invalid_request`] if the ID is not a workspace ID.
    pub fn for_workspace(&self, id: impl AsRef<str>) -> Result<Self, Error> {
        Ok(self.on(self.client.for_workspace(id)?))
    }

    /// Like [`if_version`](crate::Client::if_version).
    #[must_use]
    pub fn if_version(&self, version: &Version) -> Self {
        self.on(self.client.if_version(version))
    }

    /// Like [`if_absent`](crate::Client::if_absent).
    #[must_use]
    pub fn if_absent(&self) -> Self {
        self.on(self.client.if_absent())
    }

    fn on(&self, client: crate::Client) -> Self {
        Self { client, runtime: Arc::clone(&self.runtime) }
    }
}

impl fmt::Debug for BlockingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.fmt(f)
    }
}

/// Declares methods that wait for the method of the same name of the asynchronous client.
macro_rules! waiting {
    ($(fn $name:ident $(<$of:ident>)? (&self $(, $argument:ident: $type:ty)*) -> $output:ty;)*) => {
        impl BlockingClient {
            $(
                #[doc = concat!("Like [`", stringify!($name), "`](crate::Client::", stringify!($name), ").")]
                ///
                /// # Errors
                ///
                /// Those of that method; [`Error::is_invalid_request`] inside an asynchronous runtime.
                pub fn $name $(<$of: DeserializeOwned>)? (&self $(, $argument: $type)*) -> Result<$output, Error> {
                    self.wait(self.client.$name($($argument),*))
                }
            )*
        }
    };
}

waiting! {
    fn get_call(&self, id: &str) -> Versioned;
    fn get_call_as<T>(&self, id: &str) -> Versioned<T>;
    fn get_call_if_changed(&self, id: &str, version: &Version) -> Option<Versioned>;
    fn replace_call(&self, id: &str, call: &CallInput) -> Versioned;
    fn create_call(&self, call: &CallInput) -> Versioned;
    fn update_call(&self, id: &str, patch: &CallPatch) -> Versioned;
    fn upsert_call(&self, id: &str, patch: &CallPatch) -> Versioned;
    fn delete_call(&self, id: &str) -> ();
    fn list_originals(&self, id: &str) -> Vec<OriginalInfo>;
    fn get_original(&self, id: &str, number: u32) -> Original;
    fn list_calls(&self, query: &ListQuery) -> CallPage;
    fn list_calls_as<T>(&self, query: &ListQuery) -> CallPage<T>;
    fn search_calls(&self, query: &SearchQuery) -> SearchPage;
    fn search_calls_as<T>(&self, query: &SearchQuery) -> SearchPage<T>;
    fn get_call_metrics(&self, query: &MetricsQuery) -> CallMetrics;
    fn list_call_changes(&self, query: &ChangesQuery) -> CallChangePage;
    fn import_calls(&self, calls: impl IntoIterator<Item = CallInput>) -> ImportReport;
}

/// Streams, as iterators.
impl BlockingClient {
    /// Like [`stream_pages`](crate::Client::stream_pages).
    pub fn stream_pages(&self, query: ListQuery) -> Items<ItemStream<CallPage>> {
        self.iterate(self.client.stream_pages(query))
    }

    /// Like [`stream_calls`](crate::Client::stream_calls).
    pub fn stream_calls(&self, query: ListQuery) -> Items<ItemStream<CallRecord>> {
        self.iterate(self.client.stream_calls(query))
    }

    /// Like [`stream_search_hits`](crate::Client::stream_search_hits).
    pub fn stream_search_hits(&self, query: SearchQuery) -> Items<ItemStream<SearchHit>> {
        self.iterate(self.client.stream_search_hits(query))
    }

    /// Like [`export_calls`](crate::Client::export_calls).
    ///
    /// # Errors
    ///
    /// Those of that method.
    pub fn export_calls(&self, filter: CallFilter) -> Result<Items<ItemStream<CallRecord>>, Error> {
        Ok(self.iterate(self.wait(self.client.export_calls(filter))?))
    }

    /// Like [`export_file`](crate::Client::export_file).
    ///
    /// # Errors
    ///
    /// Those of that method.
    pub fn export_file(&self, query: &ExportQuery) -> Result<Items<ItemStream<bytes::Bytes>>, Error> {
        Ok(self.iterate(self.wait(self.client.export_file(query))?))
    }

    /// Like [`follow_changes`](crate::Client::follow_changes), without a function for outages and a signal to stop; those are set
    /// on the [`Changes`] that [`iterate`](Self::iterate) takes.
    pub fn follow_changes(&self, cursor: Option<String>) -> Items<Changes> {
        self.iterate(self.client.follow_changes(cursor))
    }
}

/// A stream as an iterator; returned by [`BlockingClient::iterate`].
#[must_use = "an iterator does nothing until it is read"]
pub struct Items<S> {
    stream: S,
    runtime: Arc<OwnRuntime>,
    is_refused: bool,
}

impl<T, S: Stream<Item = Result<T, Error>> + Unpin> Iterator for Items<S> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_refused {
            return None;
        }
        let next = self.runtime.block_on(async { Ok(self.stream.next().await) });
        next.unwrap_or_else(|error| {
            self.is_refused = true;
            Some(Err(error))
        })
    }
}

impl<S> fmt::Debug for Items<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}
