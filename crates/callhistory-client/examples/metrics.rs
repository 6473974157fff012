//! Prints the metrics of each day in Berlin.

use callhistory_client::{CallFilter, ClientBuilder, GroupKey, MetricsQuery};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = ClientBuilder::from_env().build()?;
    let filter = CallFilter { time_zone: Some("Europe/Berlin".parse()?), ..CallFilter::default() };
    let query = MetricsQuery { filter, group_by: vec![GroupKey::Day], fill: true };
    for day in client.get_call_metrics(&query).await?.groups.unwrap_or_default() {
        println!("{:?}: {} calls, {} s on average", day.group, day.total_calls, day.average_duration);
    }
    Ok(())
}
