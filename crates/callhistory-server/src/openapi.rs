//! The contract: responses, parameters and examples that handlers refer to, the document, and its reference page.

pub(crate) mod document;
mod examples;
mod query_parameters;
pub(crate) mod responses;
pub(crate) mod ui;
