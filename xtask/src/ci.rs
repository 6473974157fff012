//! The checks that give the same result on any machine, busy or idle.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use clap::ValueEnum;

use crate::{
    build_server, cargo,
    interop::{self, InstallError, InteropPart},
    openapi::generate::{self, Generated, Outcome},
    run_with_lines, setup, target, tidy,
};

/// A test that takes at least this long is named at the end of the run.
const SLOW: Duration = Duration::from_secs(10);
const TARGETS: &str = "--lib --bins --tests --examples";

/// A part of the checks, which can run as its own job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Format, house rules, lints, documentation
    Lint,
    /// Every test
    Test,
    /// openapi/ compared with the code, and validated and used with other tools
    Contract,
}

/// Runs all checks or one part of them, the fast ones first.
///
/// # Errors
///
/// Says which check failed. With `complete`, a check that cannot run on this machine counts as failed.
pub fn run(root: &Path, only: Option<Part>, complete: bool) -> Result<(), String> {
    let mut run = Run {
        root,
        name: only.map_or_else(String::new, |part| format!("{part:?} only: ").to_lowercase()),
        started: Instant::now(),
        times: Vec::new(),
        slow: Vec::new(),
        has_tested: false,
        not_checked: None,
    };
    let is_chosen = |part| only.is_none_or(|only| only == part);
    if is_chosen(Part::Lint) {
        run.lint()?;
    }
    if is_chosen(Part::Test) {
        run.test()?;
    }
    if is_chosen(Part::Contract) {
        run.contract()?;
    }
    run.finish(complete)
}

/// One run of the checks, with the figures of its summary.
struct Run<'a> {
    root: &'a Path,
    /// The chosen part, as the start of the summary; empty for all.
    name: String,
    started: Instant,
    times: Vec<String>,
    slow: Vec<String>,
    has_tested: bool,
    /// Why the contract was not checked with other tools.
    not_checked: Option<String>,
}

impl Run<'_> {
    fn step(&mut self, name: &str, check: impl FnOnce(&mut Self) -> Result<(), String>) -> Result<(), String> {
        println!("\n==> {name}");
        let began = Instant::now();
        check(self)?;
        self.times.push(format!("{name} {} s", began.elapsed().as_secs()));
        Ok(())
    }

    fn cargo(&mut self, name: &str, arguments: &str) -> Result<(), String> {
        self.step(name, |_| match command(arguments).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err(format!("cargo {arguments} failed")),
            Err(error) => Err(format!("cargo {arguments}: {error}")),
        })
    }

    fn lint(&mut self) -> Result<(), String> {
        self.cargo("cargo fmt", "fmt --all --check")?;
        self.cargo("cargo fmt of fuzz", "fmt --manifest-path fuzz/Cargo.toml --check")?;
        self.step("tidy", |run| tidy::run(run.root))?;
        self.cargo("cargo clippy", "clippy --workspace --all-targets --locked -- -D warnings")?;
        self.cargo("cargo doc", "doc --workspace --no-deps --locked")
    }

    fn test(&mut self) -> Result<(), String> {
        self.step("setup", |run| {
            let installed = setup::install_postgres(run.root)?;
            println!("    {}", installed.as_deref().unwrap_or("PostgreSQL is installed"));
            Ok(())
        })?;
        self.cargo("cargo test: build", &format!("test --workspace --locked {TARGETS} --no-run"))?;
        self.step("cargo test", |run| {
            run.slow = tests()?;
            run.has_tested = true;
            Ok(())
        })?;
        self.cargo("cargo test --doc", "test --workspace --locked --doc")
    }

    fn contract(&mut self) -> Result<(), String> {
        // The tests have built the server; a build of its crate alone would compile dependencies again with other features.
        let tested = target()?.join("debug/callhistory-server");
        let server = if self.has_tested { tested } else { build_server()? };
        self.step("openapi check", |run| {
            let report = generate::check(run.root, &Generated::by_server(&server)?);
            print!("{}", report.text());
            if report.outcome() == Outcome::Fine { Ok(()) } else { Err("openapi/ is stale or invalid".to_owned()) }
        })?;
        self.step("interop", |run| match interop::Tools::install(run.root, Some(InteropPart::Short)) {
            Ok(tools) => {
                interop::run(run.root, &tools, &server, Some(InteropPart::Short)).map_err(|error| error.to_string())
            }
            Err(InstallError::Unavailable(reason)) => {
                run.not_checked = Some(reason);
                Ok(())
            }
            Err(InstallError::Failed(reason)) => Err(reason),
        })
    }

    fn finish(self, complete: bool) -> Result<(), String> {
        println!("\n{}", self.times.join(", "));
        print_slow(&self.slow);
        let seconds = self.started.elapsed().as_secs();
        match self.not_checked {
            None => println!("{}everything passes, after {seconds} s.", self.name),
            Some(reason) if complete => {
                return Err(format!("NOT CHECKED: the contract with other tools, because {reason}."));
            }
            Some(reason) => println!(
                "Everything that ran passes, after {seconds} s. NOT CHECKED: the contract with other tools, because \
                 {reason}. Then run: cargo xtask interop"
            ),
        }
        Ok(())
    }
}

fn command(arguments: &str) -> Command {
    let mut command = cargo(arguments);
    command.env("RUSTDOCFLAGS", "-D warnings");
    command
}

/// Runs the tests and shows their output; returns the slow ones, the slowest first.
fn tests() -> Result<Vec<String>, String> {
    // Most tests wait more than they compute.
    let options = "--test-threads 8 -Zunstable-options --report-time";
    let arguments = format!("test --workspace --locked --no-fail-fast {TARGETS} -- {options}");
    let mut command = command(&arguments);
    // `--report-time` is an unstable option of the test harness, which this variable unlocks. The compiler must not see the
    // variable, so a runner sets it for the tests only.
    let host = host()?;
    command.env(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_")), "env RUSTC_BOOTSTRAP=1");
    let mut slow = Vec::new();
    let status = run_with_lines(&mut command, |line| slow.extend(slow_test(line)))?;
    slow.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let slow: Vec<_> = slow.into_iter().map(|(seconds, name)| format!("{name} {seconds:.0} s")).collect();
    if !status.success() {
        print_slow(&slow);
        return Err("a test failed".to_owned());
    }
    Ok(slow)
}

fn print_slow(tests: &[String]) {
    if !tests.is_empty() {
        println!("Slow tests: {}", tests.join(", "));
    }
}

/// The seconds and the name of a slow test, from its line: `test sqlite::conformance ... ok <12.345s>`.
fn slow_test(line: &str) -> Option<(f64, String)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let seconds = rest.rsplit_once('<')?.1.strip_suffix("s>")?.parse().ok()?;
    (seconds >= SLOW.as_secs_f64()).then(|| (seconds, name.to_owned()))
}

/// The target triple of this machine.
fn host() -> Result<String, String> {
    let rustc = Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc: {error}"))?;
    let text = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not name its host".to_owned())
}

#[cfg(test)]
mod tests {
    use super::slow_test;

    #[test]
    fn a_slow_test_is_read_from_its_line() {
        let line = "test sqlite::conformance ... ok <12.345s>";
        assert_eq!(slow_test(line), Some((12.345, "sqlite::conformance".to_owned())));
        assert_eq!(slow_test("test fast ... ok <0.100s>"), None);
        assert_eq!(slow_test("test result: ok. 1 passed; finished in 20.10s"), None);
    }
}
