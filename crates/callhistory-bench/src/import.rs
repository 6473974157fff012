//! The import of a file compared with a hand-written loader.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use callhistory_test_support::history::WORKSPACE;

use crate::{
    bench::Bench,
    error::BoxError,
    footprint, histories,
    load::{cpu_seconds, file_mib, memory_mib},
    peers::sqlite_baseline::{Loader, contents},
    server::create_database,
    table::{Goal, Line, Outcome},
};

/// What one import took.
struct Import {
    seconds: f64,
    cpu_seconds: f64,
    peak_mib: f64,
}

pub(crate) async fn import(bench: &Bench) -> Outcome {
    let lines = bench.scratch.path().join("lines");
    let all = bench.records();
    let records = histories::write_lines(bench.history, all, WORKSPACE, &mut BufWriter::new(File::create(&lines)?))?;
    let folder = bench.scratch.path().join("import");
    create_database(&bench.server_program, &folder)?;
    let first = run_import(bench, &lines, &folder)?;
    let again = run_import(bench, &lines, &folder)?;
    let bare = bench.empty()?;
    let bare_seconds = Loader::open(&bare)?.import(&lines)?;
    if contents(&folder)? != contents(&bare)? {
        return Err("the loader has other calls than the import".into());
    }
    let rate = |seconds: f64| format!("{:.0}/s", f64::from(records) / seconds);
    let size = file_mib(&folder.join("callhistory.db"))?;
    for path in [&folder, &bare] {
        fs::remove_dir_all(path)?;
    }
    fs::remove_file(lines)?;
    let idle = footprint::idle_mib(bench).await?;
    let cpu = first.cpu_seconds * 1e6 / f64::from(records);
    Ok(vec![
        Line::new(format!("import of {records} records"), Goal::AtLeast(1.0), bare_seconds / first.seconds, "×")
            .between(rate(first.seconds), rate(bare_seconds))
            .with_peak(first.peak_mib),
        Line::new("CPU of a record", Goal::AtMost(110.0), cpu, "µs"),
        Line::new("memory above an idle server", Goal::AtMost(512.0), first.peak_mib - idle, "MiB"),
        Line::new("the same file again", Goal::AtLeast(4.0), first.seconds / again.seconds, "×")
            .between(rate(again.seconds), rate(first.seconds)),
        Line::new("the database", Goal::None, size, "MiB"),
    ])
}

fn run_import(bench: &Bench, lines: &Path, data: &Path) -> Result<Import, BoxError> {
    let started = Instant::now();
    let mut import = Command::new(&bench.server_program)
        .args(["import", "--workspace", WORKSPACE, "--data-dir"])
        .args([data, lines])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let (mut peak_mib, mut cpu): (f64, f64) = (0.0, 0.0);
    let status = loop {
        // Both figures end with the process, so the last ones before its end count.
        peak_mib = memory_mib(import.id()).map_or(peak_mib, |(_, peak)| peak.max(peak_mib));
        cpu = cpu_seconds(import.id()).unwrap_or(cpu).max(cpu);
        if let Some(status) = import.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if !status.success() {
        return Err("the import failed".into());
    }
    Ok(Import { seconds: started.elapsed().as_secs_f64(), cpu_seconds: cpu, peak_mib })
}
