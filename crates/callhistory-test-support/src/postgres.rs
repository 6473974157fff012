//! A temporary PostgreSQL cluster for tests and measurements, run with the server programs of this machine.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::programs::postgres_programs;

const MISSING: &str = "the PostgreSQL server programs (initdb, postgres) are missing: run `cargo xtask setup`, which gets them, \
                       or install PostgreSQL";

/// A running cluster with a socket in its own folder. It is stopped when this value is dropped or the process ends, even by
/// SIGKILL.
pub struct Cluster {
    directory: TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>,
    /// The watcher stops the cluster when its input is closed.
    watcher: Option<(Child, ChildStdin)>,
    databases: AtomicU32,
}

impl Cluster {
    /// Creates and starts a cluster with additional settings.
    ///
    /// # Errors
    ///
    /// Fails if the server programs are missing or fail, and says what to do.
    pub fn start(settings: &[&str]) -> Result<Self, String> {
        let mut cluster = Self::unstarted()?;
        let data = cluster.data();
        cluster.run(
            "initdb",
            &["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username=callhistory"],
            &["-D"],
            &data,
        )?;
        // Otherwise PGPORT in the environment would name another socket.
        let common = "listen_addresses = ''\nport = 5432\nmax_connections = 400\n";
        let settings = format!("{common}{}\n{}", cluster.socket_setting(), settings.join("\n"));
        cluster.configure(&settings).map_err(text)?;
        cluster.watch().map_err(text)?;
        cluster.up()?;
        Ok(cluster)
    }

    /// A cluster without data, in a new folder.
    fn unstarted() -> Result<Self, String> {
        // A test program is in `deps/` of its profile in the target folder.
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let programs = postgres_programs(program.ancestors().take(4))?.ok_or(MISSING)?;
        let directory = tempfile::Builder::new().prefix("callhistory-pg-").tempdir().map_err(text)?;
        let user = unprivileged(directory.path())?;
        if let Some((user, group)) = user {
            chown(directory.path(), Some(user), Some(group)).map_err(text)?;
        }
        Ok(Self { directory, programs, user, watcher: None, databases: AtomicU32::new(0) })
    }

    fn socket_setting(&self) -> String {
        format!("unix_socket_directories = '{}'", self.directory.path().display())
    }

    /// Appends settings, which override earlier ones.
    fn configure(&self, settings: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().append(true).open(self.data().join("postgresql.conf"))?;
        file.write_all(format!("{settings}\n").as_bytes())
    }

    /// A standby that receives the WAL of this cluster, which is restarted for it. It needs no programs but those of a server.
    ///
    /// # Errors
    ///
    /// Fails with the log of a server.
    pub fn standby(&self) -> Result<Self, String> {
        let mut standby = Self::unstarted()?;
        self.run("pg_ctl", &["stop", "-w", "-m", "fast"], &["-D"], &self.data())?;
        let copied = standby.command("/bin/cp").arg("-a").arg(self.data()).arg(standby.directory.path()).status();
        if !copied.map_err(text)?.success() {
            return Err("the data of the primary cannot be copied".to_owned());
        }
        self.up()?;
        let source =
            format!("primary_conninfo = 'host={} port=5432 user=callhistory'", self.directory.path().display());
        standby.configure(&format!("{}\n{source}", standby.socket_setting())).map_err(text)?;
        fs::write(standby.data().join("standby.signal"), "").map_err(text)?;
        standby.watch().map_err(text)?;
        standby.up()?;
        Ok(standby)
    }

    /// Cuts a standby off from its primary: it lags from now on.
    ///
    /// # Errors
    ///
    /// Fails with the error of the server.
    pub fn stop_receiving(&self) -> Result<(), String> {
        self.configure("primary_conninfo = ''").map_err(text)?;
        self.run("pg_ctl", &["reload"], &["-D"], &self.data())
    }

    /// Makes a standby the primary.
    ///
    /// # Errors
    ///
    /// Fails with the log of the server.
    pub fn promote(&self) -> Result<(), String> {
        self.run("pg_ctl", &["promote", "-w", "-t", "60"], &["-D"], &self.data())
    }

    /// Stops the server like a crash.
    ///
    /// # Errors
    ///
    /// Fails with the log of the server.
    pub fn crash(&self) -> Result<(), String> {
        self.run("pg_ctl", &["stop", "-w", "-m", "immediate"], &["-D"], &self.data())
    }

    /// The folder of the socket, as the host of a URL.
    #[must_use]
    pub fn host(&self) -> String {
        self.directory.path().display().to_string().replace('/', "%2F")
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The folder of the cluster, with its socket.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The log of the server.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // The other user may not be allowed to enter the current folder of this process.
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str], flags: &[&str], data: &Path) -> Result<(), String> {
        let output = self.command(program).args(arguments).args(flags).arg(data).output();
        let output = output.map_err(|error| match self.user {
            Some((user, _)) if error.kind() == io::ErrorKind::PermissionDenied => format!(
                "user {user}, who runs PostgreSQL because root may not, cannot reach {}: move the checkout, or name another \
                 folder in CALLHISTORY_TEST_POSTGRES",
                self.programs.display()
            ),
            _ => format!("{program}: {error}"),
        })?;
        if output.status.success() {
            return Ok(());
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        Err(format!("{program}: {}\n{log}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts a watcher that outlives this process, because a killed process cannot clean up.
    fn watch(&mut self) -> io::Result<()> {
        let script = "cat >/dev/null; \"$0\"/pg_ctl -D \"$1\"/data -m immediate -w stop; rm -rf \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&self.programs).arg(self.directory.path()).current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        // In its own process group, an interrupt at the terminal does not reach it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut watcher = command.spawn()?;
        let stdin = watcher.stdin.take().ok_or_else(|| io::Error::other("the watcher has no input"))?;
        self.watcher = Some((watcher, stdin));
        Ok(())
    }

    fn up(&self) -> Result<(), String> {
        let log = self.log();
        let log = log.to_str().ok_or("the log's path is no text")?;
        self.run("pg_ctl", &["start", "-w", "-t", "60", "-l", log], &["-D"], &self.data())
    }

    /// Stops the server like a crash, and restarts it.
    ///
    /// # Errors
    ///
    /// Fails with the log of the server.
    pub fn crash_and_restart(&self) -> Result<(), String> {
        self.crash()?;
        self.up()
    }

    /// Enables TLS over TCP with a certificate and its key, both in PEM.
    ///
    /// # Errors
    ///
    /// Fails if the files cannot be written, or the server does not start with them.
    pub fn serve_tls(&self, certificate: &str, key: &str) -> Result<(), String> {
        let write = |name: &str, text: &str| {
            let file = self.data().join(name);
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            self.user.map_or(Ok(()), |(user, group)| chown(&file, Some(user), Some(group)))
        };
        let on = write("server.crt", certificate).and_then(|()| write("server.key", key));
        let on = on.and_then(|()| self.configure("ssl = on"));
        on.map_err(|error| format!("TLS cannot be set up: {error}"))?;
        self.crash_and_restart()
    }

    /// Creates a database, empty or as a copy of a template; returns its name.
    ///
    /// # Errors
    ///
    /// Fails with the error of the server.
    pub fn database(&self, template: Option<&str>) -> Result<String, String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name} TEMPLATE {}", template.unwrap_or("template0"));
        let url = self.url("postgres");
        // Not every package has the client programs of PostgreSQL. The caller may be async and must not block its runtime.
        let made = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await.map_err(|e| e.to_string())?;
                let closed = tokio::spawn(connection);
                let created = client.batch_execute(&create).await.map_err(|e| format!("{create}: {e:?}"));
                drop(client);
                drop(closed.await);
                created
            })
        });
        made.join().map_err(|_| "creating a database panicked".to_owned())??;
        Ok(name)
    }

    /// The URL of a database of the cluster.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://callhistory@{}/{database}", self.host())
    }
}

fn text(error: io::Error) -> String {
    format!("a throw-away PostgreSQL cluster cannot be made: {error}")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some((mut watcher, stdin)) = self.watcher.take() {
            drop(stdin);
            drop(watcher.wait());
        }
    }
}

/// The user and group that run the server programs if this process is run by root, which they refuse.
fn unprivileged(own: &Path) -> Result<Option<(u32, u32)>, String> {
    if fs::metadata(own).map_err(|error| error.to_string())?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let find = |name: &str| {
        let user = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = user.split(':').skip(2).map(str::parse);
        Some((ids.next()?.ok()?, ids.next()?.ok()?))
    };
    let user = find("postgres").or_else(|| find("nobody"));
    user.map(Some).ok_or_else(|| "there is neither a user postgres nor nobody to run the server as".to_owned())
}
