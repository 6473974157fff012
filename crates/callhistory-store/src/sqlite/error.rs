//! From errors of SQLite to errors of the store.

use rusqlite::ffi;

use crate::error::StoreError;

/// I/O errors other than a failed sync: the group is rolled back and no caller got a success, so writes can continue.
const TRANSIENT_IO_ERRORS: [i32; 2] = [ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_IOERR_SHMSIZE];

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, OperationInterrupted,
            ReadOnly, SystemIoFailure,
        };
        // The message of the library can quote a value of a row; its code is enough for an operator.
        let message = error.sqlite_error().map_or_else(|| "unexpected row".to_owned(), ToString::to_string);
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            // A quota, or memory for the index of the WAL: the group failed as a whole, and the next one may succeed.
            Some(SystemIoFailure) if extended.is_some_and(|code| TRANSIENT_IO_ERRORS.contains(&code)) => {
                Self::ReadOnly(message)
            }
            Some(ReadOnly) => Self::ReadOnly(message),
            Some(DiskFull) => Self::Full(message),
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(message),
            Some(SystemIoFailure) => Self::Io(message),
            // Most likely the process has no free file descriptor.
            Some(CannotOpen | DatabaseBusy | DatabaseLocked) => Self::Unavailable(message),
            Some(OperationInterrupted) => Self::Unavailable("a read took too long and was aborted".to_owned()),
            _ => Self::Internal(message),
        }
    }
}
