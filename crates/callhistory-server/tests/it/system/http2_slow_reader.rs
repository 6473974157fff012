//! An HTTP/2 client that reads slowly.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::input;
use crate::binary::Running;

/// The export takes longer than any timeout, and much of it waits in the buffers between server and client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about a minute"]
async fn a_slow_http2_reader_receives_the_whole_export() {
    let directory = TempDir::new().unwrap();
    let server = Running::start(directory.path(), &[]);
    let large = input("x".repeat(60_000));
    for number in 0..400 {
        server.client("w").replace_call(&format!("c{number}"), &large).await.unwrap();
    }
    let address = server.base.trim_start_matches("http://");
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (mut far_read, mut far_write) = tokio::io::split(far);
    let sending = tokio::spawn(async move { tokio::io::copy(&mut far_read, &mut to).await });
    let receiving = tokio::spawn(async move {
        let mut buffer = vec![0; 50_000];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            far_write.write_all(&buffer[..count]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        far_write.shutdown().await.unwrap();
    });
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (client, connection) = builder.handshake::<_, bytes::Bytes>(near).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let url = format!("{}/v2/api/call-history/export", server.base);
    let request = http::Request::get(url).header("x-workspace-id", "w").body(()).unwrap();
    let started = Instant::now();
    let mut body = client.send_request(request, true).unwrap().0.await.unwrap().into_body();
    let mut lines = 0;
    while let Some(bytes) = body.data().await {
        lines += bytes.expect("the server aborts the response").iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines, 400);
    println!("24 MB took {:?}", started.elapsed());
    for task in [connection.abort_handle(), sending.abort_handle(), receiving.abort_handle()] {
        task.abort();
    }
}
