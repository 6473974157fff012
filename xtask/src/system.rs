//! The proofs that take long or need much of the machine. Each is a command that a reader could repeat.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use clap::Args;

use crate::{cargo, run_with_lines, setup, target};

/// The targets of `fuzz/`.
const FUZZ_TARGETS: [&str; 7] = ["record", "query", "cursor", "time", "merge_patch", "import", "key"];
/// How often the suite runs under load, and next to how many busy loops.
const LOADED_ROUNDS: usize = 5;
const BUSY_LOOPS: usize = 12;

/// Which proofs to run, and how long.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Only the proofs whose names contain this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How long each fuzz target runs, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    fuzz_seconds: u32,
    /// Print the names of the proofs and end
    #[arg(long)]
    list: bool,
}

/// One proof: what it needs besides Rust, and what runs it.
struct Proof {
    name: String,
    needs: &'static [Need],
    /// What is built before the load begins.
    builds: Vec<Command>,
    commands: Vec<Command>,
    under_load: bool,
}

/// What a machine may lack: a script that shows that it is there, and what to do where it is not.
struct Need {
    probe: &'static str,
    otherwise: &'static str,
}

const STRACE: Need = Need {
    probe: "sleep 1 & strace -qq -o /dev/null -p $!",
    otherwise: "strace is missing or may not trace: apt-get install strace, sysctl kernel.yama.ptrace_scope=0",
};
const UNSHARE: Need = Need {
    probe: "unshare -Urm true",
    otherwise: "unshare may not make a namespace: sysctl kernel.apparmor_restrict_unprivileged_userns=0",
};
const NGINX: Need = Need { probe: "command -v nginx", otherwise: "nginx is missing: apt-get install nginx-light" };
const CARGO_FUZZ: Need =
    Need { probe: "command -v cargo-fuzz", otherwise: "cargo-fuzz is missing: cargo install --locked cargo-fuzz" };

/// Runs the proofs that this machine allows. With `complete`, one that cannot run counts as failed.
///
/// # Errors
///
/// Names the proofs that failed, or says that none has this name.
pub fn run(root: &Path, options: &Options, complete: bool) -> Result<(), String> {
    let is_chosen = |proof: &Proof| options.only.as_ref().is_none_or(|text| proof.name.contains(text));
    let proofs: Vec<_> = proofs(&target()?, options.fuzz_seconds).into_iter().filter(is_chosen).collect();
    if options.list {
        proofs.iter().for_each(|proof| println!("{}", proof.name));
        return Ok(());
    }
    if proofs.is_empty() {
        return Err("no proof has such a name: --list prints them".to_owned());
    }
    if let Some(installed) = setup::install_postgres(root)? {
        println!("{installed}");
    }
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for proof in proofs {
        println!("\n==> {}", proof.name);
        let name = proof.name.clone();
        let started = Instant::now();
        let line = match prove(root, proof) {
            Ok(None) => format!("passed   {name} ({} s)", started.elapsed().as_secs()),
            Ok(Some(reason)) => {
                if complete {
                    failed.push(name.clone());
                }
                format!("SKIPPED  {name}: {reason}")
            }
            Err(error) => {
                failed.push(name.clone());
                format!("FAILED   {name}: {error}")
            }
        };
        lines.push(line);
    }
    println!("\n{}", lines.join("\n"));
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

/// Gives why a proof was skipped, where it was.
fn prove(root: &Path, proof: Proof) -> Result<Option<String>, String> {
    for need in proof.needs {
        let mut probe = Command::new("sh");
        probe.args(["-c", need.probe]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if !probe.status().is_ok_and(|status| status.success()) {
            return Ok(Some(need.otherwise.to_owned()));
        }
    }
    for command in proof.builds {
        run_command(root, command)?;
    }
    let load = if proof.under_load { Some(Load::start(&target()?)?) } else { None };
    for command in proof.commands {
        run_command(root, command)?;
    }
    load.map_or(Ok(None), |load| load.stop().map(|()| None))
}

/// Runs a command. One of tests in which no test runs fails: a filter that meets none proves nothing.
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

fn proofs(target: &Path, fuzz_seconds: u32) -> Vec<Proof> {
    let proof = |name: &str, needs, commands| Proof {
        name: name.to_owned(),
        needs,
        builds: vec![],
        commands,
        under_load: false,
    };
    let with = |name: &str, value: &str, arguments: &str| {
        let mut command = cargo(arguments);
        command.env(name, value);
        command
    };
    let mut proofs = vec![
        proof(
            "kill -9, 200 rounds",
            &[],
            vec![with("CALLHISTORY_KILL_ROUNDS", "200", "test --locked -p callhistory-server kill_9")],
        ),
        proof(
            "random script on both engines",
            &[],
            vec![with("CALLHISTORY_SCRIPT_STEPS", "50000", "test --locked -p callhistory-store script")],
        ),
        proof(
            "queries against the reference model",
            &[],
            vec![with("CALLHISTORY_QUERY_COMPARISONS", "500000", "test --locked -p callhistory-store queries")],
        ),
    ];
    let server = target.join("dist/callhistory-server");
    let ignored: [(&str, &'static [Need]); 6] = [
        ("a_full_disk_refuses_writes_alone", &[UNSHARE]),
        ("no_answer_is_false_after_a_fault_of_the_disk", &[STRACE]),
        ("each_answer_comes_after_its_sync", &[STRACE]),
        ("hostile_clients_do_not_matter", &[]),
        ("a_slow_reader_of_http2_gets_everything", &[]),
        ("nothing_is_smuggled_through_nginx", &[NGINX]),
    ];
    for (test, needs) in ignored {
        let mut run = cargo(&format!("test --locked -p callhistory-server {test} -- --ignored --nocapture"));
        run.env("CALLHISTORY_SERVER", &server);
        let builds = vec![cargo("build --locked --profile dist -p callhistory-server")];
        proofs.push(Proof { builds, ..proof(test, needs, vec![run]) });
    }
    for target in FUZZ_TARGETS {
        // Both must be there; the first takes what is found.
        let folders = format!("fuzz/corpus/{target} fuzz/seeds/{target}");
        let mut corpus = Command::new("mkdir");
        corpus.arg("-p").args(folders.split(' '));
        let mut fuzz =
            cargo(&format!("fuzz run --sanitizer none {target} {folders} -- -max_total_time={fuzz_seconds}"));
        // The instrumentation is an option of the compiler that only this variable unlocks outside of nightly builds.
        fuzz.env("RUSTC_BOOTSTRAP", "1");
        proofs.push(proof(&format!("fuzz {target}"), &[CARGO_FUZZ], vec![corpus, fuzz]));
    }
    proofs.push(proof("bench --quick", &[], vec![cargo("xtask bench --quick")]));
    // Most tests wait more than they compute: with more of them at once, a round takes half of the time.
    let suite = "test --workspace --locked --lib --bins --tests";
    let round = || cargo(&format!("{suite} -- --test-threads 6"));
    proofs.push(Proof {
        builds: vec![cargo(&format!("{suite} --no-run"))],
        under_load: true,
        ..proof("the suite under load", &[], (0..LOADED_ROUNDS).map(|_| round()).collect())
    });
    proofs
}

/// Busy loops and a writer that syncs, until this value is stopped or dropped.
struct Load {
    loops: Vec<Child>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Load {
    fn start(target: &Path) -> Result<Self, String> {
        // They end with this process, also where it is killed.
        let script = format!("while kill -0 {} 2>/dev/null; do :; done", std::process::id());
        let busy = || Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn();
        let loops = (0..BUSY_LOOPS).map(|_| busy()).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let path = target.join("load");
        let writer = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let block = vec![7; 1 << 20];
                while !stop.load(Ordering::Relaxed) {
                    let mut file = File::create(&path)?;
                    for _ in 0..64 {
                        file.write_all(&block)?;
                        file.sync_data()?;
                    }
                }
                fs::remove_file(path)
            }
        });
        Ok(Self { loops, stop, writer: Some(writer) })
    }

    /// Ends the load; fails where it ended by itself before.
    fn stop(mut self) -> Result<(), String> {
        for child in &mut self.loops {
            if child.try_wait().map_err(|error| error.to_string())?.is_some() {
                return Err("a busy loop has ended".to_owned());
            }
        }
        self.stop.store(true, Ordering::Relaxed);
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(format!("the disk writer: {error}")),
            Some(Err(_)) => Err("the disk writer panicked".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for child in &mut self.loops {
            drop(child.kill());
            drop(child.wait());
        }
        drop(self.writer.take().map(JoinHandle::join));
    }
}
