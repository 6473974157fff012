//! JSON Schemas of the wire types: `schemars` generates them, `utoipa` carries them unchanged. Each type has one
//! schema.

use std::borrow::Cow;

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Map, Value};
use utoipa::openapi::{
    ObjectBuilder, RefOr,
    extensions::Extensions,
    schema::{Schema as OpenApiSchema, SchemaType},
};

use crate::{
    CallChange, CallChangePage, CallCost, CallId, CallInput, CallMetrics, CallPatch, CallRecord, ImportReport,
    ListQuery, OriginalInfo, Problem, WorkspaceId,
};

/// Wire types are not nullable: a member without a value is omitted. The schema of `Option` says otherwise.
#[derive(Clone, Debug)]
struct NotNullable;

impl Transform for NotNullable {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".into(), only);
            }
        }
        if let Some(Value::Array(choices)) = schema.get("anyOf")
            && let [only, null] = choices.as_slice()
            && null.get("type").is_some_and(|name| name == "null")
            && let Value::Object(only) = only.clone()
        {
            schema.remove("anyOf");
            let members = schema.ensure_object();
            members.extend(only);
        }
        transform_subschemas(self, schema);
    }
}

/// The formats of OpenAPI: generators of clients read a format that they do not know as 32 bits.
#[derive(Clone, Debug)]
struct KnownFormats;

impl Transform for KnownFormats {
    fn transform(&mut self, schema: &mut Schema) {
        let known = match schema.get("format").and_then(Value::as_str) {
            Some("uint64") => Some("int64"),
            Some("uint32" | "uint16") => Some("int32"),
            _ => None,
        };
        if let Some(format) = known {
            schema.insert("format".into(), format.into());
        }
        transform_subschemas(self, schema);
    }
}

fn generator(settings: SchemaSettings) -> SchemaGenerator {
    settings.with_transform(NotNullable).with_transform(KnownFormats).into_generator()
}

/// The JSON Schemas (draft 2020-12) of files and streams, by name: a record, a line of an import, a line of an export,
/// and the data of a change event.
#[must_use]
pub fn json_schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("call-record", json_schema::<CallRecord>("Call record")),
        ("import-line", json_schema::<ImportLine>("Line of an import: a record with its `_id`")),
        ("export-line", json_schema::<CallRecord>("Line of an export: a record")),
        ("change-event", json_schema::<CallChange>("Change: an item of `changes`, or the data of an event")),
    ]
}

fn json_schema<T: JsonSchema>(title: &str) -> Value {
    let mut schema = generator(SchemaSettings::draft2020_12()).into_root_schema_for::<T>();
    schema.insert("title".into(), title.into());
    schema.to_value()
}

/// Implements `JsonSchema` by a function that builds the schema.
macro_rules! named_schema {
    ($name:ident, $build:expr) => {
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let build: fn(&mut SchemaGenerator) -> Schema = $build;
                build(generator)
            }
        }
    };
}

/// The schema of a line of an import: an input with its `_id`.
struct ImportLine;

named_schema!(ImportLine, |generator| {
    let mut schema = CallInput::json_schema(generator);
    schema.insert("required".into(), serde_json::json!(["_id"]));
    schema
});

/// The schema of a creation: an input without the members that only the service sets on a new record.
#[derive(Clone, Copy, Debug)]
pub struct CallCreate;

named_schema!(CallCreate, |generator| {
    let mut schema = CallInput::json_schema(generator);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.retain(|name, _| !matches!(name.as_str(), "_id" | "createdAt" | "updatedAt"));
    }
    let description = "A call record to create. The service sets `_id`, `createdAt` and `updatedAt`; the header defines \
        `workspaceId`, which the body may repeat.";
    schema.insert("description".into(), description.into());
    schema
});

/// The schema of a page of a list. With `fields`, records have only some members.
#[derive(Clone, Copy, Debug)]
pub struct CallList;

named_schema!(CallList, |generator| {
    schemars::json_schema!({
        "description": "One page of call records, in the order of the list.",
        "type": "array",
        "items": generator.subschema_for::<CallRecord>(),
        "maxItems": ListQuery::MAX_LIMIT,
    })
});

/// The schema of the originals of a record.
#[derive(Clone, Copy, Debug)]
pub struct OriginalList;

named_schema!(OriginalList, |generator| {
    schemars::json_schema!({
        "description": "The originals of a record, in the order of arrival.",
        "type": "array",
        "items": generator.subschema_for::<OriginalInfo>(),
        "maxItems": OriginalInfo::MAX_LISTED,
    })
});

/// The schema of a page of hits. With `fields`, records have only some members.
#[derive(Clone, Copy, Debug)]
pub struct CallSearchPage;

named_schema!(CallSearchPage, |generator| { crate::SearchPage::<CallRecord>::json_schema(generator) });

named_schema!(CallPatch, |generator| {
    let mut schema = CallInput::json_schema(generator);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.retain(|name, _| !matches!(name.as_str(), "createdAt" | "updatedAt"));
        for (name, property) in properties.iter_mut() {
            // A merge patch of an object is any object: the merged result is checked.
            let mut value = if name == "cost" { cost_patch(generator) } else { property.take() };
            let description = value.as_object_mut().and_then(|value| value.remove("description"));
            *property = match name.as_str() {
                "_id" | "workspaceId" => value,
                _ => serde_json::json!({ "anyOf": [value, { "type": "null" }] }),
            };
            property["description"] = description.unwrap_or_else(|| format!("See `CallRecord.{name}`.").into());
        }
    }
    let description = "A JSON Merge Patch (RFC 7396) of a record: members to set, and `null` for members to remove. `_id` and \
        `workspaceId` may be repeated, but not changed.";
    schema.insert("description".into(), description.into());
    schema
});

/// The schema of the cost in a patch: amounts to set, and `null` for amounts to remove.
fn cost_patch(generator: &mut SchemaGenerator) -> Value {
    let mut cost = CallCost::json_schema(generator);
    cost.remove("properties");
    let mut cost = cost.to_value();
    cost["additionalProperties"]["type"] = serde_json::json!(["number", "null"]);
    cost
}

/// The schema of a type with references to `/components/schemas`, and the schemas that it refers to.
fn component<T: JsonSchema>() -> (Map<String, Value>, Map<String, Value>) {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = generator(settings);
    let mut root = generator.root_schema_for::<T>();
    let definitions = generator.take_definitions(true);
    let members = root.ensure_object();
    // The component has its name already, and its definitions are components of their own.
    members.remove("title");
    members.remove("components");
    (members.clone(), definitions)
}

/// Wraps a finished schema for utoipa: an object without a type, with every keyword as an extension. The builder
/// of extensions would prefix each name with `x-`; collecting does not.
pub fn carry(members: impl IntoIterator<Item = (String, Value)>) -> RefOr<OpenApiSchema> {
    let extensions: Extensions = members.into_iter().collect();
    let object = ObjectBuilder::new().schema_type(SchemaType::AnyValue).extensions(Some(extensions));
    RefOr::T(OpenApiSchema::Object(object.build()))
}

/// Implements utoipa's traits by `JsonSchema`, for each type that operations use.
macro_rules! components {
    ($($type:ident),+) => {
        $(impl utoipa::PartialSchema for $type {
            fn schema() -> RefOr<OpenApiSchema> {
                carry(component::<Self>().0)
            }
        }

        impl utoipa::ToSchema for $type {
            fn name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<OpenApiSchema>)>) {
                for (name, schema) in component::<Self>().1 {
                    if let Value::Object(members) = schema {
                        schemas.push((name, carry(members)));
                    }
                }
            }
        })+
    };
}

components!(
    CallRecord,
    CallInput,
    CallCreate,
    CallPatch,
    CallList,
    OriginalList,
    CallSearchPage,
    CallMetrics,
    CallChangePage,
    CallChange,
    ImportReport,
    CallId,
    WorkspaceId,
    Problem
);
