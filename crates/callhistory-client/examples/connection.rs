//! Connects through a proxy, with a root certificate of its own, and serves several workspaces on one connection pool.

use std::time::Duration;

use callhistory_client::{ClientBuilder, ListQuery};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = ClientBuilder::from_env().timeout(Duration::from_secs(10)).header("x-team", "billing");
    if let Some(proxy) = std::env::args().nth(1) {
        builder = builder.proxy(proxy);
    }
    if let Ok(pem) = std::fs::read("root.pem") {
        builder = builder.root_certificates(pem);
    }
    let client = builder.build()?;
    for workspace in ["w1", "w2"] {
        let page = client.for_workspace(workspace)?.list_calls(&ListQuery::default()).await?;
        println!("{workspace}: {} calls", page.calls.len());
    }
    Ok(())
}
