//! What callers may ask for: filters, lists, exports, metrics and changes, as query strings write them.

/// Declares the setters of a query: the kind of each, its name, the member that it sets, and the type of the value.
macro_rules! setters {
    ($query:ident { $($kind:ident $setter:ident => $($path:ident).+ $(: $type:ty)?,)+ }) => {
        impl $query {
            /// The query without parameters.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            $(crate::query::setter!($kind $setter => $($path).+ $(: $type)?);)+
        }

        impl serde::Serialize for $query {
            /// A map of texts: the parameters of [`to_query`](Self::to_query).
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(crate::query::query_string::pairs(&self.to_query()))
            }
        }
    };
}

/// Declares one setter. A member of the kind `values` is a set of values, `some` is optional, `text` is an optional text, `list` has
/// several texts, and `value` is always there.
macro_rules! setter {
    ($kind:ident $setter:ident => $($path:ident).+ $(: $type:ty)?) => {
        crate::query::setter! {
            @ $kind concat!("The same query, with `", stringify!($($path).+), "`."), $setter, $($path).+ $(, $type)?
        }
    };
    (@ values $doc:expr, $setter:ident, $($path:ident).+) => {
        #[doc = $doc]
        #[must_use]
        pub fn $setter(mut self, values: impl Into<crate::OneOf>) -> Self {
            self.$($path).+ = Some(values.into());
            self
        }
    };
    (@ some $doc:expr, $setter:ident, $($path:ident).+, $type:ty) => {
        #[doc = $doc]
        #[must_use]
        pub fn $setter(mut self, value: $type) -> Self {
            self.$($path).+ = Some(value);
            self
        }
    };
    (@ text $doc:expr, $setter:ident, $($path:ident).+) => {
        #[doc = $doc]
        #[must_use]
        pub fn $setter(mut self, text: impl Into<String>) -> Self {
            self.$($path).+ = Some(text.into());
            self
        }
    };
    (@ list $doc:expr, $setter:ident, $($path:ident).+, $type:ty) => {
        #[doc = $doc]
        #[must_use]
        pub fn $setter<T: Into<$type>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
            self.$($path).+ = items.into_iter().map(Into::into).collect();
            self
        }
    };
    (@ value $doc:expr, $setter:ident, $($path:ident).+, $type:ty) => {
        #[doc = $doc]
        #[must_use]
        pub fn $setter(mut self, value: $type) -> Self {
            self.$($path).+ = value;
            self
        }
    };
}

/// Declares the setters of the filter, for the filter itself or for a query that has one, with those of the query.
macro_rules! filter_setters {
    ($query:ident $($filter:ident)? { $($setters:tt)* }) => {
        crate::query::setters! {
            $query {
                $($setters)*
                values agent_id => $($filter.)? agent_id,
                values call_flow_id => $($filter.)? call_flow_id,
                values batch_id => $($filter.)? batch_id,
                values status => $($filter.)? status,
                values outcome => $($filter.)? outcome,
                some answered => $($filter.)? answered: bool,
                values direction => $($filter.)? direction,
                values call_type => $($filter.)? call_type,
                values from_phone_number => $($filter.)? from_phone_number,
                values to_phone_number => $($filter.)? to_phone_number,
                values phone_number => $($filter.)? phone_number,
                some call_ids => $($filter.)? call_ids: Vec<String>,
                some started_after => $($filter.)? started_after: crate::Timestamp,
                some started_before => $($filter.)? started_before: crate::Timestamp,
                some updated_after => $($filter.)? updated_after: crate::Timestamp,
                some updated_before => $($filter.)? updated_before: crate::Timestamp,
                some min_duration => $($filter.)? min_duration: crate::Seconds,
                some max_duration => $($filter.)? max_duration: crate::Seconds,
                values currency => $($filter.)? currency,
                some min_cost => $($filter.)? min_cost: crate::Amount,
                some max_cost => $($filter.)? max_cost: crate::Amount,
                text search => $($filter.)? search,
                some time_zone => $($filter.)? time_zone: crate::TimeZone,
            }
        }

        impl $query {
            /// The same query, with one more clause on `analyzedData`.
            #[must_use]
            pub fn analysis(mut self, clause: crate::AnalysisClause) -> Self {
                self.$($filter.)? post_analysis.push(clause);
                self
            }

            /// The same query, with one more member of `metadata` and its value; the path of a nested member has dots.
            #[must_use]
            pub fn metadata(mut self, path: impl Into<String>, value: impl Into<String>) -> Self {
                self.$($filter.)? metadata.push((path.into(), value.into()));
                self
            }
        }
    };
}

pub(crate) use {setter, setters};

pub(crate) mod analysis;
pub(crate) mod changes;
pub(crate) mod export;
pub(crate) mod filter;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod metadata;
pub(crate) mod metrics;
pub(crate) mod one_of;
pub(crate) mod query_string;
pub(crate) mod search;
pub(crate) mod update;
