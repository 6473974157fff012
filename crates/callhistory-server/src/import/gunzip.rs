//! Decompresses the body of an import, up to a ratio.

use std::io::Write as _;

use flate2::write::MultiGzDecoder;

use super::failure::{GZIP_RATIO, ImportFailure};

/// Compressed bytes that are decompressed at a time, to at most a thousand times as many.
pub(super) const GZIP_STEP: usize = 1024;
/// The ratio does not apply to the first decompressed bytes, which are few: each of their records is processed before the body is
/// refused.
const GZIP_FREE_BYTES: u64 = 1024 * 1024;

/// A stream of gzip members.
pub(super) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    compressed_bytes: u64,
    decompressed_bytes: u64,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), compressed_bytes: 0, decompressed_bytes: 0 }
    }

    /// Decompresses the next bytes, of which there are few.
    pub(super) fn push(&mut self, compressed: &[u8]) -> Result<Vec<u8>, ImportFailure> {
        self.decoder.write_all(compressed).map_err(ImportFailure::Gzip)?;
        self.decoder.flush().map_err(ImportFailure::Gzip)?;
        let plain = std::mem::take(self.decoder.get_mut());
        self.compressed_bytes += compressed.len() as u64;
        self.decompressed_bytes += plain.len() as u64;
        if self.decompressed_bytes > GZIP_FREE_BYTES + GZIP_RATIO * self.compressed_bytes {
            return Err(ImportFailure::Bomb);
        }
        Ok(plain)
    }

    /// Ends the stream.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, ImportFailure> {
        self.decoder.try_finish().map_err(ImportFailure::Gzip)?;
        Ok(std::mem::take(self.decoder.get_mut()))
    }
}
