//! A callhistory server for the tests of a client: the real routes over an empty database in a temporary folder.
//!
//! ```
//! use callhistory_client::CallInput;
//! use callhistory_test_server::{Fault, TestServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = TestServer::start()?;
//! let client = server.client("workspace")?;
//! client.replace_call("a1", &CallInput::default()).await?;
//!
//! let fault = server.fault(Fault::rate_limited().on("get_call").times(2).retry_after(0))?;
//! assert_eq!(client.get_call("a1").await?.id.as_str(), "a1");
//! assert_eq!(fault.get(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! The server runs in a thread of its own, so that tests without a runtime can use it, and a test that pauses its clock does not
//! pause the server. It listens on a free loopback port, and ends with its files when it is dropped.
//!
//! Exports as Parquet are missing, unless the program also enables the feature `parquet` of `callhistory-server`.

mod error;
mod server;

pub use callhistory_server::{Clock, Fault, FaultCount, InvalidFault};
pub use callhistory_store::Scope;
pub use error::TestServerError;
pub use server::{TestServer, TestServerBuilder};
