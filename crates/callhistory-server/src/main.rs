//! The server binary. Time, randomness and the environment enter here and are handed on.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use callhistory_model::{Timestamp, examples};
use callhistory_server::{
    App, Limits, Tls,
    auth::Token,
    config::{Command, ConfigCommand, DemoSettings, Settings},
    demo, doctor, keys,
    layers::{self, ConfigError, Layers},
    meters::Meters,
    openapi, operations_router, router, serve, telemetry, transfer,
};
use callhistory_store::{ApiKeyStore, Backup, CallStore, Severity};
use chrono::{DateTime, Utc};
use sd_notify::NotifyState;
use tokio::{
    net::{TcpListener, TcpSocket},
    signal,
};
use tokio_util::sync::CancellationToken;

/// How long the writer may take to finish what it has when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of operators and their tools at a time.
const OPERATIONS_CONNECTIONS: usize = 32;
/// Connections that may wait to be accepted, such as those of clients that come back after a restart. Beyond it the kernel
/// lets a client wait for a second, or resets its connection.
const BACKLOG: u32 = 4096;
/// How often the files of the certificate are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let variables: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
    let result = match Layers::load(std::env::args_os(), &variables) {
        Ok(layers) => run(&layers),
        Err(ConfigError::Flags(error)) => error.exit(),
        Err(ConfigError::Settings(reason)) => Err(reason.into()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("callhistory-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(layers: &Layers) -> Result<ExitCode, Failure> {
    let cli = &layers.cli;
    match &cli.command {
        Some(Command::Config { command }) => return configure(layers, *command).map(|()| ExitCode::SUCCESS),
        Some(Command::Openapi { write }) => return print_contract(write.as_deref()).map(|()| ExitCode::SUCCESS),
        Some(Command::Doctor { whole, json }) => return diagnose(layers, *whole, *json),
        _ => {}
    }
    let filter = &cli.settings.log;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let telemetry = telemetry::start(filter, runtime.handle())?;
    let traces = telemetry.traces();
    let result = runtime.block_on(async {
        match &cli.command {
            None | Some(Command::Serve) => {
                let url = cli.settings.database_url()?;
                let store = callhistory_store::open(&url).await?;
                let place = callhistory_store::redacted(&url);
                let keys = open_api_keys(&cli.settings, &url).await?;
                serve_store(&cli.settings, traces, (store, keys), &place, "abcdef1234567890", None).await
            }
            Some(Command::Migrate) => {
                let url = cli.settings.database_url()?;
                let store = callhistory_store::open(&url).await?;
                close(&store).await?;
                say(&format!("{} is as this version needs it.", callhistory_store::redacted(&url)));
                Ok(())
            }
            Some(Command::Keys { command }) => {
                let keys = callhistory_store::open_api_keys(&cli.settings.database_url()?).await?;
                say(&keys::run(&*keys, command, Timestamp::from(now()), secret).await?);
                Ok(())
            }
            Some(Command::Config { .. } | Command::Doctor { .. } | Command::Openapi { .. }) => Ok(()),
            Some(Command::Backup { file }) => {
                let made = callhistory_store::backup(&cli.settings.database_url()?, file)?;
                say(&format!("{}: {}.", file.display(), contents(&made)));
                Ok(())
            }
            Some(Command::Restore { file }) => {
                let url = cli.settings.database_url()?;
                let made = callhistory_store::restore(file, &url, &Timestamp::from(now()))?;
                say(&format!("{url} holds {}. Who follows changes has to begin anew.", contents(&made)));
                Ok(())
            }
            Some(Command::RebuildMetrics) => {
                let calls = callhistory_store::rebuild_metrics(&cli.settings.database_url()?)?;
                say(&format!("The numbers are counted from {calls} records."));
                Ok(())
            }
            Some(Command::Demo(demo)) => serve_demo(&cli.settings, traces, demo).await,
            Some(Command::Import(import)) => {
                let (workspace, now) = (import.workspace.as_deref(), || Timestamp::from(now()));
                if import.check {
                    return transfer::import(None, workspace, &import.files, now).await;
                }
                let store = callhistory_store::open(&cli.settings.database_url()?).await?;
                let result = transfer::import(Some(&store), workspace, &import.files, now).await;
                close(&store).await.and(result)
            }
            Some(Command::Export(export)) => {
                let store = callhistory_store::open(&cli.settings.database_url()?).await?;
                let (query, output) = (&export.query, export.output.as_deref());
                let result = transfer::export(&store, &export.workspace, query, output).await;
                close(&store).await.and(result)
            }
        }
    });
    // While the runtime can still send what is left.
    drop(telemetry);
    // A stuck task must not hold up the end of the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

fn contents(backup: &Backup) -> String {
    let Backup { bytes, sha256, workspaces, calls, changes } = backup;
    format!("{calls} records and {changes} changes of {workspaces} workspaces, {bytes} bytes, sha256 {sha256}")
}

/// Says how the database, the settings and the machine are; ends with 0, 1 or 2 by the worst of it.
fn diagnose(layers: &Layers, whole: bool, json: bool) -> Result<ExitCode, Failure> {
    let (settings, now) = (&layers.cli.settings, Timestamp::from(now()));
    let url = settings.database_url()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connections = Limits::default().connections;
    let mut diagnostics = doctor::surroundings(settings, &layers.changed(), connections, &now);
    let found = runtime.block_on(async {
        let mut found = callhistory_store::diagnose(&url, whole).await;
        // Where the database is broken or is not there, so are the keys; to open them would make it.
        let is_there = !found
            .iter()
            .any(|diagnostic| matches!(diagnostic.name, "database" | "schema") && diagnostic.severity != Severity::Ok);
        if is_there && let Ok(keys) = callhistory_store::open_api_keys(&url).await {
            found.push(doctor::keys(&*keys, settings.require_keys, &now).await);
        }
        found
    });
    diagnostics.extend(found);
    say(&doctor::render(&diagnostics, json));
    Ok(match doctor::worst(&diagnostics) {
        Severity::Ok => ExitCode::SUCCESS,
        Severity::Warning => ExitCode::from(1),
        Severity::Error => ExitCode::from(2),
    })
}

/// Prints the contract, or writes its files into a folder.
fn print_contract(folder: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = folder else {
        say(openapi::document().trim_end());
        return Ok(());
    };
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    for (name, text) in openapi::files() {
        std::fs::write(folder.join(name), text).map_err(failed)?;
    }
    Ok(())
}

/// Shows, checks or explains the settings.
fn configure(layers: &Layers, command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Print => say(layers.print().trim_end()),
        ConfigCommand::Check => {
            let settings = &layers.cli.settings;
            telemetry::check(&settings.log)?;
            let (url, tls) = (settings.database_url()?, settings.tls()?);
            let tls = if tls.is_some() { ", with TLS" } else { "" };
            say(&format!(
                "These settings are sound: {} at {}{tls}.",
                callhistory_store::redacted(&url),
                settings.listen
            ));
        }
        ConfigCommand::Example => say(layers::example().trim_end()),
    }
    Ok(())
}

async fn serve_demo(settings: &Settings, traces: bool, demo: &DemoSettings) -> Result<(), Failure> {
    let directory = tempfile::Builder::new().prefix("callhistory-demo-").tempdir()?;
    let url = format!("sqlite:{}", directory.path().join("callhistory.db").display());
    let store = callhistory_store::open(&url).await?;
    let calls = demo::history(demo.seed, demo.calls, now())?;
    let example = calls.last().map(|(id, _)| id.to_string());
    demo::fill(&store, calls, &Timestamp::from(now())).await?;
    let keys = open_api_keys(settings, &url).await?;
    serve_store(settings, traces, (store, keys), &url, demo::WORKSPACE, example.as_deref()).await
}

/// The keys of a database, where callers need them.
async fn open_api_keys(settings: &Settings, url: &str) -> Result<Option<Arc<dyn ApiKeyStore>>, Failure> {
    Ok(if settings.require_keys { Some(callhistory_store::open_api_keys(url).await?) } else { None })
}

async fn serve_store(
    settings: &Settings,
    traces: bool,
    (store, keys): (Arc<dyn CallStore>, Option<Arc<dyn ApiKeyStore>>),
    url: &str,
    workspace: &str,
    newest: Option<&str>,
) -> Result<(), Failure> {
    let listener = listen(settings.listen, "--listen")?;
    let operations = match settings.operations_listen {
        None => None,
        Some(address) => Some(listen(address, "--operations-listen")?),
    };
    if let Some(operations) = &operations {
        say(&format!("Operations: http://{}/metrics\n", operations.local_addr()?));
    }
    let stop = CancellationToken::new();
    let signalled = stop_signal()?;
    tokio::spawn({
        let stop = stop.clone();
        async move {
            signalled.await;
            tell(&[NotifyState::Stopping]);
            stop.cancel();
        }
    });
    let tls = settings.tls()?;
    if let Some(tls) = tls.clone() {
        tokio::spawn(keep_certificate(tls));
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let base = format!("{scheme}://{}", listener.local_addr()?);
    say(&welcome(&base, url, workspace));
    if let Some(id) = newest {
        say(&format!(
            "\nThe workspace {workspace:?} is full of made-up calls, which are deleted when the server stops. The newest:\n\
             curl -sS -w '\\n' {base}/v2/api/call-history/{id} -H 'x-workspace-id: {workspace}'\n\
             The failed ones, and all of them by day:\n\
             curl -sS -w '\\n' '{base}/v2/api/call-history?status=failed&limit=3' -H 'x-workspace-id: {workspace}'\n\
             curl -sS -w '\\n' '{base}/v2/api/call-history/metrics?groupBy=day&timezone=Europe/Berlin' -H 'x-workspace-id: {workspace}'"
        ));
    }
    let mut app = App::new(Arc::clone(&store), now, random).until(stop.clone());
    if let Some(keys) = keys {
        app = app.with_keys(keys).with_rates(settings.rates(), monotonic);
    }
    if traces {
        app = app.with_traces();
    }
    if operations.is_some() {
        app = app.with_meters(Meters::start()?);
    }
    let app = Arc::new(app);
    // A supervisor is told once connections are taken, and from then on that the process is not stuck.
    tell(&[NotifyState::Ready]);
    if let Some(interval) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            loop {
                tell(&[NotifyState::Watchdog]);
                tokio::time::sleep(interval / 2).await;
            }
        });
    }
    if let Some(operations) = operations {
        let (router, stop) = (operations_router(&app), stop.clone());
        let limits = Limits { connections: OPERATIONS_CONNECTIONS, ..Limits::default() };
        tokio::spawn(serve(operations, router, limits, None, stop));
    }
    serve(listener, router(app), Limits::default(), tls, stop).await;
    close(&store).await?;
    say("Stopped; every answered write is on disk.");
    Ok(())
}

/// Tells a supervisor such as systemd, where there is one that listens.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the supervisor could not be told");
    }
}

fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the connections of the process before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let refused = |error: std::io::Error| format!("cannot listen on {address}: {error}; choose another with {flag}");
    Ok(bind().map_err(refused)?)
}

/// Takes a certificate that has been replaced, without an end of the service or of its connections.
async fn keep_certificate(tls: Tls) {
    loop {
        tokio::time::sleep(CERTIFICATE_INTERVAL).await;
        match tls.reload() {
            Ok(true) => tracing::info!("new connections get the new certificate"),
            Ok(false) => {}
            Err(error) => tracing::error!(error, "the certificate cannot be read again; the old one stays"),
        }
    }
}

/// Closes the store. A disk that hangs must not hold the process for ever; what is cut off here was answered to nobody.
async fn close(store: &Arc<dyn CallStore>) -> Result<(), Failure> {
    let closed = tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await;
    closed.map_err(|_| "the database did not close in time; every answered write is on disk".into())
}

/// Says where the service is, with commands that work when pasted.
fn welcome(base: &str, database: &str, workspace: &str) -> String {
    // A workspace that is not the example's own would be refused in its body.
    let body =
        examples::SOURCE_EXAMPLE.replace("abcdef1234567890\",\n  \"agentId", &format!("{workspace}\",\n  \"agentId"));
    format!(
        "callhistory {version} serves {database} at {base}

Write the documented example:
curl -sS -w '\\n' -X PUT {base}/v2/api/call-history/1234567890abcdef \\
  -H 'x-workspace-id: {workspace}' -H 'content-type: application/json' \\
  -d '{body}'

Read it back:
curl -sS -w '\\n' {base}/v2/api/call-history/1234567890abcdef -H 'x-workspace-id: {workspace}'

Reference: {base}/docs   Contract: {base}/openapi.json   Stop: Ctrl-C",
        version = env!("CARGO_PKG_VERSION"),
        body = body.trim_end(),
    )
}

/// Writes to standard output, which nobody needs to read: a closed pipe is no reason to end.
fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Ends with the first signal that asks the program to stop. The signals are caught from the call on, not from the first
/// poll: one that comes at once must not kill the program half-way.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    let (mut interrupt, mut terminate) = {
        use signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        drop(signal::ctrl_c().await);
        tracing::info!("stopping: requests under way have 10 seconds to finish");
    })
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the program")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Time since the first call.
fn monotonic() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The random bytes of a key. Without entropy there is no key.
#[expect(clippy::disallowed_methods, reason = "the one source of secrets of the program")]
fn secret() -> Result<[u8; Token::RANDOM_BYTES], Failure> {
    let mut bytes = [0; Token::RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "the one source of randomness of the program")]
fn random() -> u64 {
    // Ids need not be secret, so a lack of entropy right after boot is no reason to stop.
    getrandom::u64().unwrap_or_else(|_| fastrand::u64(..))
}
