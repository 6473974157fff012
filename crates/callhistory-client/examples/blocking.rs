//! Lists calls without an asynchronous runtime.

use callhistory_client::{ClientBuilder, ListQuery};

fn main() -> Result<(), callhistory_client::Error> {
    let client = ClientBuilder::from_env().build_blocking()?;
    for call in client.stream_calls(ListQuery::default()) {
        println!("{}", call?.id);
    }
    Ok(())
}
