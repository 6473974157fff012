//! Search: words in any script, phrases and prefixes.

use callhistory_model::{ListQuery, MetricsQuery, SearchQuery};
use callhistory_store::{CallSearchPage, CallStore, StoreError};
use serde_json::json;

use crate::conformance::{Database, put, workspace};

/// A text, searches that find it, and searches that do not.
type Case = (&'static str, &'static [&'static str], &'static [&'static str]);

const SCRIPTS: [Case; 13] = [
    (
        "Le café de l'été était fermé",
        &["cafe", "CAFÉ", "cafe\u{301}", "ete", "l'été", "lete", "l’ete", "fermé le", "caf"],
        &["cafés", "tait", "l ete fermé café x"],
    ),
    (
        "Die Straße ist groß, die Müller-Lüdenscheidt AG",
        &["strasse", "STRASSE", "GROẞ", "mullerludenscheidt", "Müller-Lüdenscheidt"],
        &["strase"],
    ),
    ("Η οδός είναι κλειστή", &["ΟΔΟΣ", "οδος", "κλειστη", "κλεισ"], &["δος"]),
    ("Ёлка стоит у подъезда", &["елка", "ПОДЪЕЗДА", "подъезд"], &["елк стоит"]),
    ("اتصل مُحَمَّد بأحمد", &["محمد", "مـحمد", "باحمد", "اتصل"], &["حمد"]),
    ("שָׁלוֹם מצה\"ל", &["שלום", "מצה\"ל", "מצהל", "מצה״ל"], &["לום"]),
    ("मुझे हिन्दी में क़लम चाहिए १२३४", &["हिन्दी", "कलम", "1234", "हिन्"], &["हिन दी", "कल चाहिए"]),
    (
        "明天下午三点开会",
        &["开会", "下午三点", "会", "明天 开会", "\"下午三点\"", "三点*"],
        &["午下", "下午四点", "开会明", "下午开会"],
    ),
    (
        "東京でデータをダウンロード ｶﾀｶﾅ",
        &["データ", "東京", "京で", "カタカナ", "ダウンロード"],
        &["データダ", "ダウンード"],
    ),
    ("ฉันต้องการคืนสินค้า", &["คืนสินค้า", "สินค้า", "ต้องการ"], &["สินคา", "คืนค้า"]),
    (
        "서울에서 환불을 요청했습니다",
        &["서울", "환불", "환불 서울", "요청했습니다", "요청했습*", "서"],
        &["울에서", "청했"],
    ),
    ("ខ្ញុំចង់សងប្រាក់", &["សងប្រាក់", "ប្រាក់"], &["ប្រាក់សង"]),
    (
        "Ｏｒｄｅｒ №５ iPhone手机 co\u{ad}operate",
        &["order", "iphone手机", "手机 iphone", "cooperate", "no5"],
        &["phone手机", "iphone机手"],
    ),
];

const FORMS: [Case; 7] = [
    (
        "He ordered the orders",
        &["order", "order*", "ord", "the order", "order* the", "ORDERS"],
        &["order the", "\"order\"", "orde the", "or"],
    ),
    (
        "refund for order A-1009",
        &["A-1009", "a1009", "1009", "\"order A\"", "A 1009", "a-100"],
        &["b-1009", "\"a refund\"", "1-009"],
    ),
    (
        "Don't reset my password",
        &["dont", "don't", "don’t", "\"reset my\"", "“reset my”", "\"my pass\"*", "\"my pass*\""],
        &["\"my reset\"", "\"my pass\"", "do not"],
    ),
    ("an e-mail was sent", &["email", "e-mail", "e mail", "emai", "mail"], &["ema was", "\"mail e\""]),
    (
        "internationalization",
        &["internationali", "internat", "international", "internationalization"],
        &["internationals", "internationaliz an"],
    ),
    ("the international flight", &["internat", "international", "flight international"], &["internationali"]),
    ("call 030 901820 back", &["901820", "0182", "030", "back 90182", "\"call 030"], &["0309", "902"]),
];

async fn finds(store: &dyn CallStore, workspace_id: &str, search: &str) -> Vec<String> {
    let search: String = search.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let query = ListQuery::from_query(&format!("limit=100&includeTotal=true&search={search}")).unwrap();
    let page = store.list_calls(&workspace(workspace_id), &query).await.unwrap();
    // The total and the metrics read other rows than the page.
    let metrics = MetricsQuery::from_query(&format!("groupBy=status&search={search}")).unwrap();
    let metrics = store.get_call_metrics(&workspace(workspace_id), &metrics).await.unwrap();
    assert_eq!((page.total, metrics.total_calls), (Some(page.calls.len() as u64), page.calls.len() as u64));
    let ids = page.calls.iter().map(|call| serde_json::from_slice::<serde_json::Value>(call).unwrap()["_id"].clone());
    ids.map(|id| id.as_str().unwrap().to_owned()).collect()
}

pub(crate) async fn search_finds_words_of_every_script(database: &impl Database) {
    let store = database.open().await;
    for (at, (text, ..)) in SCRIPTS.iter().chain(&FORMS).enumerate() {
        put(&*store, "w", &format!("c{at}"), &json!({ "summary": text }).to_string(), 1).await;
    }
    for (at, (text, found, absent)) in SCRIPTS.iter().chain(&FORMS).enumerate() {
        let id = format!("c{at}");
        for search in *found {
            assert!(finds(&*store, "w", search).await.contains(&id), "{search:?} does not find {text:?}");
        }
        for search in *absent {
            assert!(!finds(&*store, "w", search).await.contains(&id), "{search:?} finds {text:?}");
        }
    }
}

/// Every member that the contract names is covered, and a change of it changes what is found.
pub(crate) async fn search_covers_each_member(database: &impl Database) {
    let store = database.open().await;
    let members = [
        r#""fromPhoneNumber":"sip:needle@example.com""#,
        r#""toPhoneNumber":"needle""#,
        r#""agent":"Needle""#,
        r#""callFlowName":"the needle flow""#,
        r#""summary":"a needle""#,
        r#""metadata":{"a":[{"b":"needle"}]}"#,
        r#""analyzedData":{"reason":"needle"}"#,
        r#""functionCalls":[{"name":"find","arguments":{"what":"needle"}}]"#,
        r#""transcript":[{"role":"user","content":"needle"}]"#,
    ];
    for (at, member) in members.iter().enumerate() {
        let id = format!("c{at}");
        put(&*store, "w", &id, "{}", 1).await;
        put(&*store, "w", &id, &format!("{{{member}}}"), 2).await;
        assert_eq!(finds(&*store, "w", "needle").await, [id.as_str()], "{member}");
        put(&*store, "w", &id, "{}", 3).await;
        assert!(finds(&*store, "w", "needle").await.is_empty(), "{member}");
    }
    put(&*store, "w", "other", r#"{"roomName":"needle","variables":{"a":"needle"}}"#, 4).await;
    assert!(finds(&*store, "w", "needle").await.is_empty());
}

fn ids(page: &CallSearchPage) -> Vec<String> {
    let id =
        |call: &[u8]| serde_json::from_slice::<serde_json::Value>(call).unwrap()["_id"].as_str().unwrap().to_owned();
    page.hits.iter().map(|hit| id(&hit.call)).collect()
}

pub(crate) async fn a_search_returns_its_evidence(database: &impl Database) {
    let store = database.open().await;
    let spoken =
        json!([{"role": "agent", "content": "hello"}, {"role": "user", "start": 2.50, "content": "A refund, please"}]);
    for (id, call) in [
        ("apart", json!({"startTime": 4, "summary": "refund", "agent": "Order desk"})),
        ("often", json!({"startTime": 1, "summary": "order refund refund"})),
        ("together", json!({"startTime": 2, "summary": "refund of an order"})),
        ("spoken", json!({"startTime": 3, "transcript": spoken, "fromPhoneNumber": "sip:order@example.com"})),
        ("other", json!({"startTime": 5, "summary": "refund"})),
    ] {
        put(&*store, "w", id, &call.to_string(), 1).await;
    }
    let (store, ws) = (&*store, &workspace("w"));
    let search = async |query: &str, sees: bool| {
        let query = SearchQuery::from_query(query).unwrap();
        store.search_calls(ws, &query, sees).await
    };
    let page = search("q=refund+order&includeTotal=true", true).await.unwrap();
    assert_eq!(
        (ids(&page), page.total, &page.next),
        (["often", "together", "apart", "spoken"].map(str::to_owned).to_vec(), Some(4), &None)
    );
    let evidence = &page.hits[3].evidence;
    let members: Vec<_> =
        evidence.iter().map(|text| (text.member.as_str(), text.turn, text.snippet.as_str())).collect();
    let phone = ("/fromPhoneNumber", None, "sip:order@example.com");
    assert_eq!(members, [phone, ("/transcript/1/content", Some(1), "A refund, please")]);
    let time = evidence[1].time.as_ref().map(|time| time.as_str());
    assert_eq!((evidence[1].role.as_deref(), time, &*evidence[1].matches), (Some("user"), Some("2.5"), &[[2, 8]][..]));
    assert_eq!(evidence[0].matches, [[4, 9]]);

    // In the order of time, the cursor leads to each call once. Who sees no phone numbers finds nothing by them.
    for (sees, expected) in
        [(true, vec!["apart", "spoken", "together", "often"]), (false, vec!["apart", "together", "often"])]
    {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = search(&format!("q=refund+order&sort=-startTime&limit=1{cursor}"), sees).await.unwrap();
            found.extend(ids(&page));
            let Some(next) = page.next else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, expected, "{sees}");
    }
    let oldest =
        search("q=refund+order&sort=startTime&limit=2&startedAfter=1970-01-01T00:00:02Z", false).await.unwrap();
    assert_eq!(ids(&oldest), ["together"]);
    assert!(search("q=nothing", true).await.unwrap().hits.is_empty());
    assert!(matches!(search("q=refund&sort=startTime&cursor=x", true).await, Err(StoreError::Refused(_))));
}
