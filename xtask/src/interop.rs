//! Interoperability: other validators, three generators of clients, calls of a server with them, schemathesis, the console in a
//! browser, and the clients in `clients/`.

mod clients;
mod console;
mod generated;

pub use console::take_screenshots;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::{server_command, target};
use callhistory_test_support::contract_cases::{Case, cases};
use clap::ValueEnum;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InteropPart {
    /// The contract and its clients
    Contract,
    /// The types of the console, and the console in a browser; needs only Node
    Console,
    /// The tests and the packages of the clients in `clients/`; needs Node and Python
    Clients,
    /// What the other checks of each change include: the contract, and that each page of the console opens
    Short,
}

/// The programs that must be installed, each with arguments that check its version, and what to install.
const PROGRAMS: [(&str, &[&str], &str); 5] = [
    ("node", &["-e", "process.exit(Number(process.versions.node.split('.')[0]) < 20 ? 1 : 0)"], "Node 20 or later"),
    ("npm", &["--version"], "npm"),
    (
        "python3",
        &["-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 10))"],
        "Python 3.10 or later with venv (python3-venv)",
    ),
    ("java", &["-version"], "a JDK, such as default-jdk-headless"),
    ("javac", &["-version"], "a JDK, such as default-jdk-headless"),
];

/// How many random requests schemathesis makes of each operation and phase in a short run, instead of 100.
const SHORT_EXAMPLES: &str = "10";

/// Parts of the messages of npm and pip when they reach no registry.
const UNREACHABLE: [&str; 11] = [
    "ENOTFOUND",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "EAI_AGAIN",
    "ENETUNREACH",
    "NewConnectionError",
    "ConnectTimeoutError",
    "NameResolutionError",
    "ReadTimeoutError",
    "ProxyError",
];

/// Runs every tool on the committed contract and on a server of this checkout.
///
/// # Errors
///
/// Says which step failed, with what it printed.
pub fn run(root: &Path, tools: &Tools, server: &Path, only: Option<InteropPart>) -> Result<(), Failure> {
    let started = Instant::now();
    let contract = root.join("openapi/callhistory.json");
    if !matches!(only, Some(InteropPart::Console | InteropPart::Clients)) {
        tools.contract(root, &contract, server, only == Some(InteropPart::Short))?;
    }
    if matches!(only, None | Some(InteropPart::Clients)) {
        clients::check(root, tools, server)?;
    }
    if !matches!(only, Some(InteropPart::Contract | InteropPart::Clients)) {
        console::check(root, tools, &contract, (server, only == Some(InteropPart::Short)))?;
    }
    println!("\nEverything passes, after {} s.", started.elapsed().as_secs());
    Ok(())
}

/// A step of the run: a command whose output is shown if it fails, or always.
trait Step {
    fn step(&mut self, name: &str) -> Result<(), Failure>;
    fn show(&mut self, name: &str) -> Result<(), Failure>;
}

impl Step for Command {
    fn step(&mut self, name: &str) -> Result<(), Failure> {
        println!("==> {name}");
        let output = self.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        Err(format!("{out}{err}\n{name} failed").into())
    }

    fn show(&mut self, name: &str) -> Result<(), Failure> {
        println!("==> {name}");
        let status = self.stdin(Stdio::null()).status().map_err(|error| format!("{name}: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("{name} failed").into()) }
    }
}

/// Why the tools are not installed.
#[derive(Debug)]
pub enum InstallError {
    /// This machine lacks a program or reaches no registry.
    Unavailable(String),
    /// The committed versions cannot be installed on any machine.
    Failed(String),
}

impl std::fmt::Display for InstallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unavailable(reason) | Self::Failed(reason)) = self;
        f.write_str(reason)
    }
}

/// The tools of `xtask/interop/`, installed below `target/`.
#[derive(Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Installs the committed versions, unless they are installed.
    ///
    /// # Errors
    ///
    /// Says which program is missing, that no registry can be reached, or which step failed.
    pub fn install(root: &Path, only: Option<InteropPart>) -> Result<Self, InstallError> {
        let programs = match only {
            Some(InteropPart::Console) => 2,
            Some(InteropPart::Clients) => 3,
            _ => PROGRAMS.len(),
        };
        for (program, arguments, install) in PROGRAMS.into_iter().take(programs) {
            let found = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
            if !found.is_ok_and(|status| status.success()) {
                let reason = format!("{program} is missing or too old: install {install}");
                return Err(InstallError::Unavailable(reason));
            }
        }
        if only == Some(InteropPart::Clients) {
            // The clients have tools of their own.
            let folder = target().map_err(InstallError::Failed)?.join("interop");
            return Ok(Self { folder });
        }
        let with_python = only != Some(InteropPart::Console);
        Self::install_packages(&root.join("xtask/interop"), with_python).map_err(|failure| {
            let reason = failure.to_string();
            if UNREACHABLE.iter().any(|message| reason.contains(message)) {
                return InstallError::Unavailable("a registry cannot be reached".to_owned());
            }
            InstallError::Failed(reason)
        })
    }

    fn install_packages(source: &Path, with_python: bool) -> Result<Self, Failure> {
        let folder = target()?.join("interop");
        fs::create_dir_all(&folder)?;
        for file in [
            "package.json",
            "package-lock.json",
            "requirements.txt",
            "browser.mjs",
            "calls.ts",
            "fetch.ts",
            "samples.mjs",
            "caches.mjs",
            "diff.mjs",
        ] {
            fs::copy(source.join(file), folder.join(file))?;
        }
        let marker = folder.join("installed-by-npm");
        let wanted = fs::read_to_string(source.join("package-lock.json"))?;
        if !fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder).step("npm ci")?;
            fs::write(marker, wanted)?;
        }
        let marker = folder.join("installed-by-pip");
        let wanted = fs::read_to_string(source.join("requirements.txt"))?;
        if with_python && !fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
            let venv = folder.join("venv");
            Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv).step("python3 -m venv")?;
            let mut pip = Command::new(venv.join("bin/pip"));
            pip.args(["install", "--quiet", "--requirement"]).arg(folder.join("requirements.txt"));
            pip.step("pip install")?;
            fs::write(marker, wanted)?;
        }
        Ok(Self { folder })
    }

    fn node(&self, program: &str) -> Command {
        Command::new(self.folder.join("node_modules/.bin").join(program))
    }

    fn python(&self, program: &str) -> Command {
        Command::new(self.folder.join("venv/bin").join(program))
    }

    /// Validates the contract, generates clients from it, and calls a server with them. The short run has fewer random requests and
    /// generators.
    fn contract(&self, root: &Path, contract: &Path, server: &Path, is_short: bool) -> Result<(), Failure> {
        self.python("openapi-spec-validator").arg(contract).step("openapi-spec-validator")?;
        self.node("redocly").args(["lint", "--extends", "recommended"]).arg(contract).step("redocly lint")?;
        self.compare_cases(root)?;
        generated::generate(self, root, contract, is_short)?;

        let directory = tempfile::tempdir()?;
        self.caches(root, server, &directory.path().join("caches"))?;
        let server = Server::start(server, &directory.path().join("data"), &[])?;
        let base = &server.base;
        generated::call(self, root, base, is_short)?;
        let mut exports = self.python("python3");
        exports.arg(root.join("xtask/interop/exports.py")).arg(base).current_dir(directory.path());
        exports.show("exports read by other programs")?;
        let mut schemathesis = self.python("schemathesis");
        schemathesis.env("SCHEMATHESIS_HOOKS", root.join(".ci/schemathesis_hooks.py")).current_dir(directory.path());
        schemathesis.arg("--config-file").arg(root.join(".ci/schemathesis.toml"));
        // All checks are on by default. `--checks all` would also turn on those that the file turns off for an operation.
        schemathesis.args(["run", &format!("{base}/openapi.json"), "--seed", "1"]);
        if is_short {
            schemathesis.args(["--max-examples", SHORT_EXAMPLES]);
        }
        schemathesis.show("schemathesis")
    }

    /// Compares our result with that of redocly for each case of our rules: a case in which they differ says why.
    fn compare_cases(&self, root: &Path) -> Result<(), Failure> {
        let cases = cases(root)?;
        println!("==> redocly diff of {} cases", cases.len());
        let folder = self.folder.join("cases");
        fs::create_dir_all(&folder)?;
        let mut pairs = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            let (old, new) = case.contracts()?;
            let files = ["old", "new"].map(|side| folder.join(format!("{index}-{side}.json")));
            fs::write(&files[0], old.to_string())?;
            fs::write(&files[1], new.to_string())?;
            pairs.push(files);
        }
        let list = folder.join("pairs.json");
        fs::write(&list, serde_json::to_string(&pairs)?)?;
        let output = Command::new("node").arg(self.folder.join("diff.mjs")).arg(list).output()?;
        let breaks: Vec<Option<u64>> = serde_json::from_slice(&output.stdout)
            .map_err(|_| format!("redocly diff: {}", String::from_utf8_lossy(&output.stderr)))?;
        if breaks.len() != cases.len() {
            return Err("redocly diff has no result for some cases".into());
        }
        let wrong: Vec<_> = cases.iter().zip(breaks).filter_map(|(case, breaks)| disagreement(case, breaks)).collect();
        if !wrong.is_empty() {
            return Err(wrong.join("\n").into());
        }
        let disputed = cases.iter().filter(|case| case.redocly.is_some()).count();
        println!("    agrees on {}, differs on {disputed}, each with its reason", cases.len() - disputed);
        Ok(())
    }

    /// Reads through HTTP caches as callers of two workspaces, each with a key that shows phone numbers and one that does not, and
    /// uses the service from pages in a browser.
    fn caches(&self, root: &Path, program: &Path, data: &Path) -> Result<(), Failure> {
        let scopes = ["calls:read,calls:write,calls:delete,phone-numbers:read", "calls:read,calls:write"];
        let keys = create_keys(program, data, &scopes)?;
        let ports = [free_port()?, free_port()?];
        let origin = format!("http://localhost:{}", ports[0]);
        let server = Server::start(program, data, &["--require-keys", "--cors-origins", &origin])?;
        let mut python = self.python("python3");
        python.arg(root.join("xtask/interop/caches.py")).arg(&server.base).args(&keys).show("CacheControl")?;
        let (browser, mut node) = (browser(), Command::new("node"));
        if browser.is_none() {
            println!("    the cache and the pages of a browser are not tested: install chromium");
        }
        node.arg(self.folder.join("caches.mjs")).arg(&server.base).args(&keys).args(&browser);
        node.show("caches of npm and of a browser")?;
        let Some(browser) = browser else { return Ok(()) };
        let mut pages = Command::new("node");
        pages
            .arg(self.folder.join("browser.mjs"))
            .args([&server.base, &keys[0], &browser])
            .args(ports.map(|port| port.to_string()));
        pages.show("pages of other origins in a browser")
    }
}

/// A port that nobody listens on.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Creates a database with a key of an operator for each of these scopes.
fn create_keys(program: &Path, data: &Path, scopes: &[&str]) -> Result<Vec<String>, Failure> {
    server_command(program).args(["migrate", "--data-dir"]).arg(data).step("migrate")?;
    let mut keys = Vec::new();
    for scopes in scopes {
        let mut create = server_command(program);
        create.args(["keys", "create", "--operator", "--scopes", scopes, "--data-dir"]).arg(data);
        let created = create.output()?;
        if !created.status.success() {
            return Err(format!("keys create: {}", String::from_utf8_lossy(&created.stderr)).into());
        }
        keys.push(String::from_utf8(created.stdout)?.trim().to_owned());
    }
    Ok(keys)
}

/// The path of a browser whose cache can be tested, if there is one.
fn browser() -> Option<String> {
    let find = "command -v chromium || command -v google-chrome || command -v chromium-browser";
    let found = Command::new("sh").args(["-c", find]).output().ok()?;
    Some(String::from_utf8(found.stdout).ok()?.trim().to_owned()).filter(|path| !path.is_empty())
}

/// What to correct in a case, given the number of breaking changes that redocly finds.
fn disagreement(case: &Case, breaks: Option<u64>) -> Option<String> {
    let agrees = breaks.map(|breaks| breaks > 0) == Some(!case.expect.is_empty());
    if agrees == case.redocly.is_none() {
        return None;
    }
    let result = match breaks {
        Some(0) => "compatible",
        Some(_) => "breaking",
        None => "nothing",
    };
    let advice = if agrees { "remove \"redocly\"" } else { "say why in \"redocly\"" };
    Some(format!("{:?}: redocly says {result}: {advice}", case.name))
}

/// A server of this checkout on a free port; it is killed when this value is dropped.
struct Server {
    child: Child,
    base: String,
}

impl Server {
    fn start(program: &Path, data: &Path, flags: &[&str]) -> Result<Self, Failure> {
        let mut command = server_command(program);
        command.arg("--data-dir").arg(data).args(flags);
        Self::spawn(command)
    }

    /// A server with a temporary database of generated calls.
    fn demo(program: &Path, flags: &[&str]) -> Result<Self, Failure> {
        let mut command = server_command(program);
        command.arg("demo").args(flags);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self, Failure> {
        command.args(["--listen", "127.0.0.1:0", "--log", "off"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut server = Self { child, base: String::new() };
        let mut lines = BufReader::new(output).lines();
        for line in lines.by_ref() {
            if let Some((_, base)) = line?.split_once(" at http") {
                server.base = format!("http{base}");
                break;
            }
        }
        // The rest of its output must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        if server.base.is_empty() { Err("the server did not start".into()) } else { Ok(server) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The files in a folder and below.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(self::files(&path)?) } else { files.push(path) }
    }
    Ok(files)
}
