//! Pages of a list: what each filter and sort costs, how that grows with the history, and search.

use std::time::{Duration, Instant};

use callhistory_test_support::history::History;

use crate::{
    bench::Bench,
    error::BoxError,
    get, histories,
    load::{self, Connection, Requests, median, percentile, to_f64},
    peers::static_baseline,
    server::Server,
    table::{Goal, Line, Outcome},
};

/// One filter of each kind, with values that the history has.
fn filters(history: History) -> [&'static str; 15] {
    match history {
        History::Ordered => [
            "agentId=agent-maya",
            "callFlowId=flow-support",
            "batchId=batch-20000",
            "status=failed",
            "status=!completed",
            "direction=inbound",
            "callType=!*",
            "fromPhoneNumber=%2B1555*",
            "startedBefore=2024-06-20",
            "updatedAfter=2025-09-20",
            "minDuration=100",
            "minCost=0.05",
            "metadata.campaign=spring",
            "postAnalysis=%7B%22score%22:7%7D",
            "search=parcel",
        ],
        History::Real => [
            "agentId=agent-03",
            "callFlowId=flow-009",
            "batchId=batch-017",
            "status=failed",
            "status=!completed",
            "direction=inbound",
            "callType=!*",
            "fromPhoneNumber=%2B4930*",
            "startedBefore=2024-06-20",
            "updatedAfter=2025-09-20",
            "minDuration=100",
            "minCost=0.25",
            "metadata.campaign=spring",
            "postAnalysis=%7B%22score%22:7%7D",
            "search=parcel",
        ],
    }
}

const SORTS: [&str; 8] = [
    "sort=startTime",
    "sort=-createdAt",
    "sort=createdAt",
    "sort=-updatedAt",
    "sort=duration",
    "sort=-duration",
    "sort=-cost",
    "sort=cost",
];

/// Words that many, few and no calls have.
fn words(history: History) -> [&'static str; 8] {
    match history {
        History::Ordered => [
            "parcel",
            "appointment",
            "resolved",
            "spring",
            "lead%20offer",
            "cus_000077",
            "moved%20afternoon",
            "nothinghasthis",
        ],
        History::Real => [
            "the",
            "parcel",
            "browser",
            "spring",
            "order%20delivery",
            "cus_000077",
            "warehouse%20tracking",
            "nothinghasthis",
        ],
    }
}

fn page(server: &Server, query: &str) -> Vec<u8> {
    server.get(&format!("?limit=50&{query}"), "")
}

pub(crate) async fn pages(bench: &Bench) -> Outcome {
    let server = bench.start(&bench.data(bench.records())?).await?;
    let process = &server.process;
    let first = Requests::new(vec![page(&server, "")], "200");
    let deep = Requests::new(cursors(&server).await?, "200");
    let mut lines = Vec::new();
    for (name, requests) in [("first page", &first), ("random depth", &deep)] {
        let baseline = static_baseline::record(bench, process, requests).await?;
        let [ours, theirs] = bench.alternate((process, requests), (&baseline, requests)).await?;
        lines.push(Line::rates(format!("list_calls of 50, {name}"), Goal::AtLeast(0.3), &ours, &theirs, process));
    }
    let filters = filters(bench.history);
    let pairs = filters.iter().enumerate().flat_map(|(at, one)| {
        let others = filters[at + 1..].iter().chain(&SORTS);
        let name = |query: &str| query.split('=').next().map(str::to_owned);
        // A parameter is given once.
        let others = others.filter(move |other| name(one) != name(other));
        others.map(move |other| format!("{one}&{other}"))
    });
    let singles = filters.iter().map(|filter| (*filter).to_owned());
    let base = cpu_of(&server, "", bench).await?;
    for (name, most, queries) in
        [("each filter", 3.0, singles.collect::<Vec<_>>()), ("each pair", 10.0, pairs.collect())]
    {
        let mut figures = Vec::new();
        for query in &queries {
            figures.push((cpu_of(&server, query, bench).await? / base, query));
        }
        figures.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let beyond = figures.iter().filter(|(figure, _)| *figure > most).count();
        let worst: Vec<_> = figures.iter().take(4).map(|(figure, query)| format!("{query} {figure:.1}")).collect();
        let middle = median(figures.iter().map(|(figure, _)| *figure).collect());
        let line = Line::new(format!("{name}, CPU of the worst"), Goal::AtMost(most), figures[0].0, "×");
        let ours = format!("{beyond} of {} beyond {most}; median {middle:.2}; {}", figures.len(), worst.join(", "));
        lines.push(line.between(ours, format!("unfiltered {base:.0} µs")));
    }
    Ok(lines)
}

/// Requests for pages at random depth of the list, each after a cursor.
async fn cursors(server: &Server) -> Result<Vec<Vec<u8>>, BoxError> {
    let mut connection = Connection::open(server.process.address).await?;
    let mut requests = Vec::new();
    let mut target = "?limit=1000&fields=_id".to_owned();
    loop {
        connection.exchange(&server.get(&target, ""), "200").await?;
        let link = connection.head().lines().find_map(|line| line.strip_prefix("link: <"));
        let Some(next) = link.and_then(|link| link.split('>').next()) else { break };
        target = next.to_owned();
        requests.push(server.get(&target.replace("limit=1000", "limit=50").replace("fields=_id&", ""), ""));
    }
    fastrand::Rng::with_seed(7).shuffle(&mut requests);
    if requests.is_empty() { Err("no page has a next one".into()) } else { Ok(requests) }
}

/// Limits of about fifty, so that successive pages differ.
fn limits() -> impl Iterator<Item = usize> {
    (0..100).map(|number| if number % 2 == 0 { 50 - number / 2 } else { 51 + number / 2 })
}

/// Processor time of the server for one page of about fifty records, in microseconds.
async fn cpu_of(server: &Server, query: &str, bench: &Bench) -> Result<f64, BoxError> {
    let page = |limit| server.get(&format!("?limit={limit}&{query}"), "");
    let requests: Vec<_> = limits().map(page).collect();
    let time = Duration::from_millis(if bench.quick { 5 } else { 250 });
    let mut connection = Connection::open(server.process.address).await?;
    let (cpu, started, mut count) = (server.process.cpu_seconds()?, Instant::now(), 0);
    while started.elapsed() < time {
        for request in &requests {
            connection.exchange(request, "200").await.map_err(|error| format!("{query}: {error}"))?;
            count += 1;
            if started.elapsed() > time {
                break;
            }
        }
    }
    Ok((server.process.cpu_seconds()? - cpu) * 1e6 / to_f64(count))
}

pub(crate) async fn growth(bench: &Bench) -> Outcome {
    let (large, name) = match (bench.quick, bench.ten_million) {
        (true, _) => (histories::SMALL, "10 thousand"),
        (false, false) => (histories::LARGE, "1 million"),
        (false, true) => (histories::HUGE, "10 million"),
    };
    let mut sides = Vec::new();
    for records in [histories::SMALL, large] {
        let folder = bench.data(records)?;
        let server = bench.start(&folder).await?;
        let ids = get::random_ids(&folder, if bench.quick { 100 } else { 100_000 })?;
        let uniform = ids.iter().map(|(id, _)| server.get(&format!("/{id}"), "")).collect();
        let record = load::measure(&server.process, &Requests::new(uniform, "200"), bench.time()).await?;
        let mut queries = Vec::new();
        for query in filters(bench.history).iter().chain(&SORTS).chain(&[""]) {
            queries.push((*query, cpu_of(&server, query, bench).await?));
        }
        sides.push((record.cpu_micros, queries));
    }
    let [(small_record, small), (large_record, large)] = &sides[..] else { return Err("no two sides".into()) };
    let mut figures: Vec<_> =
        small.iter().zip(large).map(|((query, small), (_, large))| (large / small, *query)).collect();
    figures.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let worst: Vec<_> = figures.iter().take(4).map(|(figure, query)| format!("{query} {figure:.1}")).collect();
    let beyond = figures.iter().filter(|(figure, _)| *figure > 2.5).count();
    // The goals are about ten million.
    let goal = |most| if bench.ten_million && !bench.quick { Goal::AtMost(most) } else { Goal::None };
    let record = Line::new(format!("a record of {name}, CPU"), goal(1.8), large_record / small_record, "×");
    let page = Line::new(format!("a page of {name}, CPU of the worst"), goal(2.5), figures[0].0, "×");
    Ok(vec![
        record.between(format!("{large_record:.1} µs"), format!("{small_record:.1} µs of 10 thousand")),
        page.between(format!("{beyond} of {} beyond 2.5; {}", figures.len(), worst.join(", ")), "10 thousand"),
    ])
}

pub(crate) async fn search(bench: &Bench) -> Outcome {
    let server = bench.start(&bench.data(bench.records())?).await?;
    let limits = limits().take(if bench.quick { 1 } else { 100 });
    let page = |(limit, word)| server.get(&format!("?limit={limit}&search={word}"), "");
    let requests: Vec<_> = limits.flat_map(|limit| words(bench.history).map(|word| (limit, word))).map(page).collect();
    let mut millis = load::latencies(&server.process, &requests, 1).await?;
    millis.sort_by(f64::total_cmp);
    let line = Line::new("search, a page of 50, p99", Goal::AtMost(10.0), percentile(&millis, 0.99), "ms");
    Ok(vec![line.between(format!("p50 {:.2} ms", percentile(&millis, 0.5)), "")])
}
