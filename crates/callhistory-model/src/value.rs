//! Value types. Each keeps the digits that were sent.

/// Implements `JsonSchema` for a type whose schema is written out wherever the type occurs.
macro_rules! inline_schema {
    ($name:ident, $schema:tt) => {
        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

pub(crate) mod call_status;
pub(crate) mod decimal;
pub(crate) mod extensible_enum;
pub(crate) mod id;
pub(crate) mod json_text;
pub(crate) mod raw_json;
pub(crate) mod scalar;
pub(crate) mod text_traits;
pub(crate) mod time_zone;
pub(crate) mod timestamp;
