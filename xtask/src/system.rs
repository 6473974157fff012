//! The system tests: what takes long or needs much of the machine. Each is a command that a reader can repeat.

use std::{
    fs::{self, File},
    hint, io,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use clap::Args;

use crate::{cargo, run_with_lines, setup, target};

/// The targets of `fuzz/`.
const FUZZ_TARGETS: [&str; 7] = ["record", "query", "cursor", "time", "merge_patch", "import", "key"];
/// Number of times that the suite runs under load, and of busy loops that run at the same time.
const LOADED_ROUNDS: usize = 5;
const BUSY_LOOPS: usize = 12;

/// Tests that the suite runs for a short time: the loops of each, and the arguments that select it.
const LONG_RUNS: [(&str, (&str, &str), &str); 6] = [
    ("kill -9, 200 rounds", ("CALLHISTORY_KILL_ROUNDS", "200"), "-p callhistory-server kill_9"),
    ("random script on both engines", ("CALLHISTORY_SCRIPT_STEPS", "50000"), "-p callhistory-store script"),
    ("a thousand damages", ("CALLHISTORY_DAMAGES", "1000"), "--release -p callhistory-store --lib damage"),
    ("merges of events in any order", ("CALLHISTORY_MERGES", "100000"), "--release -p callhistory-model any_order"),
    ("erasures in twenty databases", ("CALLHISTORY_ERASURES", "20"), "-p callhistory-store erased_text"),
    (
        "queries against the reference model",
        ("CALLHISTORY_QUERY_COMPARISONS", "500000"),
        "-p callhistory-store queries",
    ),
];
/// Tests that the suite ignores, with what they need.
const IGNORED_TESTS: [(&str, &[Requirement]); 10] = [
    ("a_full_disk_refuses_only_writes", &[UNSHARE]),
    ("a_server_starts_on_a_full_disk", &[UNSHARE]),
    ("a_server_starts_on_a_read_only_disk", &[UNSHARE]),
    ("a_read_only_mount_of_a_served_database_is_refused", &[UNSHARE]),
    ("a_disk_that_refuses_writes_is_a_state", &[STRACE]),
    ("a_disk_fault_never_causes_a_wrong_response", &[STRACE]),
    ("each_response_follows_its_fsync", &[STRACE]),
    ("hostile_clients_do_not_slow_down_others", &[]),
    ("a_slow_http2_reader_receives_the_whole_export", &[]),
    ("no_request_is_smuggled_through_nginx", &[NGINX]),
];

/// Which system tests to run, and how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Only the tests whose names contain this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How long each fuzz target runs, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    fuzz_seconds: u32,
    /// Print the names of the tests and exit
    #[arg(long)]
    list: bool,
}

/// A system test: what it needs besides Rust, and the commands that run it.
struct SystemTest {
    name: String,
    needs: &'static [Requirement],
    /// Commands that run before the load starts.
    builds: Vec<Command>,
    commands: Vec<Command>,
    under_load: bool,
}

/// What a machine may lack: a script that succeeds where it is present, and what to do where it is not.
struct Requirement {
    probe: &'static str,
    advice: &'static str,
}

const STRACE: Requirement = Requirement {
    probe: "sleep 1 & strace -qq -o /dev/null -p $!",
    advice: "strace is missing or may not trace: apt-get install strace, sysctl kernel.yama.ptrace_scope=0",
};
const UNSHARE: Requirement = Requirement {
    probe: "unshare -Urm true",
    advice: "unshare may not make a namespace: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
};
const NGINX: Requirement =
    Requirement { probe: "command -v nginx", advice: "nginx is missing: apt-get install nginx-light" };
const CARGO_FUZZ: Requirement =
    Requirement { probe: "command -v cargo-fuzz", advice: "cargo-fuzz is missing: cargo install --locked cargo-fuzz" };

/// Runs the tests that this machine allows. With `complete`, one that cannot run counts as failed.
///
/// # Errors
///
/// Names the tests that failed, or says that no name contains the text.
pub fn run(root: &Path, options: &Options, complete: bool) -> Result<(), String> {
    let is_chosen = |test: &SystemTest| options.only.as_ref().is_none_or(|text| test.name.contains(text));
    let tests: Vec<_> = system_tests(&target()?, options.fuzz_seconds).into_iter().filter(is_chosen).collect();
    if options.list {
        tests.iter().for_each(|test| println!("{}", test.name));
        return Ok(());
    }
    if tests.is_empty() {
        return Err("no test has such a name; --list prints the names".to_owned());
    }
    if let Some(installed) = setup::install_postgres(root)? {
        println!("{installed}");
    }
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for SystemTest { name, needs, builds, commands, under_load } in tests {
        println!("\n==> {name}");
        let started = Instant::now();
        let (line, has_failed) = match needs.iter().find(|need| !is_present(need)) {
            Some(need) => (format!("SKIPPED  {name}: {}", need.advice), complete),
            None => match run_commands(root, builds).and_then(|()| run_test(root, commands, under_load)) {
                Ok(()) => (format!("passed   {name} ({} s)", started.elapsed().as_secs()), false),
                Err(error) => (format!("FAILED   {name}: {error}"), true),
            },
        };
        lines.push(line);
        if has_failed {
            failed.push(name);
        }
    }
    println!("\n{}", lines.join("\n"));
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn is_present(need: &Requirement) -> bool {
    let mut probe = Command::new("sh");
    probe.args(["-c", need.probe]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn run_commands(root: &Path, commands: Vec<Command>) -> Result<(), String> {
    commands.into_iter().try_for_each(|command| run_command(root, command))
}

/// Runs a command. A command of tests in which no test runs fails: a filter that matches none checks nothing.
fn run_command(root: &Path, mut command: Command) -> Result<(), String> {
    let must_test = command.get_args().next().is_some_and(|argument| argument == "test");
    let must_test = must_test && command.get_args().all(|argument| argument != "--no-run");
    let mut has_tested = false;
    let status = run_with_lines(command.current_dir(root).stdin(Stdio::null()), |line| {
        has_tested |= line.starts_with("test ") && !line.starts_with("test result:");
    });
    let status = status.map_err(|error| format!("{command:?}: {error}"))?;
    match status.success() {
        true if must_test && !has_tested => Err(format!("{command:?} ran no test")),
        true => Ok(()),
        false => Err(format!("{command:?} ended with {status}")),
    }
}

fn system_tests(target: &Path, fuzz_seconds: u32) -> Vec<SystemTest> {
    let test = |name: &str, needs, commands| SystemTest {
        name: name.to_owned(),
        needs,
        builds: vec![],
        commands,
        under_load: false,
    };
    let mut tests = Vec::new();
    for (name, (variable, count), arguments) in LONG_RUNS {
        let mut command = cargo(&format!("test --locked {arguments}"));
        command.env(variable, count);
        tests.push(test(name, &[], vec![command]));
    }
    let alone = |engine: &str| {
        let mut check =
            cargo(&format!("check --locked -p callhistory-server --no-default-features --features {engine}"));
        check.env("RUSTFLAGS", "-D warnings");
        check
    };
    tests.push(test("each engine alone", &[], vec![alone("sqlite"), alone("postgres")]));
    let server = target.join("dist/callhistory-server");
    for (name, needs) in IGNORED_TESTS {
        let mut run = cargo(&format!("test --locked -p callhistory-server {name} -- --ignored --nocapture"));
        run.env("CALLHISTORY_SERVER", &server);
        let builds = vec![cargo("build --locked --profile dist -p callhistory-server")];
        tests.push(SystemTest { builds, ..test(name, needs, vec![run]) });
    }
    for target in FUZZ_TARGETS {
        // Both folders must exist; the fuzzer writes new inputs to the first.
        let folders = format!("fuzz/corpus/{target} fuzz/seeds/{target}");
        let mut corpus = Command::new("mkdir");
        corpus.arg("-p").args(folders.split(' '));
        let mut fuzz =
            cargo(&format!("fuzz run --sanitizer none {target} {folders} -- -max_total_time={fuzz_seconds}"));
        // The instrumentation is an option of the compiler that only this variable unlocks outside of nightly builds.
        fuzz.env("RUSTC_BOOTSTRAP", "1");
        tests.push(test(&format!("fuzz {target}"), &[CARGO_FUZZ], vec![corpus, fuzz]));
    }
    tests.push(test("bench --quick", &[], vec![cargo("xtask bench --quick")]));
    // Most tests wait more than they compute: eight at a time take half of the time.
    let suite = "test --workspace --locked --lib --bins --tests";
    let round = || cargo(&format!("{suite} -- --test-threads 8"));
    tests.push(SystemTest {
        builds: vec![cargo(&format!("{suite} --no-run"))],
        under_load: true,
        ..test("the suite under load", &[], (0..LOADED_ROUNDS).map(|_| round()).collect())
    });
    tests
}

/// Stops the load when it is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs the commands of a test, if asked while busy loops and a writer that syncs load the machine.
fn run_test(root: &Path, commands: Vec<Command>, under_load: bool) -> Result<(), String> {
    if !under_load {
        return run_commands(root, commands);
    }
    let path = target()?.join("load");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let guard = StopOnDrop(&stop);
        for _ in 0..BUSY_LOOPS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let writer = scope.spawn(|| write_and_sync(&path, &stop));
        run_commands(root, commands)?;
        drop(guard);
        match writer.join() {
            Ok(written) => written.map_err(|error| format!("the disk writer: {error}")),
            Err(_) => Err("the disk writer panicked".to_owned()),
        }
    })
}

/// Writes to a file and syncs it until `stop` is set.
fn write_and_sync(path: &Path, stop: &AtomicBool) -> io::Result<()> {
    let block = vec![7; 1 << 20];
    while !stop.load(Ordering::Relaxed) {
        let mut file = File::create(path)?;
        for _ in 0..64 {
            file.write_all(&block)?;
            file.sync_data()?;
        }
    }
    fs::remove_file(path)
}
