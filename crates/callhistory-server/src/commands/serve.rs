//! The sub-commands `serve` and `demo`: listeners, background jobs and the order of the shutdown.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use callhistory_model::examples;
use callhistory_store::{ApiKeyStore, CallStore, DatabaseUrl};
use sd_notify::NotifyState;
use tokio::{
    net::{TcpListener, TcpSocket},
    signal,
};
use tokio_util::sync::CancellationToken;

use super::{CommandError, Environment, close, demo, open_store, print};
use crate::{
    api::{new_faults, operations_router, router, router_with_faults},
    config::{cli::DemoSettings, settings::Settings},
    faults::{Faults, fault::Fault},
    http::{limits::Limits, server, tls::Tls},
    state::{AppState, ConsoleOptions},
    telemetry::prometheus::PrometheusRegistry,
};

/// Open connections of operators and their tools.
const OPERATIONS_CONNECTIONS: usize = 32;
/// Connections that may wait to be accepted, such as those of clients that reconnect after a restart. The kernel delays further
/// ones by a second, or resets them.
const BACKLOG: u32 = 4096;
/// How often the files of the certificate are checked for changes.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);

/// The database to serve, and the examples for the welcome text.
struct Service<'a> {
    url: &'a DatabaseUrl,
    store: Arc<dyn CallStore>,
    keys: Option<Arc<dyn ApiKeyStore>>,
    workspace: &'a str,
    /// The ID of the newest call of a generated history, which the console then opens.
    newest: Option<String>,
    faults: Option<Arc<Faults>>,
}

/// Serves the database of the settings.
pub(super) async fn run(settings: &Settings, has_traces: bool, environment: Environment) -> Result<(), CommandError> {
    let url = settings.database_url()?;
    let store = open_store(settings, &url).await?;
    let keys = open_api_keys(settings, &url).await?;
    let service = Service { url: &url, store, keys, workspace: "abcdef1234567890", newest: None, faults: None };
    serve(settings, service, has_traces, environment).await
}

/// Serves a temporary database with generated calls.
pub(super) async fn demo(
    settings: &Settings,
    demo: &DemoSettings,
    has_traces: bool,
    environment: Environment,
) -> Result<(), CommandError> {
    let faults = demo.faults.as_ref().map(|faults| scripted(faults)).transpose()?;
    let directory = tempfile::Builder::new().prefix("callhistory-demo-").tempdir()?;
    let url = DatabaseUrl::Sqlite(directory.path().join("callhistory.db"));
    let store = open_store(settings, &url).await?;
    let calls = demo::history(demo.seed, demo.calls, (environment.now)())?;
    let newest = calls.last().map(|(id, _)| id.to_string());
    demo::fill(&store, calls, &environment.timestamp()).await?;
    let keys = open_api_keys(settings, &url).await?;
    let service = Service { url: &url, store, keys, workspace: demo::WORKSPACE, newest, faults };
    serve(settings, service, has_traces, environment).await
}

fn scripted(scripted: &[Fault]) -> Result<Arc<Faults>, CommandError> {
    let faults = new_faults();
    for fault in scripted {
        faults.add(fault.clone()).map_err(|error| format!("--faults {fault}: {error}"))?;
    }
    Ok(faults)
}

/// The keys of a database, if callers need one.
async fn open_api_keys(settings: &Settings, url: &DatabaseUrl) -> Result<Option<Arc<dyn ApiKeyStore>>, CommandError> {
    Ok(if settings.require_keys { Some(callhistory_store::open_api_keys(url).await?) } else { None })
}

async fn serve(
    settings: &Settings,
    service: Service<'_>,
    has_traces: bool,
    environment: Environment,
) -> Result<(), CommandError> {
    let listener = listen(settings.listen, "--listen")?;
    let operations = settings.operations_listen.map(|address| listen(address, "--operations-listen")).transpose()?;
    if let Some(operations) = &operations {
        print(&format!("Operations: http://{}/metrics\n", operations.local_addr()?));
    }
    let (limits, files) = Limits::for_open_files();
    if let Some(files) = files.filter(|_| limits.connections < Limits::default().connections) {
        tracing::warn!(files, connections = limits.connections, "the limit of open files bounds the connections");
    }
    let stop = stop_on_signal()?;
    let tls = settings.tls()?;
    if let Some(tls) = tls.clone() {
        tokio::spawn(reload_certificate(tls));
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    print(&welcome(&format!("{scheme}://{}", listener.local_addr()?), &service, settings.console));
    let Service { store, keys, workspace, newest, faults, .. } = service;
    let mut state = AppState::new(Arc::clone(&store), environment.now, environment.random)
        .until(stop.clone())
        .with_connections(limits.connections)
        .with_max_record_bytes(settings.max_record_bytes());
    let console = settings.console.then(|| ConsoleOptions {
        recording_hosts: settings.recording_hosts.clone().unwrap_or_default(),
        workspace: newest.map(|_| workspace.to_owned()),
    });
    state = state.with_console(console);
    if let Some(hosts) = &settings.allowed_hosts {
        state = state.with_allowed_hosts(hosts.clone());
    }
    if let Some(origins) = &settings.cors_origins {
        state = state.with_cors_origins(origins.clone());
    }
    if let Some(url) = &settings.public_url {
        state = state.with_public_url(url.clone());
    }
    if let Some(keys) = keys {
        state = state.with_keys(keys).with_rates(settings.rates(), environment.monotonic);
    }
    if has_traces {
        state = state.with_traces();
    }
    if operations.is_some() {
        state = state.with_metrics(PrometheusRegistry::install()?);
        metrics::gauge!("callhistory_connections_limit")
            .set(u32::try_from(limits.connections).map_or(f64::MAX, f64::from));
    }
    let state = Arc::new(state);
    // The supervisor is notified when connections are accepted, and then regularly that the process is alive.
    notify_supervisor(&[NotifyState::Ready]);
    if let Some(interval) = sd_notify::watchdog_enabled() {
        tokio::spawn(feed_watchdog(interval / 2));
    }
    if let Some(operations) = operations {
        let (router, stop) = (operations_router(&state), stop.clone());
        let limits = Limits { connections: OPERATIONS_CONNECTIONS, ..limits };
        tokio::spawn(server::serve(operations, router, limits, None, stop));
    }
    let router = match &faults {
        Some(faults) => router_with_faults(state, faults),
        None => router(state),
    };
    server::serve(listener, router, limits, tls, stop).await;
    close(&store).await?;
    print("Stopped; every acknowledged write is on disk.");
    Ok(())
}

/// Notifies a supervisor such as systemd, if there is one.
fn notify_supervisor(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor could not be notified");
    }
}

async fn feed_watchdog(interval: Duration) {
    loop {
        notify_supervisor(&[NotifyState::Watchdog]);
        tokio::time::sleep(interval).await;
    }
}

fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, CommandError> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait until the old connections of the port have timed out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let failed = |error: std::io::Error| format!("cannot listen on {address}: {error}; choose another with {flag}");
    Ok(bind().map_err(failed)?)
}

/// Reloads a certificate that has been replaced.
async fn reload_certificate(tls: Tls) {
    loop {
        tokio::time::sleep(CERTIFICATE_INTERVAL).await;
        match tls.reload() {
            Ok(true) => tracing::info!("new connections use the new certificate"),
            Ok(false) => {}
            Err(error) => tracing::error!(error, "the certificate cannot be reloaded; the old one stays in use"),
        }
    }
}

/// The welcome text: the address, and commands to paste.
fn welcome(base: &str, service: &Service<'_>, has_console: bool) -> String {
    let Service { url, workspace, newest, faults, .. } = service;
    // The workspace of the body must be that of the header.
    let body =
        examples::SOURCE_EXAMPLE.replace("abcdef1234567890\",\n  \"agentId", &format!("{workspace}\",\n  \"agentId"));
    let mut text = format!(
        "callhistory {version} serves {url} at {base}

Write the documented example:
curl -sS -w '\\n' -X PUT {base}/v2/api/call-history/1234567890abcdef \\
  -H 'x-workspace-id: {workspace}' -H 'content-type: application/json' \\
  -d '{body}'

Read it back:
curl -sS -w '\\n' {base}/v2/api/call-history/1234567890abcdef -H 'x-workspace-id: {workspace}'

{console}Reference: {base}/docs   Contract: {base}/openapi.json   Stop: Ctrl-C",
        version = env!("CARGO_PKG_VERSION"),
        body = body.trim_end(),
        console = if has_console { format!("Console: {base}/console   ") } else { String::new() },
    );
    if let Some(id) = newest {
        text.push_str(&format!(
            "\n\nThe workspace {workspace:?} has generated calls, which are deleted when the server stops. The newest:\n\
             curl -sS -w '\\n' {base}/v2/api/call-history/{id} -H 'x-workspace-id: {workspace}'\n\
             The failed ones, and all of them by day:\n\
             curl -sS -w '\\n' '{base}/v2/api/call-history?status=failed&limit=3' -H 'x-workspace-id: {workspace}'\n\
             curl -sS -w '\\n' '{base}/v2/api/call-history/metrics?groupBy=day&timezone=Europe/Berlin' -H 'x-workspace-id: {workspace}'"
        ));
    }
    if faults.is_some() {
        text.push_str(&format!(
            "\n\nFaults are scripted at {base}/faults. Two requests for a list fail, and then no more:\n\
             curl -sS -w '\\n' {base}/faults -d 'list_calls:429*2,retry-after=1'\n\
             curl -sS -w '\\n' -X DELETE {base}/faults"
        ));
    }
    text
}

/// A token that the first SIGINT or SIGTERM cancels. The handlers are installed at once, not at the first poll, so that an early
/// signal does not kill the process.
fn stop_on_signal() -> std::io::Result<CancellationToken> {
    #[cfg(unix)]
    let (mut interrupt, mut terminate) = {
        use signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        drop(signal::ctrl_c().await);
        tracing::info!("stopping: requests in flight have 10 seconds to finish");
        notify_supervisor(&[NotifyState::Stopping]);
        stopped.cancel();
    });
    Ok(stop)
}
