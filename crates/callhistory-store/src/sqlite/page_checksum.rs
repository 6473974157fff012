//! Page checksums: a layer above SQLite's own file layer (VFS) that ends each page of the database file with a checksum of its
//! content and its number. Each page that is read from the file is verified, so neither a damaged page nor one in a wrong place
//! becomes an answer. It also erases what SQLite leaves behind in the unused part of a page. Pages in the WAL have the checksums of SQLite, which are verified when the WAL is recovered.

#![expect(unsafe_code, reason = "SQLite calls its file layer through C functions")]

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr, slice,
    sync::OnceLock,
};

use rusqlite::{Connection, OpenFlags, ffi};
use twox_hash::XxHash3_64;

use crate::domain::record_digest::is_verifying;

/// The name of the layer, by which a connection selects it.
const NAME: &CStr = c"callhistory";
/// The page size of every database, and the part of a page that has its checksum.
const PAGE_BYTES: usize = 4096;
const CHECKSUM_BYTES: usize = 8;
/// Where the header of a database has the number of bytes that each page reserves.
const HEADER_BYTES: usize = 100;
const HEADER_MAGIC: &[u8] = b"SQLite format 3\0";
const RESERVED_AT: usize = 20;

/// The page with the byte that SQLite locks, which it never writes.
const LOCK_BYTE: i64 = 0x4000_0000;
/// The first byte of a b-tree page.
const INNER_INDEX: u8 = 2;
const INNER_TABLE: u8 = 5;
const LEAF_INDEX: u8 = 10;
const LEAF_TABLE: u8 = 13;
/// The size of a file up to which no number of a page begins with such a byte: 128 GiB, less what a checkpoint adds.
const MAX_ERASED_BYTES: i64 = 120 << 30;

/// An open database file. SQLite's own file follows in the same allocation.
#[repr(C)]
struct PageFile {
    /// First, as in `sqlite3_file`.
    methods: *const ffi::sqlite3_io_methods,
    /// Whether the pages have checksums: not those of another program.
    has_checksums: bool,
}

/// Opens a connection whose pages are verified.
pub(crate) fn open(path: &std::path::Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    register()?;
    let db = Connection::open_with_flags_and_vfs(path, flags, NAME)?;
    let mut reserved = CHECKSUM_BYTES as c_int;
    // Of a new database. An existing one keeps what its header says.
    // SAFETY: the operation reads and writes one `int`.
    let code = unsafe { control(&db, ffi::SQLITE_FCNTL_RESERVE_BYTES, &mut reserved) };
    if code == ffi::SQLITE_OK { Ok(db) } else { Err(error(code)) }
}

/// Whether the pages of a connection have checksums; not of a file that another program made.
pub(crate) fn are_verified(db: &Connection) -> bool {
    // SAFETY: the file belongs to the open connection.
    file(db).is_some_and(|file| unsafe { (*file.cast::<PageFile>()).has_checksums })
}

/// Whether one page in the file matches its checksum; `None` after the last one. The first page is 1. A checkpoint can write the
/// page meanwhile, so only a page that fails repeatedly is damaged.
pub(crate) fn verify_page(db: &Connection, number: u32) -> Option<bool> {
    let file = file(db)?;
    let mut page = [0_u8; PAGE_BYTES];
    let (offset, mut size) = (i64::from(number.checked_sub(1)?) * PAGE_BYTES as i64, 0);
    let is_lock_page = offset == LOCK_BYTE;
    // SAFETY: the file belongs to the open connection, which this thread borrows, and the buffer has the size of the read.
    let code = unsafe {
        if file_size(file, &mut size) != ffi::SQLITE_OK || offset >= size {
            return None;
        }
        inner_read(file, page.as_mut_ptr().cast(), PAGE_BYTES as c_int, offset)
    };
    Some(is_lock_page || code == ffi::SQLITE_OK && is_sound(&page, i64::from(number)))
}

fn error(code: c_int) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// Runs an operation on the file of a connection.
///
/// # Safety
///
/// The argument must have the type that the operation reads and writes.
unsafe fn control<T>(db: &Connection, operation: c_int, argument: &mut T) -> c_int {
    // SAFETY: the handle is that of an open connection; the caller vouches for the argument.
    unsafe { ffi::sqlite3_file_control(db.handle(), c"main".as_ptr(), operation, ptr::from_mut(argument).cast()) }
}

/// The file of a connection that this layer has opened.
fn file(db: &Connection) -> Option<*mut ffi::sqlite3_file> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the operation writes one pointer.
    let code = unsafe { control(db, ffi::SQLITE_FCNTL_FILE_POINTER, &mut file) };
    // SAFETY: a file that SQLite has opened begins with its methods.
    let is_ours = code == ffi::SQLITE_OK && !file.is_null() && unsafe { ptr::eq((*file).pMethods, &raw const METHODS) };
    is_ours.then_some(file)
}

fn checksum(content: &[u8], number: i64) -> [u8; CHECKSUM_BYTES] {
    // Odd, so that different pages always differ.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    (XxHash3_64::oneshot(content) ^ number.unsigned_abs().wrapping_mul(SPREAD)).to_le_bytes()
}

fn is_sound(page: &[u8], number: i64) -> bool {
    let (content, stored) = page.split_at(PAGE_BYTES - CHECKSUM_BYTES);
    checksum(content, number) == *stored || !is_verifying()
}

/// Erases the gap between the list of cells of a b-tree page and their content. When SQLite moves cells to another page, their bytes
/// stay there, even with `secure_delete`, and would outlive the record.
fn erase_unused(page: &mut [u8; PAGE_BYTES], number: i64) {
    let head = if number == 1 { HEADER_BYTES } else { 0 };
    let head_bytes = match page[head] {
        LEAF_INDEX | LEAF_TABLE => 8,
        INNER_INDEX | INNER_TABLE => 12,
        // A page of a long value or of the list of free pages begins with the number of another page instead.
        _ => return,
    };
    let two_bytes = |at: usize| usize::from(u16::from_be_bytes([page[at], page[at + 1]]));
    let (cells, content) = (two_bytes(head + 3), two_bytes(head + 5));
    let cells_end = head + head_bytes + 2 * cells;
    if cells_end <= content && content <= PAGE_BYTES - CHECKSUM_BYTES {
        page[cells_end..content].fill(0);
    }
}

/// The number of the page, if this is a read or a write of a whole one.
fn page_number(amount: c_int, offset: i64) -> Option<i64> {
    let is_page = amount == PAGE_BYTES as c_int && offset % PAGE_BYTES as i64 == 0;
    is_page.then(|| offset / PAGE_BYTES as i64 + 1)
}

/// SQLite's own layer.
struct DefaultVfs(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite registers its layers for the whole process, and calls them from every thread.
unsafe impl Send for DefaultVfs {}
// SAFETY: as above.
unsafe impl Sync for DefaultVfs {}

static DEFAULT: OnceLock<DefaultVfs> = OnceLock::new();

/// Registers the layer, once in a process.
fn register() -> rusqlite::Result<()> {
    static REGISTERED: OnceLock<c_int> = OnceLock::new();
    let code = *REGISTERED.get_or_init(|| {
        // SAFETY: `sqlite3_vfs_find` initializes SQLite, and returns a layer that is never removed or null. The copy has the
        // functions of that layer, which get the data that they expect, and lives as long as the process.
        unsafe {
            let default = DEFAULT.get_or_init(|| DefaultVfs(ffi::sqlite3_vfs_find(ptr::null()))).0;
            if default.is_null() {
                return ffi::SQLITE_ERROR;
            }
            let mut layer = Box::new(*default);
            layer.szOsFile += size_of::<PageFile>() as c_int;
            layer.zName = NAME.as_ptr();
            layer.pNext = ptr::null_mut();
            layer.xOpen = Some(open_file);
            ffi::sqlite3_vfs_register(Box::into_raw(layer), 0)
        }
    });
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(error(code)) }
}

/// Opens a file: the database with this layer, and all others without it.
unsafe extern "C" fn open_file(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let Some(default) = DEFAULT.get() else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite passes memory of `szOsFile` bytes, which has room for both files.
    unsafe {
        let Some(open) = (*default.0).xOpen else { return ffi::SQLITE_CANTOPEN };
        if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
            return open(default.0, name, file, flags, out_flags);
        }
        let own = file.cast::<PageFile>();
        (*own).methods = ptr::null();
        (*inner(file)).pMethods = ptr::null();
        let code = open(default.0, name, inner(file), flags, out_flags);
        if !(*inner(file)).pMethods.is_null() {
            (*own).methods = &raw const METHODS;
            (*own).has_checksums = code == ffi::SQLITE_OK && has_checksums(file);
        }
        code
    }
}

/// Whether the header of a file says that its pages have checksums. A new file will have them.
unsafe fn has_checksums(file: *mut ffi::sqlite3_file) -> bool {
    let mut header = [0_u8; HEADER_BYTES];
    // SAFETY: the buffer has the size of the read, and the file is open.
    match unsafe { inner_read(file, header.as_mut_ptr().cast(), HEADER_BYTES as c_int, 0) } {
        ffi::SQLITE_OK => !header.starts_with(HEADER_MAGIC) || usize::from(header[RESERVED_AT]) == CHECKSUM_BYTES,
        _ => true,
    }
}

/// SQLite's own file behind ours.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: both are in one allocation, and the size of ours keeps the alignment of a pointer.
    unsafe { file.cast::<u8>().add(size_of::<PageFile>()).cast() }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite passes a file of this layer, and a buffer of this size.
    unsafe {
        let code = inner_read(file, buffer, amount, offset);
        let Some(number) = page_number(amount, offset).filter(|_| (*file.cast::<PageFile>()).has_checksums) else {
            return code;
        };
        if code != ffi::SQLITE_OK && code != ffi::SQLITE_IOERR_SHORT_READ {
            return code;
        }
        // A page beyond the end of the file is damage as well: the file was cut off.
        let page = slice::from_raw_parts(buffer.cast::<u8>(), PAGE_BYTES);
        if code == ffi::SQLITE_OK && is_sound(page, number) {
            return ffi::SQLITE_OK;
        }
        metrics::counter!("callhistory_damage_total", "where" => "page").increment(1);
        tracing::error!(page = number, "a page of the database does not match its checksum");
        // An I/O error would roll back the writes of others in the same group.
        ffi::SQLITE_CORRUPT
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, buffer: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite passes a file of this layer.
    let has_checksums = unsafe { (*file.cast::<PageFile>()).has_checksums };
    let Some(number) = page_number(amount, offset).filter(|_| has_checksums) else {
        // SAFETY: the arguments are those of SQLite.
        return unsafe { inner_write(file, buffer, amount, offset) };
    };
    let mut page = [0_u8; PAGE_BYTES];
    // SAFETY: SQLite passes a buffer of a page.
    page.copy_from_slice(unsafe { slice::from_raw_parts(buffer.cast::<u8>(), PAGE_BYTES) });
    let mut size = i64::MAX;
    // SAFETY: the file is that of SQLite, and the function writes one integer.
    if unsafe { file_size(file, &mut size) } == ffi::SQLITE_OK && size < MAX_ERASED_BYTES {
        erase_unused(&mut page, number);
    }
    let (content, stored) = page.split_at_mut(PAGE_BYTES - CHECKSUM_BYTES);
    stored.copy_from_slice(&checksum(content, number));
    // SAFETY: the buffer is a page, and the file is that of SQLite.
    unsafe { inner_write(file, page.as_ptr().cast(), amount, offset) }
}

/// Without reads of a part of a page, which could not be verified.
unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the argument is that of SQLite.
    unsafe { inner_device_characteristics(file) & !ffi::SQLITE_IOCAP_SUBPAGE_READ }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the argument is that of SQLite.
    unsafe {
        let file = inner(file);
        if let Some(method) = (*(*file).pMethods).xShmBarrier {
            method(file);
        }
    }
}

/// Functions that pass their arguments on to SQLite's own file.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*) = $method:ident;)+) => {
        $(unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $type)*) -> c_int {
            // SAFETY: SQLite passes a file of this layer, whose inner file is open.
            unsafe {
                let file = inner(file);
                (*(*file).pMethods).$method.map_or(ffi::SQLITE_IOERR, |method| method(file $(, $argument)*))
            }
        })+
    };
}

pass_on! {
    close() = xClose;
    inner_read(buffer: *mut c_void, amount: c_int, offset: i64) = xRead;
    inner_write(buffer: *const c_void, amount: c_int, offset: i64) = xWrite;
    truncate(size: i64) = xTruncate;
    sync(flags: c_int) = xSync;
    file_size(size: *mut i64) = xFileSize;
    lock(level: c_int) = xLock;
    unlock(level: c_int) = xUnlock;
    check_reserved_lock(result: *mut c_int) = xCheckReservedLock;
    file_control(operation: c_int, argument: *mut c_void) = xFileControl;
    sector_size() = xSectorSize;
    inner_device_characteristics() = xDeviceCharacteristics;
    shm_map(page: c_int, size: c_int, extend: c_int, result: *mut *mut c_void) = xShmMap;
    shm_lock(offset: c_int, count: c_int, flags: c_int) = xShmLock;
    shm_unmap(delete: c_int) = xShmUnmap;
}

/// Version 2: without memory mapping.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
