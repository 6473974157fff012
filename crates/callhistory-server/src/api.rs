//! The route table.

mod calls;
mod changes;
mod export;
mod health;
mod import;
mod list;
mod metrics;
mod originals;
mod search;

use std::sync::{Arc, LazyLock};

use axum::Router;
use callhistory_model::ProblemCode;
use tower::layer::layer_fn;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    console,
    error::ApiError,
    faults::{self, Faults},
    http::middleware::RequestLayer,
    openapi::{document, ui},
    state::AppState,
};

/// The routes of the contract, each with its description.
pub(crate) fn contract_routes(base: utoipa::openapi::OpenApi) -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::with_openapi(base)
        .routes(routes!(list::list_calls, calls::create_call))
        .routes(routes!(calls::get_call, calls::replace_call, calls::update_call, calls::delete_call))
        .routes(routes!(originals::list_originals))
        .routes(routes!(originals::get_original))
        .routes(routes!(import::import_calls))
        .routes(routes!(search::search_calls))
        .routes(routes!(export::export_calls))
        .routes(routes!(metrics::get_call_metrics))
        .routes(routes!(changes::list_call_changes))
}

/// The whole service.
pub fn router(app: Arc<AppState>) -> Router {
    service(&app, None)
}

/// The whole service, whose operations meet these faults.
pub fn router_with_faults(app: Arc<AppState>, faults: &Arc<Faults>) -> Router {
    service(&app, Some(faults))
}

/// An empty script of faults.
#[must_use]
pub fn new_faults() -> Arc<Faults> {
    Arc::new(Faults::new(contract_document()))
}

fn service(app: &Arc<AppState>, faults: Option<&Arc<Faults>>) -> Router {
    let (mut contract, _) = contract_routes(document::base()).split_for_parts();
    if let Some(faults) = faults {
        contract = faults::with_faults(contract, faults).merge(faults::routes(faults));
    }
    let mut routes = contract.merge(health::routes()).merge(ui::routes(contract_document()));
    if let Some(options) = &app.console {
        routes = routes.merge(console::routes(options, app.keys.is_some()));
    }
    with_middleware(routes, app, true)
}

/// Adds the fallbacks and the middleware to the routes of an address.
fn with_middleware(routes: Router<Arc<AppState>>, app: &Arc<AppState>, is_api: bool) -> Router {
    let for_layer = Arc::clone(app);
    routes
        .fallback(|| async {
            ApiError::new(ProblemCode::RouteNotFound, "There is no such route; /docs lists them all.")
        })
        .method_not_allowed_fallback(|| async {
            ApiError::new(
                ProblemCode::MethodNotAllowed,
                "This route has no such method; the header Allow lists its methods.",
            )
        })
        // One layer, because each costs a request as much as the rest of its way.
        .layer(layer_fn(move |inner| RequestLayer { app: Arc::clone(&for_layer), is_api, inner }))
        .with_state(Arc::clone(app))
}

/// What operators ask, on an address of its own. It has no records, and monitoring knows it by any name.
pub fn operations_router(app: &Arc<AppState>) -> Router {
    with_middleware(health::operations_routes(), app, false)
}

/// The OpenAPI document, as JSON: sorted keys, two spaces, one newline at the end.
#[must_use]
pub fn contract_document() -> &'static str {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| document::finish(contract_routes(document::base()).split_for_parts().1));
    &DOCUMENT
}

/// The files of the contract by name: the OpenAPI document, and the JSON Schemas of records, lines and changes.
#[must_use]
pub fn contract_files() -> Vec<(String, String)> {
    document::files(contract_document())
}
