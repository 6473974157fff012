//! Lists, searches and numbers: what they cost under each filter, and how that grows.

use std::time::{Duration, Instant};

use super::{
    Bench, Failure, Goal, Line, Outcome, Service, data, fixed,
    load::{self, Connection, Requests, median, percentile, to_f64},
    reads,
};

/// Every kind of filter, alone.
const FILTERS: [&str; 15] = [
    "agentId=agent-maya",
    "callFlowId=flow-support",
    "batchId=batch-20480",
    "status=failed",
    "status=!completed",
    "direction=inbound",
    "callType=!*",
    "fromPhoneNumber=%2B1555*",
    "startedBefore=2025-09-20",
    "updatedAfter=2025-09-20",
    "minDuration=100",
    "minCost=0.05",
    "metadata.campaign=spring",
    "postAnalysis=%7B%22score%22:7%7D",
    "search=parcel",
];
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
const WORDS: [&str; 8] =
    ["parcel", "appointment", "refund", "spring", "lead%20offer", "cus_000077", "moved%20afternoon", "nothinghasthis"];

fn page(service: &Service, query: &str) -> Vec<u8> {
    service.get(&format!("?limit=50&{query}"), "")
}

pub(super) async fn pages(bench: &Bench) -> Outcome {
    let service = bench.service(&bench.history(bench.records())?).await?;
    let peer = &service.peer;
    let first = Requests::new(vec![page(&service, "")], "200");
    let fixed = fixed::like(&bench.xtask, bench.scratch.path(), peer, &first.all[0], "200").await?;
    let deep = Requests::new(cursors(&service).await?, "200");
    let mut lines = Vec::new();
    for (name, requests) in [("first page, remembered", &first), ("random depth", &deep)] {
        let [ours, theirs] = bench.in_turns((peer, requests), (&fixed, requests)).await?;
        lines.push(Line::rates(format!("list_calls of 50, {name}"), Goal::AtLeast(0.6), &ours, &theirs, peer));
    }
    let pairs = FILTERS.iter().enumerate().flat_map(|(at, one)| {
        let others = FILTERS[at + 1..].iter().chain(&SORTS);
        let name = |query: &str| query.split('=').next().map(str::to_owned);
        // A parameter stands once.
        let others = others.filter(move |other| name(one) != name(other));
        others.map(move |other| format!("{one}&{other}"))
    });
    let singles = FILTERS.iter().map(|filter| (*filter).to_owned());
    // A page that is empty, or that a filter leaves one record of, says nothing of a page of fifty.
    let base = cpu_of(&service, "", bench).await?;
    for (name, queries) in [("each filter", singles.collect::<Vec<_>>()), ("each pair", pairs.collect())] {
        let mut figures = Vec::new();
        for query in &queries {
            figures.push((cpu_of(&service, query, bench).await? / base, query));
        }
        figures.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let beyond = figures.iter().filter(|(figure, _)| *figure > 3.0).count();
        let worst: Vec<_> = figures.iter().take(4).map(|(figure, query)| format!("{query} {figure:.1}")).collect();
        let middle = median(figures.iter().map(|(figure, _)| *figure).collect());
        let line = Line::new(format!("{name}, CPU of the worst"), Goal::AtMost(3.0), figures[0].0, "×");
        let ours = format!("{beyond} of {} beyond 3; median {middle:.2}; {}", figures.len(), worst.join(", "));
        lines.push(line.between(ours, format!("unfiltered {base:.0} µs")));
    }
    Ok(lines)
}

/// Requests for pages all over the list, each after a cursor.
async fn cursors(service: &Service) -> Result<Vec<Vec<u8>>, Failure> {
    let mut connection = Connection::open(service.peer.address).await?;
    let mut requests = Vec::new();
    let mut target = "?limit=1000&fields=_id".to_owned();
    loop {
        connection.exchange(&service.get(&target, ""), "200").await?;
        let link = connection.head().lines().find_map(|line| line.strip_prefix("link: <"));
        let Some(next) = link.and_then(|link| link.split('>').next()) else { break };
        target = next.to_owned();
        requests.push(service.get(&target.replace("limit=1000", "limit=50").replace("fields=_id&", ""), ""));
    }
    fastrand::Rng::with_seed(7).shuffle(&mut requests);
    if requests.is_empty() { Err("no page has a next one".into()) } else { Ok(requests) }
}

/// Limits of about fifty, so that no page is asked for twice.
fn limits() -> impl Iterator<Item = usize> {
    (0..100).map(|number| if number % 2 == 0 { 50 - number / 2 } else { 51 + number / 2 })
}

/// Processor time of the service for one page of about fifty records, in microseconds. No page is one that it remembers.
async fn cpu_of(service: &Service, query: &str, bench: &Bench) -> Result<f64, Failure> {
    let page = |limit| service.get(&format!("?limit={limit}&{query}"), "");
    let requests: Vec<_> = limits().map(page).collect();
    let time = Duration::from_millis(if bench.quick { 5 } else { 250 });
    let mut connection = Connection::open(service.peer.address).await?;
    let (cpu, started, mut count) = (service.peer.cpu_seconds()?, Instant::now(), 0);
    while started.elapsed() < time {
        for request in &requests {
            connection.exchange(request, "200").await.map_err(|error| format!("{query}: {error}"))?;
            count += 1;
            if started.elapsed() > time {
                break;
            }
        }
        // Whatever is written, nothing is remembered behind it; and this writes nothing.
        connection.exchange(&service.refused_put(), "412").await?;
    }
    Ok((service.peer.cpu_seconds()? - cpu) * 1e6 / to_f64(count))
}

pub(super) async fn growth(bench: &Bench) -> Outcome {
    let (large, name) = match (bench.quick, bench.ten_million) {
        (true, _) => (data::SMALL, "10 thousand"),
        (false, false) => (data::LARGE, "1 million"),
        (false, true) => (data::HUGE, "10 million"),
    };
    let mut sides = Vec::new();
    for records in [data::SMALL, large] {
        let folder = bench.history(records)?;
        let service = bench.service(&folder).await?;
        let ids = reads::sample(&folder, if bench.quick { 100 } else { 100_000 })?;
        let uniform = ids.iter().map(|(id, _)| service.get(&format!("/{id}"), "")).collect();
        let record = load::measure(&service.peer, &Requests::new(uniform, "200"), bench.time()).await?;
        let mut queries = Vec::new();
        for query in FILTERS.iter().chain(&SORTS).chain(&[""]) {
            queries.push((*query, cpu_of(&service, query, bench).await?));
        }
        sides.push((record.cpu_micros, queries));
    }
    let [(small_record, small), (large_record, large)] = &sides[..] else { return Err("no two sides".into()) };
    let mut figures: Vec<_> =
        small.iter().zip(large).map(|((query, small), (_, large))| (large / small, *query)).collect();
    figures.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let worst: Vec<_> = figures.iter().take(4).map(|(figure, query)| format!("{query} {figure:.1}")).collect();
    let beyond = figures.iter().filter(|(figure, _)| *figure > 2.0).count();
    // The goals are about ten million.
    let goal = |most| if bench.ten_million { Goal::AtMost(most) } else { Goal::Shown };
    let record = Line::new(format!("a record of {name}, CPU"), goal(1.6), large_record / small_record, "×");
    let page = Line::new(format!("a page of {name}, CPU of the worst"), goal(2.0), figures[0].0, "×");
    Ok(vec![
        record.between(format!("{large_record:.1} µs"), format!("{small_record:.1} µs of 10 thousand")),
        page.between(format!("{beyond} of {} beyond 2; {}", figures.len(), worst.join(", ")), "10 thousand"),
    ])
}

pub(super) async fn metrics(bench: &Bench) -> Outcome {
    let mut sizes = vec![(bench.records(), 30.0)];
    if bench.ten_million {
        sizes.push((data::HUGE, 100.0));
    }
    let mut lines = Vec::new();
    for (records, goal) in sizes {
        let service = bench.service(&bench.history(records)?).await?;
        for (name, query) in [
            ("ungrouped", ""),
            ("of one agent", "?agentId=agent-maya"),
            ("by day and agent, UTC", "?groupBy=day,agentId"),
            ("by day and agent, Berlin", "?groupBy=day,agentId&timezone=Europe/Berlin"),
            ("by day and agent, Kolkata", "?groupBy=day,agentId&timezone=Asia/Kolkata"),
            ("by month and status, Tokyo", "?groupBy=month,status&timezone=Asia/Tokyo"),
        ] {
            let request = service.get(&format!("/metrics{query}"), "");
            let millis = latencies(&service, &[request], if bench.quick { 1 } else { 7 }).await?;
            let line = Line::new(format!("{records} calls, {name}"), Goal::AtMost(goal), median(millis), "ms");
            lines.push(line.with_peak(service.peer.memory_mib()?.1));
        }
    }
    Ok(lines)
}

pub(super) async fn search(bench: &Bench) -> Outcome {
    let service = bench.service(&bench.history(bench.records())?).await?;
    let limits = limits().take(if bench.quick { 1 } else { 100 });
    let page = |(limit, word)| service.get(&format!("?limit={limit}&search={word}"), "");
    let requests: Vec<_> = limits.flat_map(|limit| WORDS.map(|word| (limit, word))).map(page).collect();
    let mut millis = latencies(&service, &requests, 1).await?;
    millis.sort_by(f64::total_cmp);
    let line = Line::new("search, a page of 50, p99", Goal::AtMost(10.0), percentile(&millis, 0.99), "ms");
    Ok(vec![line.between(format!("p50 {:.2} ms", percentile(&millis, 0.5)), "")])
}

/// How long requests take one after the other, in milliseconds.
async fn latencies(service: &Service, requests: &[Vec<u8>], rounds: usize) -> Result<Vec<f64>, Failure> {
    let mut connection = Connection::open(service.peer.address).await?;
    let mut millis = Vec::new();
    for _ in 0..rounds {
        for request in requests {
            let sent = Instant::now();
            connection.exchange(request, "200").await?;
            millis.push(sent.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(millis)
}
