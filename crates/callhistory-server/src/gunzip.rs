//! Decompresses bodies of requests, up to a ratio.

use std::io::Write as _;

use callhistory_model::ProblemCode;
use flate2::write::MultiGzDecoder;

use crate::error::ApiError;

/// Compressed bytes that are decompressed at a time, to at most a thousand times as many.
pub(crate) const GZIP_STEP: usize = 1024;
/// The largest compression ratio of a body.
pub(crate) const GZIP_RATIO: u64 = 100;
/// The ratio does not apply to the first decompressed bytes, which are few: each of their records is processed before the body is
/// refused.
const GZIP_FREE_BYTES: u64 = 1024 * 1024;

/// Why a body cannot be decompressed.
#[derive(Debug)]
pub(crate) enum GunzipError {
    /// It is not gzip, or ends early.
    Malformed(std::io::Error),
    /// Its compression ratio is too high.
    Bomb,
}

impl From<GunzipError> for ApiError {
    fn from(error: GunzipError) -> Self {
        match error {
            GunzipError::Malformed(_) => {
                Self::new(ProblemCode::InvalidRequest, "The body is not gzip, as Content-Encoding says, or ends early.")
            }
            GunzipError::Bomb => Self::new(
                ProblemCode::BodyTooLarge,
                format!("The body decompresses to more than {GZIP_RATIO} times its size; send it uncompressed."),
            ),
        }
    }
}

/// A stream of gzip members.
pub(crate) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    compressed_bytes: u64,
    decompressed_bytes: u64,
}

impl Gunzip {
    pub(crate) fn new() -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), compressed_bytes: 0, decompressed_bytes: 0 }
    }

    /// Decompresses the next bytes, of which there are few.
    pub(crate) fn push(&mut self, compressed: &[u8]) -> Result<Vec<u8>, GunzipError> {
        self.decoder.write_all(compressed).map_err(GunzipError::Malformed)?;
        self.decoder.flush().map_err(GunzipError::Malformed)?;
        let plain = std::mem::take(self.decoder.get_mut());
        self.compressed_bytes += compressed.len() as u64;
        self.decompressed_bytes += plain.len() as u64;
        if self.decompressed_bytes > GZIP_FREE_BYTES + GZIP_RATIO * self.compressed_bytes {
            return Err(GunzipError::Bomb);
        }
        Ok(plain)
    }

    /// Ends the stream.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, GunzipError> {
        self.decoder.try_finish().map_err(GunzipError::Malformed)?;
        Ok(std::mem::take(self.decoder.get_mut()))
    }
}
