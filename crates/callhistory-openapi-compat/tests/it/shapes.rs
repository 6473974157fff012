//! Small documents with the shapes of published ones: what other rules stumbled over, and what must still be found in them.

use callhistory_openapi_compat::{Document, Report, compare};

/// Unions of references, vendor hints, titles everywhere, and `null` as a choice, as FastAPI writes them.
const UNIONS: &str = "openapi: 3.1.0
info: {title: Agents, version: '1.0'}
paths:
  /agents/{id}:
    patch:
      operationId: patch_agent
      x-fern-sdk-group-name: [agents]
      requestBody:
        content:
          application/json:
            schema: {$ref: '#/components/schemas/Agent'}
      responses:
        '200':
          description: The agent.
          content:
            application/json:
              schema: {$ref: '#/components/schemas/Agent'}
components:
  schemas:
    Agent:
      type: object
      title: Agent
      properties:
        tool:
          oneOf:
          - $ref: '#/components/schemas/Webhook'
          - $ref: '#/components/schemas/Client'
          discriminator: {propertyName: type}
        name: {type: string, title: Name}
        model:
          anyOf: [{type: string}, {type: string, enum: [small, large]}]
        filter: {$ref: '#/components/schemas/Filter'}
        created: {type: string, readOnly: true}
    Webhook: {type: object, required: [type], properties: {type: {const: webhook}, url: {type: string, maxLength: 100}}}
    Client: {type: object, required: [type], properties: {type: {const: client}}}
    Filter:
      $recursiveAnchor: true
      type: object
      not: {$ref: '#/components/schemas/Empty'}
      properties:
        filters: {type: array, items: {$recursiveRef: '#'}}
    Empty: {type: object, maxProperties: 0}
";

/// OpenAPI 3.0 with what it writes in another way.
const NULLABLE: &str = "openapi: 3.0.1
info: {title: Accounts, version: 1.2.3}
servers:
- url: https://{region}.example.com
  variables:
    region: {default: eu, enum: [eu, us]}
paths:
  /accounts:
    get:
      parameters:
      - name: size
        in: query
        schema: {type: integer, minimum: 0, exclusiveMinimum: true, maximum: 100}
      responses:
        '200':
          description: All.
          content:
            application/json:
              schema:
                type: object
                properties:
                  name: {type: string, nullable: true, example: Ann}
                  owner: {$ref: '#/components/schemas/Owner', description: Ignored in 3.0.}
      callbacks:
        done:
          '{$request.query.url}':
            post:
              requestBody:
                content:
                  application/json: {schema: {$ref: '#/components/schemas/Owner'}}
              responses: {'204': {description: Taken.}}
components:
  schemas:
    Owner: {type: object, properties: {id: {type: string, nullable: true, maxLength: 34}}}
";

fn parse(text: &str) -> Document {
    Document::parse(text).unwrap()
}

/// The comparison of a document with itself after a replacement.
fn edited(text: &str, from: &str, to: &str) -> Report {
    assert_eq!(text.matches(from).count(), 1, "{from} is not there once");
    compare(&parse(text), &parse(&text.replace(from, to)))
}

/// Asserts the findings, each as its severity, its pointer and its rule.
fn assert_found(text: &str, (from, to): (&str, &str), expected: &[&str]) {
    let report = edited(text, from, to);
    let found: Vec<_> =
        report.findings.iter().map(|it| format!("{} #{}: {}", it.severity, it.pointer, it.rule)).collect();
    assert_eq!(found, expected, "{from} -> {to}");
}

#[test]
fn a_document_is_compatible_with_itself_whatever_is_in_it() {
    for text in [UNIONS, NULLABLE] {
        assert_eq!(compare(&parse(text), &parse(text)).findings, []);
    }
    // The same document as JSON.
    let json = serde_json::to_string_pretty(&parse(UNIONS).into_value()).unwrap();
    assert_eq!(compare(&parse(UNIONS), &parse(&json)).findings, []);
    // 3.0 is upgraded to what 3.1 says in its own words.
    let upgraded = parse(NULLABLE).into_value();
    let schema = "/paths/~1accounts/get/parameters/0/schema";
    assert_eq!(
        upgraded.pointer(schema).unwrap().to_string(),
        r#"{"exclusiveMinimum":0,"maximum":100,"type":"integer"}"#
    );
    let id = upgraded.pointer("/components/schemas/Owner/properties/id/type").unwrap();
    assert_eq!(id.to_string(), r#"["string","null"]"#);
}

#[test]
fn unions_are_compared_by_their_members() {
    let agent = "#/components/schemas/Agent/properties";
    let narrower = [
        "breaking #/components/schemas/Webhook/properties/url: input-narrowed",
        "note #/components/schemas/Webhook/properties/url: output-narrowed",
    ];
    assert_found(UNIONS, ("maxLength: 100", "maxLength: 50"), &narrower);
    let (gone, unknown) =
        (format!("breaking {agent}/tool: input-narrowed"), format!("unknown {agent}/tool: not-understood"));
    assert_found(UNIONS, ("          - $ref: '#/components/schemas/Client'\n", ""), &[&gone, &unknown]);
    // A text or null: more in a request, more in a response.
    let with_null = ("{type: string, title: Name}", "{title: Name, anyOf: [{type: 'null'}, {type: string}]}");
    let (wider, more) = (format!("breaking {agent}/name: output-widened"), format!("note {agent}/name: input-widened"));
    let title = format!("note {agent}/name/title: annotation-changed");
    assert_found(UNIONS, with_null, &[&wider, &more, &title]);
    // Any text was allowed before.
    assert_found(UNIONS, ("enum: [small, large]", "enum: [small, large, huge]"), &[]);
}

#[test]
fn annotations_and_extensions_are_notes() {
    let tool = "#/components/schemas/Agent/properties/tool";
    let discriminator = format!("note {tool}/discriminator: annotation-changed");
    assert_found(UNIONS, ("propertyName: type", "propertyName: kind"), &[&discriminator]);
    let operation = "#/paths/~1agents~1{id}/patch";
    let hints = ["x-fern-audiences", "x-fern-sdk-group-name"];
    let hints = hints.map(|name| format!("note {operation}/{name}: annotation-changed"));
    let hint = ("x-fern-sdk-group-name: [agents]", "x-fern-audiences: [public]");
    assert_found(UNIONS, hint, &hints.each_ref().map(String::as_str));
    // A property that is not sent in a direction does not count in it.
    let created = "#/components/schemas/Agent/properties/created";
    let marks = [format!("note {created}: added"), format!("note {created}: annotation-changed")];
    assert_found(UNIONS, ("string, readOnly: true", "string"), &marks.each_ref().map(String::as_str));
    let longer = format!("note {created}: output-narrowed");
    assert_found(UNIONS, ("string, readOnly: true", "string, readOnly: true, maxLength: 9"), &[&longer]);
}

#[test]
fn what_the_rules_do_not_know_is_unknown_if_it_or_its_target_changed() {
    let filter = "#/components/schemas/Filter";
    let expected = [
        "breaking #/components/schemas/Empty: output-widened".to_owned(),
        format!("unknown {filter}/not: not-understood"),
        "note #/components/schemas/Empty: input-widened".to_owned(),
    ];
    assert_found(UNIONS, ("maxProperties: 0", "maxProperties: 1"), &expected.each_ref().map(String::as_str));
    let anchor = format!("unknown {filter}/$recursiveAnchor: not-understood");
    assert_found(UNIONS, ("$recursiveAnchor: true", "$recursiveAnchor: false"), &[&anchor]);
    // A known keyword with a value of another type than it must have.
    let required = "unknown #/components/schemas/Client/required: not-understood";
    let client = (
        "{type: object, required: [type], properties: {type: {const: client}}}",
        "{type: object, required: {}, properties: {type: {const: client}}}",
    );
    let report = edited(UNIONS, client.0, client.1);
    assert!(report.text("old".as_ref(), "new".as_ref()).contains(&required.replace("unknown ", "")), "{report}");
    // Another file is not read.
    let elsewhere = UNIONS.replace("#/components/schemas/Empty", "empty.yaml");
    let report = compare(&parse(&elsewhere), &parse(&elsewhere));
    assert_eq!(report.summary(), "0 breaking, 1 unknown, 0 notes; next version ≥ 2.0.0", "{report}");
}

#[test]
fn openapi_3_0_is_compared_as_3_1() {
    let owner = "#/components/schemas/Owner/properties/id";
    let (narrower, wider) = (format!("note {owner}: output-narrowed"), format!("breaking {owner}: output-widened"));
    assert_found(NULLABLE, ("nullable: true, maxLength", "maxLength"), &[&narrower]);
    assert_found(NULLABLE, ("maxLength: 34", "maxLength: 36"), &[&wider]);
    let size = "#/paths/~1accounts/get/parameters/0/schema";
    let bound = format!("note {size}: input-widened");
    assert_found(NULLABLE, ("exclusiveMinimum: true, ", ""), &[&format!("breaking {size}: input-narrowed"), &bound]);
    assert_found(NULLABLE, ("description: Ignored in 3.0.", "type: object"), &[]);
    assert_found(
        NULLABLE,
        ("string, nullable: true, example: Ann", "string"),
        &[
            "note #/paths/~1accounts/get/responses/200/content/application~1json/schema/properties/name: output-narrowed",
        ],
    );
    let region = "#/servers/0/variables/region";
    assert_found(NULLABLE, ("enum: [eu, us]", "enum: [eu]"), &[&format!("breaking {region}: input-narrowed")]);
    assert_found(NULLABLE, ("default: eu", "default: us"), &[&format!("breaking {region}: default-changed")]);
}

/// In webhooks and callbacks the service sends the requests.
#[test]
fn requests_of_the_service_are_compared_the_other_way_round() {
    let done = "#/paths/~1accounts/get/callbacks/done/{$request.query.url}/post";
    let another = ("responses: {'204'", "responses: {'200': {description: Taken.}, '204'");
    assert_found(NULLABLE, another, &[&format!("note {done}/responses/200: added")]);
    let webhook = "openapi: 3.1.0
info: {title: Events, version: 0.0.4}
webhooks:
  ended:
    post:
      requestBody:
        required: true
        content: {application/json: {schema: {type: object, required: [id], properties: {id: {type: string}}}}}
      responses: {'204': {description: Taken.}}
";
    let schema = "#/webhooks/ended/post/requestBody/content/application~1json/schema";
    assert_found(webhook, ("required: [id], ", ""), &[&format!("breaking {schema}: output-widened")]);
    assert_found(
        webhook,
        ("{id: {type: string}}", "{id: {type: string}, at: {type: string}}"),
        &[&format!("note {schema}/properties/at: added")],
    );
    let optional = ["breaking #/webhooks/ended/post/requestBody: output-widened"];
    assert_found(webhook, ("        required: true\n", ""), &optional);
    let report = edited(webhook, "  ended:", "  finished:");
    assert_eq!(report.summary(), "1 breaking, 0 unknown, 1 note; next version ≥ 0.0.5", "{report}");
}

#[test]
fn the_next_version_follows_from_the_worst_finding() {
    let next = |from: &str, to: &str| edited(NULLABLE, from, to).next_version().unwrap().to_string();
    assert_eq!(next("maxLength: 34", "maxLength: 36"), "2.0.0");
    assert_eq!(next("      - name: size", "      - {name: page, in: query}\n      - name: size"), "1.3.0");
    assert_eq!(next("description: All.", "description: Every one."), "1.2.4");
    let dated = NULLABLE.replace("1.2.3", "2026-12-01");
    let report = compare(&parse(&dated), &parse(&dated));
    assert!(report.next_version().is_none() && report.summary().ends_with("\"2026-12-01\" is not a semantic one"));
}

#[test]
fn yaml_is_read_as_its_version_1_2_says() {
    let value = |text: &str| {
        Document::parse(&format!("openapi: 3.1.0\npaths: {{}}\nx: {text}\n")).map(|it| it.into_value()["x"].to_string())
    };
    let cases = [
        ("yes", "\"yes\""),
        ("2026-12-01", "\"2026-12-01\""),
        ("1.10.0", "\"1.10.0\""),
        ("'1'", "\"1\""),
        ("!!str 1", "\"1\""),
        ("-17", "-17"),
        ("1e3", "1000.0"),
        ("0x1F", "31"),
        ("~", "null"),
        ("{200: &a [1], 404: *a}", r#"{"200":[1],"404":[1]}"#),
        ("\"\\u00e9\"", "\"é\""),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text).as_deref(), Ok(expected), "{text}");
    }
    for (text, error) in
        [("{a: 1, a: 2}", "twice"), ("{<<: {a: 1}}", "merge"), (".inf", "not a number"), ("!!set {a}", "tag")]
    {
        let found = value(text).unwrap_err();
        assert!(found.contains(error) && found.contains("line 3"), "{text}: {found}");
    }
    let bomb: String =
        (1..40).map(|at| format!("x{at}: &a{at} [{}]\n", vec![format!("*a{}", at - 1); 9].join(","))).collect();
    let bomb = format!("openapi: 3.1.0\npaths: {{}}\nx0: &a0 [1]\n{bomb}");
    assert!(Document::parse(&bomb).unwrap_err().contains("values"));
}
