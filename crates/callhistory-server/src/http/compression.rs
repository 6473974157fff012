//! Compressed responses.
//!
//! A response shows by its size what it repeats (BREACH), if an attacker can make a victim send requests with a chosen text, and
//! the response has a secret as well. No response has one: keys are never returned, and a page cannot send a request with
//! the key of somebody else, because no browser adds it by itself.

use std::{borrow::Cow, io, sync::Arc};

use async_compression::{Level, tokio::bufread::GzipEncoder};
use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::headers::weight;

/// Responses that are compressed at a time. Each has a third of a MiB of memory until its client has read it; further ones are
/// not compressed.
const MAX_ENCODERS: usize = 64;
/// Bodies below this size are not compressed, in bytes: most fit in one packet anyway.
const MIN_BYTES: u64 = 1024;
/// What is compressed before it is sent, in bytes; less if the rest of the body is not there yet.
const CHUNK_BYTES: usize = 16 * 1024;

/// What the tag of a compressed representation ends with. Two representations do not share a strong tag.
const TAG_SUFFIX: &str = "-gzip\"";

/// The tag of the same representation in gzip, if it is a strong one.
fn gzip_tag(etag: &HeaderValue) -> Option<HeaderValue> {
    let text = etag.to_str().ok()?.strip_suffix('"').filter(|text| text.starts_with('"'))?;
    HeaderValue::try_from(format!("{text}{TAG_SUFFIX}")).ok()
}

/// The tag of the same representation without compression.
pub(crate) fn plain_tag(etag: &str) -> Cow<'_, str> {
    match etag.strip_suffix(TAG_SUFFIX) {
        Some(text) => Cow::Owned(format!("{text}\"")),
        None => Cow::Borrowed(etag),
    }
}

/// Whether the caller wants gzip.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let weight = |item| weight(headers, &header::ACCEPT_ENCODING, item);
    let gzip = weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).unwrap_or(0.0);
    gzip > 0.0 && gzip >= weight("identity").unwrap_or(0.0)
}

/// Compresses responses, a limited number at a time.
pub(crate) struct Compressor(Arc<Semaphore>);

impl Compressor {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_ENCODERS)))
    }

    /// The response in gzip, if it gains by that. Without its body, it has the headers that it would have with it.
    pub(crate) fn compress(&self, response: Response, is_head: bool) -> Response {
        if !is_compressible(&response) {
            return response;
        }
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else { return response };
        let (mut parts, body) = response.into_parts();
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        parts.headers.remove(header::CONTENT_LENGTH);
        if let Some(tag) = parts.headers.get(header::ETAG).and_then(gzip_tag) {
            parts.headers.insert(header::ETAG, tag);
        }
        if is_head {
            // Not empty, which would have a length. Nobody reads it.
            return Response::from_parts(parts, Body::from_stream(stream::pending::<io::Result<Vec<u8>>>()));
        }
        let reader = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
        let encoder = GzipEncoder::with_quality(reader, Level::Fastest);
        let chunks = ReaderStream::with_capacity(encoder, CHUNK_BYTES).map(move |chunk| {
            let _held = &permit;
            chunk
        });
        Response::from_parts(parts, Body::from_stream(chunks))
    }
}

/// Whether a response is a text of some size. A stream of events is none: each event must arrive at once.
fn is_compressible(response: &Response) -> bool {
    let headers = response.headers();
    if response.status() == StatusCode::NO_CONTENT || headers.contains_key(header::CONTENT_ENCODING) {
        return false;
    }
    if response.body().size_hint().exact().is_some_and(|bytes| bytes < MIN_BYTES) {
        return false;
    }
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|media_type| media_type.to_str().ok()).unwrap_or_default();
    let name = media_type.split(';').next().unwrap_or_default().trim();
    let is_text = name.starts_with("text/") && name != "text/event-stream";
    is_text || name.ends_with("json") || name.ends_with("+xml") || name == "application/javascript"
}
