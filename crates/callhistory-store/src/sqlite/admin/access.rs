//! Why the files of a database cannot be opened: mostly another user owns one, such as root, who ran a command first.

use std::path::Path;

use crate::error::StoreError;

/// Adds to an error which file this process must not open, whose it is, and what to do.
#[cfg(unix)]
pub(crate) fn explain(database: &Path, error: StoreError) -> StoreError {
    use rustix::fs::Access;
    use std::os::unix::fs::MetadataExt as _;

    use crate::partial_file;

    let folder = partial_file::folder(database);
    let files = ["", "-wal", "-shm", ".lock", ".ballast", ".partial"].map(|end| partial_file::sibling(database, end));
    let read_write = Access::READ_OK | Access::WRITE_OK;
    let needs = std::iter::once((folder, read_write | Access::EXEC_OK));
    let needs = needs.chain(files.iter().map(|file| (file.as_path(), read_write)));
    let mut refused = needs.filter(|(file, needed)| {
        let denied = [rustix::io::Errno::ACCESS, rustix::io::Errno::PERM];
        rustix::fs::access(*file, *needed).is_err_and(|reason| denied.contains(&reason))
    });
    let Some((file, found)) = refused.find_map(|(file, _)| Some((file, file.metadata().ok()?))) else { return error };
    let (own, name) = (rustix::process::geteuid().as_raw(), file.display());
    let remedy = if found.uid() == own {
        format!("chmod u+rwX {name}")
    } else {
        format!("chown -R {own} {}, or run the command as the other user", folder.display())
    };
    StoreError::Open(format!(
        "{error}: {name} belongs to user {} with mode {:o}, and this process is user {own}; {remedy}",
        found.uid(),
        found.mode() & 0o777,
    ))
}

#[cfg(not(unix))]
pub(crate) fn explain(_: &Path, error: StoreError) -> StoreError {
    error
}
