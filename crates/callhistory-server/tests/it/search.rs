//! Search over HTTP: hits, evidence, pages, and what a key may see of them.

use callhistory_store::Scope;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    auth::create_key,
    harness::{CALLS, Response, Server, WORKSPACE},
    list::encode,
};

async fn search(server: &Server, query: &str, headers: &[(&str, &str)]) -> Response {
    server.send(Method::GET, &format!("{CALLS}/search?{query}"), headers, "").await
}

fn ids(response: &Response) -> Vec<String> {
    let hits = response.json()["hits"].as_array().unwrap().clone();
    hits.iter().map(|hit| hit["call"]["_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_hit_has_its_record_and_its_evidence() {
    let server = Server::start().await;
    let transcript =
        json!([{"role": "agent", "content": "您好"}, {"role": "user", "start": 4, "content": "明天下午三点开会"}]);
    server.put("c1", &[], &json!({"startTime": 1, "transcript": transcript}).to_string()).await;
    server.put("c2", &[], r#"{"startTime":2,"summary":"Opening hours"}"#).await;
    let page = search(&server, &format!("q={}&fields=_id", encode("开会")), &[]).await;
    let evidence = json!({
        "member": "/transcript/1/content", "turn": 1, "role": "user", "time": 4,
        "snippet": "明天下午三点开会", "matches": [[6, 8]],
    });
    assert_eq!(page.json(), json!({"hits": [{"call": {"_id": "c1"}, "evidence": [evidence]}]}));
    let whole = search(&server, "q=HOUR&includeTotal=true", &[]).await.json();
    assert_eq!((&whole["total"], &whole["hits"][0]["call"]["summary"]), (&json!(1), &json!("Opening hours")));
    assert_eq!(search(&server, "q=closing", &[]).await.body, r#"{"hits":[]}"#);
}

#[tokio::test]
async fn links_lead_through_all_hits_in_the_order_of_time() {
    let server = Server::start().await;
    for number in 0..5 {
        server.put(&format!("c{number}"), &[], &format!(r#"{{"startTime":{number},"summary":"parcel"}}"#)).await;
    }
    let (mut found, mut query) = (Vec::new(), "q=parcel&sort=-startTime&limit=2".to_owned());
    loop {
        let page = search(&server, &query, &[]).await;
        found.extend(ids(&page));
        let Some(next) = page.json()["next"].as_str().map(str::to_owned) else { break };
        assert_eq!(page.header("x-next-cursor"), next);
        let link = page.headers["link"].to_str().unwrap().to_owned();
        assert!(link.contains(&format!("cursor={next}>")) && link.ends_with("rel=\"next\""), "{link}");
        query = link[2..].split_once('>').unwrap().0.to_owned();
    }
    assert_eq!(found, ["c4", "c3", "c2", "c1", "c0"]);
}

#[tokio::test]
async fn parameters_of_a_search_are_checked() {
    let server = Server::start().await;
    for (query, expected) in [
        ("status=busy", "q missing"),
        ("q=%22%20*%20%22", "q too_short"),
        ("q=x&search=y", "search unknown"),
        ("q=x&limit=101", "limit out_of_range"),
        ("q=x&page=1", "page unknown"),
        ("q=x&sort=cost", "sort malformed"),
        ("q=x&cursor=abc", "cursor conflict"),
        ("q=x&cursor=abc&sort=startTime", "cursor invalid_cursor"),
        ("q=a+b+c+d+e+f+g+h+i+j+k+l+m+n+o+p+q", "q too_many_members"),
        ("q=x&statu=busy", "statu unknown"),
    ] {
        let response = search(&server, query, &[]).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}: {}", response.body);
        let error = &response.json()["errors"][0];
        let text = |name: &str| error[name].as_str().unwrap().to_owned();
        assert_eq!(format!("{} {}", text("parameter"), text("code")), expected, "{query}");
    }
    // A quotation mark without its partner is no mistake.
    server.put("c1", &[], r#"{"summary":"a big order"}"#).await;
    assert_eq!(ids(&search(&server, "q=%22big+ord", &[]).await), ["c1"]);
    let reserved = server.put("search", &[], "{}").await;
    assert!(reserved.status.is_client_error(), "{}", reserved.body);
}

#[tokio::test]
async fn a_key_without_phone_numbers_finds_none_and_sees_none() {
    let server = Server::with_keys().await;
    let full = create_key(&server, Some(WORKSPACE), &Scope::ALL, |_| {}).await;
    let blind = create_key(&server, Some(WORKSPACE), &Scope::ALL[..4], |_| {}).await;
    let (full, blind) = (("x-api-key", full.as_str()), ("x-api-key", blind.as_str()));
    server.put("c1", &[full], r#"{"fromPhoneNumber":"sip:needle@example.com"}"#).await;
    server.put("c2", &[full], r#"{"fromPhoneNumber":"sip:needle@example.com","summary":"a needle"}"#).await;
    for sort in ["relevance", "-startTime"] {
        let query = format!("q=needle&sort={sort}");
        let mut seen = ids(&search(&server, &query, &[full]).await);
        seen.sort();
        assert_eq!(seen, ["c1", "c2"]);
        let page = search(&server, &query, &[blind]).await;
        assert_eq!(ids(&page), ["c2"]);
        assert!(!page.body.contains("needle@"), "{}", page.body);
        let members = page.json()["hits"][0]["evidence"].as_array().unwrap().len();
        assert_eq!(members, 1);
    }
    let digits: Value = search(&server, "q=4711", &[blind]).await.json();
    assert_eq!(digits["code"], "insufficient_scope");
}
