//! What every row needs: the server, the histories, and alternating measurements.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use callhistory_test_support::history::History;
use tempfile::TempDir;

use crate::{
    error::BoxError,
    histories,
    load::{self, Round, ServerProcess},
    server::Server,
};

/// What the rows are measured with.
pub(crate) struct Bench {
    pub(crate) server_program: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) scratch: TempDir,
    pub(crate) history: History,
    pub(crate) quick: bool,
    pub(crate) ten_million: bool,
}

impl Bench {
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_millis(if self.quick { 150 } else { 4000 })
    }

    /// The size of the history that most rows measure.
    pub(crate) fn records(&self) -> u32 {
        if self.quick { histories::SMALL } else { histories::LARGE }
    }

    /// The data directory of a history of this size. Nothing but keys is written to it.
    pub(crate) fn data(&self, records: u32) -> Result<PathBuf, BoxError> {
        histories::data_directory(&self.server_program, &self.data, self.history, records)
    }

    /// A copy of it that may be written to.
    pub(crate) fn copy_of(&self, records: u32) -> Result<PathBuf, BoxError> {
        let copy = self.scratch.path().join(format!("copy-{records}"));
        if copy.exists() {
            fs::remove_dir_all(&copy)?;
        }
        fs::create_dir(&copy)?;
        for file in fs::read_dir(self.data(records)?)? {
            let file = file?;
            fs::copy(file.path(), copy.join(file.file_name()))?;
        }
        Ok(copy)
    }

    /// A new, empty database.
    pub(crate) fn empty(&self) -> Result<PathBuf, BoxError> {
        let data = self.scratch.path().join("empty");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let made = Command::new(&self.server_program).arg("migrate").arg("--data-dir").arg(&data).output()?;
        if made.status.success() {
            return Ok(data);
        }
        Err(format!("migrate: {}", String::from_utf8_lossy(&made.stderr).trim()).into())
    }

    pub(crate) async fn start(&self, data: &Path) -> Result<Server, BoxError> {
        Server::start(&self.server_program, data).await
    }

    /// Measures both sides alternately; gives the medians.
    pub(crate) async fn alternate(
        &self,
        (ours, our_requests): (&ServerProcess, &load::Requests),
        (theirs, their_requests): (&ServerProcess, &load::Requests),
    ) -> Result<[Round; 2], BoxError> {
        // A cold cache is not what these rows measure.
        load::measure(ours, our_requests, self.time() / 4).await?;
        load::measure(theirs, their_requests, self.time() / 4).await?;
        let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
        for round in 0..self.rounds() {
            if round % 2 == 1 {
                our_rounds.push(load::measure(ours, our_requests, self.time()).await?);
            }
            their_rounds.push(load::measure(theirs, their_requests, self.time()).await?);
            if round % 2 == 0 {
                our_rounds.push(load::measure(ours, our_requests, self.time()).await?);
            }
        }
        Ok([Round::median(&our_rounds), Round::median(&their_rounds)])
    }
}
