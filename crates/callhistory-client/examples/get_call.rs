//! Retrieves a call record, and reads it again only if it has changed.

use callhistory_client::ClientBuilder;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), callhistory_client::Error> {
    let client = ClientBuilder::from_env().build()?;
    let id = std::env::args().nth(1).unwrap_or_else(|| "1234567890abcdef".to_owned());
    let call = match client.get_call(&id).await {
        Ok(call) => call,
        Err(error) if error.is_not_found() => {
            println!("there is no call {id}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    println!("{}: {:?}", call.id, call.status);
    match client.get_call_if_changed(&id, call.version()?).await? {
        Some(newer) => println!("now {:?}", newer.status),
        None => println!("it has not changed"),
    }
    Ok(())
}
