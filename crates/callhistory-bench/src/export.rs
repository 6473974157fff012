//! The export of a history compared with a loop that reads every body from the table.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    bench::Bench,
    error::BoxError,
    load::{Digest, median, to_f64},
    peers::sqlite_baseline::read_bodies,
    server::Server,
    table::{Goal, Line, Outcome},
};

pub(crate) async fn export(bench: &Bench) -> Outcome {
    let data = bench.data(bench.records())?;
    let server = bench.start(&data).await?;
    let mut digest = Digest::default();
    let mut rest = Vec::new();
    let (_, _) = receive(&server, |bytes| {
        rest.extend_from_slice(bytes);
        let complete = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        rest[..complete].split_inclusive(|byte| *byte == b'\n').for_each(|line| digest.add(&line[..line.len() - 1]));
        rest.drain(..complete);
    })
    .await?;
    let (_, bare) = read_bodies(&data, true)?;
    if digest != bare || digest.count == 0 {
        return Err(format!("the export has {} lines, the table has {}", digest.count, bare.count).into());
    }
    let (idle, _) = server.process.memory_mib()?;
    server.process.reset_peak();
    let (mut ours, mut firsts, mut theirs, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..bench.rounds() {
        theirs.push(read_bodies(&data, false)?.0);
        bytes = 0;
        let (seconds, first) = receive(&server, |part| bytes += part.len()).await?;
        ours.push(seconds);
        firsts.push(first);
    }
    let [ours, first, bare] = [ours, firsts, theirs].map(median);
    let (_, peak) = server.process.memory_mib()?;
    let rate = |seconds: f64| format!("{:.2} s, {:.0} MB/s", seconds, to_f64(bytes) / 1e6 / seconds);
    Ok(vec![
        Line::new(format!("export of {} records", digest.count), Goal::None, bare / ours, "×")
            .between(rate(ours), rate(bare))
            .with_peak(peak),
        Line::new("its first byte", Goal::AtMost(20.0), first, "ms"),
        Line::new("memory above the idle server", Goal::AtMost(64.0), peak - idle, "MiB"),
    ])
}

/// Receives an export and hands its bytes to `part`; gives the seconds of all of it, and the milliseconds of its first byte.
/// Over HTTP/1.0, so that the body is not chunked.
async fn receive(server: &Server, mut part: impl FnMut(&[u8])) -> Result<(f64, f64), BoxError> {
    let started = Instant::now();
    let mut stream = tokio::net::TcpStream::connect(server.process.address).await?;
    let request = String::from_utf8(server.get("/export", ""))?.replace("HTTP/1.1", "HTTP/1.0");
    stream.write_all(request.as_bytes()).await?;
    let mut buffer = vec![0; 1 << 18];
    let mut head = Vec::new();
    let mut first = None;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        if first.is_some() {
            part(&buffer[..count]);
            continue;
        }
        head.extend_from_slice(&buffer[..count]);
        let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        if head.get(9..12) != Some(b"200") {
            return Err(String::from_utf8_lossy(&head).into_owned().into());
        }
        first = Some(started.elapsed().as_secs_f64() * 1e3);
        part(&head[end + 4..]);
    }
    Ok((started.elapsed().as_secs_f64(), first.ok_or("the export has no head")?))
}
