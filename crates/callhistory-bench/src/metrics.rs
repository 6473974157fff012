//! Metrics: aggregates over all calls, grouped and filtered.

use callhistory_test_support::history::History;

use crate::{
    bench::Bench,
    histories,
    load::{self, median},
    table::{Goal, Line, Outcome},
};

const QUERIES: [(&str, &str); 11] = [
    ("ungrouped", ""),
    ("by agent", "?groupBy=agentId"),
    ("by outcome", "?groupBy=outcome"),
    ("by batch", "?groupBy=batchId"),
    ("by a member of metadata", "?groupBy=metadata.campaign"),
    ("by day", "?groupBy=day&timezone=Europe/Berlin"),
    ("by day and agent, UTC", "?groupBy=day,agentId"),
    ("by day and agent, Kolkata", "?groupBy=day,agentId&timezone=Asia/Kolkata"),
    ("by month and status, Tokyo", "?groupBy=month,status&timezone=Asia/Tokyo"),
    ("under a word", "?search=parcel"),
    ("under a member of metadata", "?metadata.campaign=spring"),
];

pub(crate) async fn metrics(bench: &Bench) -> Outcome {
    let mut sizes = vec![bench.records()];
    if bench.ten_million {
        sizes.push(histories::HUGE);
    }
    let mut lines = Vec::new();
    for records in sizes {
        let server = bench.start(&bench.data(records)?).await?;
        for (name, query) in QUERIES {
            // By day and agent, history B has more groups than one answer may have.
            let query = match (bench.history, query.contains("day,agentId")) {
                (History::Real, true) => format!("{query}&startedBefore=2024-06-20"),
                _ => query.to_owned(),
            };
            let request = server.get(&format!("/metrics{query}"), "");
            let millis = load::latencies(&server.process, &[request], if bench.quick { 1 } else { 7 }).await?;
            let line = Line::new(format!("{records} calls, {name}"), Goal::None, median(millis), "ms");
            lines.push(line.with_peak(server.process.memory_mib()?.1));
        }
    }
    Ok(lines)
}
