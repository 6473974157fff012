//! The files of a spool: segments of checksummed lines, the marks of what is done, and what the service has refused.
//!
//! A segment is never rewritten. It is deleted once each of its writes is done and a newer segment exists, so its numbers are
//! not given twice.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use callhistory_model::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    entry::{Entry, RejectedWrite, json_of, line},
    error::SpoolError,
};

const FORMAT: u32 = 1;
const MIN_SEGMENT_BYTES: u64 = 64 * 1024;
const MAX_SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

/// Where a write is: its segment, and its line there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    start: u64,
    length: usize,
}

/// A write that is in the file.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) sequence: u64,
    pub(super) place: Place,
    pub(super) id: String,
    /// An earlier process may have sent it.
    pub(super) is_repeat: bool,
}

/// What the spool is for. Its writes are never sent to another workspace.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Label {
    format: u32,
    workspace: String,
}

struct Segment {
    bytes: u64,
    waiting: usize,
    done: File,
    /// Whether marks were written that are not on the disk yet.
    is_dirty: bool,
}

pub(super) struct Journal {
    directory: PathBuf,
    /// Locked as long as the journal is open.
    _lock: File,
    max_bytes: u64,
    segments: BTreeMap<u64, Segment>,
    active: Option<(u64, File)>,
    /// The segment and the time of each write that waits.
    waiting: BTreeMap<u64, (u64, Timestamp)>,
    next_sequence: u64,
    damaged: u64,
}

fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.spool"))
}

fn done_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:020}.done"))
}

pub(super) fn rejected_path(directory: &Path) -> PathBuf {
    directory.join("rejected.ndjson")
}

/// Makes the names of new files durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = directory;
    Ok(())
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Journal {
    /// Opens the files of a spool, and returns what waits, in the order of the writes.
    pub(super) fn open(directory: &Path, workspace: &str, max_bytes: u64) -> Result<(Self, Vec<Queued>), SpoolError> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(directory)?;
        let lock = append_to(&directory.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::locked(directory)),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        check_label(directory, workspace)?;
        let mut journal = Self {
            directory: directory.to_owned(),
            _lock: lock,
            max_bytes,
            segments: BTreeMap::new(),
            active: None,
            waiting: BTreeMap::new(),
            next_sequence: 1,
            damaged: 0,
        };
        let queued = journal.recover()?;
        Ok((journal, queued))
    }

    fn recover(&mut self) -> Result<Vec<Queued>, SpoolError> {
        let mut numbers = Vec::new();
        for file in fs::read_dir(&self.directory)? {
            let name = file?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".spool")?.parse::<u64>().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        let last = numbers.last().copied();
        let rejected: HashSet<u64> = read_rejected(&self.directory)?.iter().map(|write| write.sequence).collect();
        let mut queued = Vec::new();
        for number in numbers {
            self.next_sequence = self.next_sequence.max(number);
            self.recover_segment(number, last == Some(number), &rejected, &mut queued)?;
        }
        self.delete_finished()?;
        Ok(queued)
    }

    /// Reads a segment. The last one may end in a line that was never finished.
    fn recover_segment(
        &mut self,
        number: u64,
        is_last: bool,
        rejected: &HashSet<u64>,
        queued: &mut Vec<Queued>,
    ) -> Result<(), SpoolError> {
        let done_path = done_path(&self.directory, number);
        let done = fs::read(&done_path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        })?;
        // A mark that is damaged or torn is no mark: the write is sent again.
        let done: HashSet<u64> =
            done.split(|byte| *byte == b'\n').filter_map(|mark| json_of(mark)?.parse().ok()).collect();
        let path = segment_path(&self.directory, number);
        let (bytes, damaged_before) = (fs::read(&path)?, self.damaged);
        let (mut start, mut valid_end, mut waiting, mut damaged) = (0_u64, 0_u64, 0, 0);
        for text in bytes.split_inclusive(|byte| *byte == b'\n') {
            let place = Place { segment: number, start, length: text.len() };
            start += text.len() as u64;
            let entry = text.strip_suffix(b"\n").and_then(|text| serde_json::from_str::<Entry>(json_of(text)?).ok());
            let Some(entry) = entry else {
                damaged += 1;
                continue;
            };
            // Damage before a valid line is not a torn end.
            self.damaged += std::mem::take(&mut damaged);
            valid_end = start;
            self.next_sequence = self.next_sequence.max(entry.sequence + 1);
            if !done.contains(&entry.sequence) && !rejected.contains(&entry.sequence) {
                waiting += 1;
                self.waiting.insert(entry.sequence, (number, entry.at));
                queued.push(Queued { sequence: entry.sequence, place, id: entry.id, is_repeat: true });
            }
        }
        if !is_last {
            self.damaged += damaged;
        } else if valid_end < start {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(valid_end)?;
            file.sync_all()?;
            start = valid_end;
        }
        if self.damaged > damaged_before {
            fs::copy(&path, path.with_extension("damaged"))?;
        }
        let mut done = append_to(&done_path)?;
        // After a torn mark.
        done.write_all(b"\n")?;
        self.segments.insert(number, Segment { bytes: start, waiting, done, is_dirty: false });
        Ok(())
    }

    /// Appends writes, and returns the place of each, once all of them are on the disk.
    pub(super) fn append(&mut self, entries: Vec<Entry>) -> Vec<Result<Queued, SpoolError>> {
        let mut results = Vec::with_capacity(entries.len());
        let mut batch = Vec::new();
        for mut entry in entries {
            entry.sequence = self.next_sequence;
            match self.reserve(&entry, batch.len()) {
                Ok((place, text)) => {
                    self.next_sequence += 1;
                    batch.extend(text);
                    let queued = Queued { sequence: entry.sequence, place, id: entry.id, is_repeat: false };
                    results.push(Ok((queued, entry.at)));
                }
                Err(error) => results.push(Err(error)),
            }
        }
        let written = self.write(&batch);
        results
            .into_iter()
            .map(|result| {
                let (queued, at) = result?;
                if let Err(error) = &written {
                    return Err(io::Error::new(error.kind(), error.to_string()).into());
                }
                self.waiting.insert(queued.sequence, (queued.place.segment, at));
                if let Some(segment) = self.segments.get_mut(&queued.place.segment) {
                    segment.waiting += 1;
                }
                Ok(queued)
            })
            .collect()
    }

    /// The line of a write, and its place after the bytes that are written before it.
    fn reserve(&mut self, entry: &Entry, before: usize) -> Result<(Place, Vec<u8>), SpoolError> {
        let json = serde_json::to_string(entry).map_err(io::Error::from)?;
        let text = line(&json);
        let needed = (before + text.len()) as u64;
        // A batch is in one segment.
        if before == 0 {
            self.rotate(needed)?;
        }
        if self.bytes() + needed > self.max_bytes {
            return Err(SpoolError::full(self.bytes(), self.max_bytes));
        }
        let Some((number, _)) = &self.active else { return Err(SpoolError::closed()) };
        let bytes = self.segments.get(number).map_or(0, |segment| segment.bytes);
        Ok((Place { segment: *number, start: bytes + before as u64, length: text.len() }, text))
    }

    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let Some((number, file)) = self.active.as_mut().filter(|_| !batch.is_empty()) else { return Ok(()) };
        let Some(segment) = self.segments.get_mut(number) else { return Ok(()) };
        let written = file.write_all(batch).and_then(|()| file.sync_data());
        match written {
            Ok(()) => segment.bytes += batch.len() as u64,
            // A part may be there: it must not be taken for a write after a restart.
            Err(_) => file.set_len(segment.bytes)?,
        }
        written
    }

    /// Starts a segment where there is none, where the last one is long enough, or to free the space of one that is done.
    fn rotate(&mut self, needed: u64) -> Result<(), SpoolError> {
        let segment_bytes = (self.max_bytes / 16).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let is_full = self.bytes() + needed > self.max_bytes;
        if let Some((number, _)) = &self.active
            && let Some(segment) = self.segments.get(number)
            && segment.bytes < segment_bytes
            && !(is_full && segment.waiting == 0 && segment.bytes > 0)
        {
            return Ok(());
        }
        let number = self.next_sequence;
        let file = append_to(&segment_path(&self.directory, number))?;
        let done = append_to(&done_path(&self.directory, number))?;
        sync_directory(&self.directory)?;
        self.segments.insert(number, Segment { bytes: 0, waiting: 0, done, is_dirty: false });
        self.active = Some((number, file));
        Ok(self.delete_finished()?)
    }

    fn delete_finished(&mut self) -> io::Result<()> {
        let Some(last) = self.segments.last_key_value().map(|(number, _)| *number) else { return Ok(()) };
        let finished = self.segments.iter().filter(|(number, segment)| segment.waiting == 0 && **number != last);
        for number in finished.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.segments.remove(&number);
            fs::remove_file(segment_path(&self.directory, number))?;
            // The marks go last: without them the writes of the segment would be sent again, after newer ones.
            sync_directory(&self.directory)?;
            fs::remove_file(done_path(&self.directory, number))?;
        }
        Ok(())
    }

    /// Marks a write as done. The mark is durable after [`sync`](Self::sync).
    pub(super) fn finish(&mut self, sequence: u64) -> io::Result<()> {
        let Some((number, _)) = self.waiting.get(&sequence) else { return Ok(()) };
        let Some(segment) = self.segments.get_mut(number) else { return Ok(()) };
        segment.done.write_all(&line(&sequence.to_string()))?;
        segment.is_dirty = true;
        segment.waiting -= 1;
        self.waiting.remove(&sequence);
        Ok(())
    }

    /// Keeps a write that the service has refused, and marks it as done.
    pub(super) fn reject(&mut self, write: &RejectedWrite) -> io::Result<()> {
        let mut text = serde_json::to_string(write)?.replace(['\n', '\r'], " ");
        text.push('\n');
        let mut file = append_to(&rejected_path(&self.directory))?;
        let length = file.metadata()?.len();
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()) {
            file.set_len(length)?;
            return Err(error);
        }
        if length == 0 {
            sync_directory(&self.directory)?;
        }
        self.finish(write.sequence)
    }

    /// Makes all marks durable, those of older writes first: of two writes of one record, the older one is never sent again alone.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        for segment in self.segments.values_mut().filter(|segment| segment.is_dirty) {
            segment.done.sync_data()?;
            segment.is_dirty = false;
        }
        // Files that stay have only marked writes, and are deleted by the next one that opens the spool.
        let _ = self.delete_finished();
        Ok(())
    }

    /// The size of all segments, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }

    pub(super) fn queued(&self) -> u64 {
        self.waiting.len() as u64
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|(_, (_, at))| at.clone())
    }

    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }
}

/// Reads a write at its place.
pub(super) fn read(directory: &Path, place: Place) -> io::Result<Entry> {
    let mut file = File::open(segment_path(directory, place.segment))?;
    file.seek(SeekFrom::Start(place.start))?;
    let mut text = vec![0; place.length];
    file.read_exact(&mut text)?;
    let json = text.strip_suffix(b"\n").and_then(json_of);
    let json = json.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a line of the spool is damaged"))?;
    Ok(serde_json::from_str(json)?)
}

/// Reads what the service has refused. A last line that was never finished is left out.
pub(super) fn read_rejected(directory: &Path) -> io::Result<Vec<RejectedWrite>> {
    match fs::read_to_string(rejected_path(directory)) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn check_label(directory: &Path, workspace: &str) -> Result<(), SpoolError> {
    let path = directory.join("spool.json");
    let label = Label { format: FORMAT, workspace: workspace.to_owned() };
    match fs::read(&path) {
        Ok(json) if serde_json::from_slice::<Label>(&json).is_ok_and(|known| known == label) => Ok(()),
        Ok(_) => Err(SpoolError::foreign(directory)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Complete under its name, or not there.
            let draft = directory.join("spool.json.new");
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec(&label).map_err(io::Error::from)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            Ok(sync_directory(directory)?)
        }
        Err(error) => Err(error.into()),
    }
}
