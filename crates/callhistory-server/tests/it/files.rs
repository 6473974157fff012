//! The files that the program creates: their permissions and owners, and what a failed or killed command leaves behind.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use callhistory_client::CallInput;
use tempfile::TempDir;

use crate::{
    binary::{PROGRAM, Running, command, output_of, run},
    harness::PATIENCE,
};

/// All regular files in a folder and below it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let found = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    found.filter(|path| fs::symlink_metadata(path).unwrap().is_file()).collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The program in a shell that lets others read and write new files.
fn with_open_umask(directory: &Path, arguments: &[&str]) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.current_dir(directory).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.args(["-c", "umask 000; exec \"$@\"", "sh", PROGRAM.as_str()]).args(arguments);
    shell
}

/// Records are personal data: other users cannot read any file, also in a directory that they can enter.
#[tokio::test]
async fn only_the_owner_can_read_files() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    for folder in ["data", "other"] {
        fs::create_dir(path.join(folder)).unwrap();
        set_mode(&path.join(folder), 0o755);
    }
    let run = |arguments: &[&str]| output_of(with_open_umask(path, arguments).spawn().unwrap());
    let data = ["--data-dir", "data"];
    let serve = [&["--listen", "127.0.0.1:0"], &data[..]].concat();
    let mut server = Running::spawn(&mut with_open_umask(path, &serve));
    server.client("w").replace_call("a", &CallInput::default()).await.unwrap();
    // A file of an earlier attempt that others can read.
    fs::write(path.join("copy.db.sha256.partial"), "").unwrap();
    set_mode(&path.join("copy.db.sha256.partial"), 0o666);
    assert_eq!(run(&[&["backup", "copy.db"], &data[..]].concat()).0, 0);
    let open: Vec<_> = files(path).into_iter().map(|file| (mode(&file), file)).collect();
    for suffix in ["", "-wal", "-shm", ".lock", ".ballast"] {
        let file = path.join(format!("data/callhistory.db{suffix}"));
        assert!(open.iter().any(|(_, path)| *path == file), "{file:?} is not checked");
    }
    server.signal("-TERM");
    server.child.wait().unwrap();
    assert_eq!(run(&["restore", "copy.db", "--data-dir", "other"]).0, 0);
    assert_eq!(run(&[&["export", "--workspace", "w", "--output", "all.ndjson"], &data[..]].concat()).0, 0);
    let later = files(path).into_iter().map(|file| (mode(&file), file));
    for (mode, file) in open.into_iter().chain(later) {
        assert_eq!(mode, 0o600, "{}", file.display());
    }
}

/// In a mistyped directory, a command says so instead of working on an empty database.
#[test]
fn only_serving_migrating_and_restoring_create_a_database() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    fs::write(path.join("a.ndjson"), "{\"_id\":\"a\"}\n").unwrap();
    fs::write(path.join("old.ndjson"), "the last export").unwrap();
    let commands: [&[&str]; 9] = [
        &["keys", "list"],
        &["keys", "create", "--operator", "--scopes", "calls:read"],
        &["keys", "revoke", "a"],
        &["keys", "rotate", "a"],
        &["import", "--workspace", "w", "a.ndjson"],
        &["export", "--workspace", "w", "--output", "old.ndjson"],
        &["backup", "copy.db"],
        &["rebuild-metrics"],
        &["doctor"],
    ];
    for arguments in commands {
        let (code, printed, errors) = run(path, &[arguments, &["--data-dir", "mistyped"]].concat());
        let said = printed + &errors;
        assert!(code != 0 && said.contains("mistyped/callhistory.db"), "{arguments:?}: {said}");
        assert!(!path.join("mistyped").exists(), "{arguments:?} created it");
    }
    assert_eq!(fs::read_to_string(path.join("old.ndjson")).unwrap(), "the last export");
    assert_eq!(run(path, &["migrate"]).0, 0);
    assert_eq!(run(path, commands[4]).0, 0);
    // A failed export leaves the last one as it was.
    let (code, _, errors) = run(path, &["export", "--workspace", "w", "--output", "old.ndjson", "--query", "x=y"]);
    assert!(code == 1 && errors.contains("--query"), "{errors}");
    assert_eq!(fs::read_to_string(path.join("old.ndjson")).unwrap(), "the last export");
    assert_eq!(run(path, commands[5]).0, 0);
    assert!(fs::read_to_string(path.join("old.ndjson")).unwrap().starts_with("{\"_id\":\"a\""));
    assert_eq!(files(path).iter().filter(|file| file.to_string_lossy().ends_with(".partial")).count(), 0);
}

/// A backup is killed in the middle. Its copy is gone after the next backup, although that one has another name.
#[test]
fn a_killed_backup_leaves_no_copy_behind() {
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    assert_eq!(run(path, &["migrate"]).0, 0);
    fs::create_dir(path.join("backups")).unwrap();
    // The backup waits for a reader of its checksum.
    for fifo in ["monday.db.sha256", "monday.db.sha256.partial"] {
        assert!(Command::new("mkfifo").arg(path.join("backups").join(fifo)).status().unwrap().success());
    }
    let mut killed = command(path).args(["backup", "backups/monday.db"]).spawn().unwrap();
    let started = Instant::now();
    let copied = |file: &PathBuf| file.metadata().unwrap().len() > 0;
    while !files(&path.join("backups")).iter().any(copied) {
        assert!(started.elapsed() < PATIENCE, "nothing is copied");
        std::thread::sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!files(&path.join("backups")).is_empty() && !path.join("backups/monday.db").exists());
    assert_eq!(run(path, &["backup", "backups/tuesday.db"]).0, 0);
    let mut left = files(&path.join("backups"));
    left.sort();
    assert_eq!(left, ["tuesday.db", "tuesday.db.sha256"].map(|name| path.join("backups").join(name)));
    // Two backups at a time would mix their bytes.
    let (code, _, errors) = run(path, &["backup", "-"]);
    assert!(code == 1 && errors.contains("standard output"), "{errors}");
    assert!(!path.join("-").exists());
}

/// Root ran a command first: the message says whose the file is, and what to do.
#[test]
fn a_file_of_another_user_is_named() {
    const NOBODY: u32 = 65_534;
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(run(path, &["migrate"]).0, 0);
    set_mode(path, 0o755);
    let program = path.join("program");
    fs::hard_link(&*PROGRAM, &program).or_else(|_| fs::copy(&*PROGRAM, &program).map(drop)).unwrap();
    let data = path.join("callhistory-data");
    let names = ["", "-wal", "-shm", ".lock"].map(|suffix| data.join(format!("callhistory.db{suffix}")));
    let give = |file: &Path, user: u32| {
        if is_root {
            std::os::unix::fs::chown(file, Some(user), Some(user)).unwrap();
        } else {
            set_mode(file, if user == 0 { 0 } else { 0o600 });
        }
    };
    give(&data, NOBODY);
    set_mode(&data, 0o700);
    for foreign in &names {
        for name in &names {
            if !name.exists() {
                fs::write(name, "").unwrap();
            }
            set_mode(name, 0o600);
            give(name, if name == foreign { 0 } else { NOBODY });
        }
        let mut keys = Command::new(&program);
        keys.current_dir(path).env_clear().args(["keys", "list"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        if is_root {
            keys.uid(NOBODY).gid(NOBODY);
        }
        let (code, _, errors) = output_of(keys.spawn().unwrap());
        let name = foreign.strip_prefix(path).unwrap().display().to_string();
        let remedy = if is_root { "chown -R 65534 callhistory-data" } else { "chmod u+rwX" };
        let owner = if is_root { "user 0 with mode 600, and this process is user 65534" } else { "with mode 0" };
        assert!(code == 1 && errors.contains(&format!("{name} belongs to")), "{name}: {errors}");
        assert!(errors.contains(remedy) && errors.contains(owner), "{errors}");
    }
    if is_root {
        give(&names[0], NOBODY);
    }
}
