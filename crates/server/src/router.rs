//! The router: guards, limits, and the conversion of errors to problems.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawPathParams, Request, State},
    response::Response,
    routing::{MethodRouter, any},
};
use futures_util::FutureExt;
use http::{HeaderValue, Method, header, request::Parts};

use crate::{
    access::Principal,
    app::App,
    call::{Answer, Call},
    guard::{self, REQUEST_ID},
    problem::{Code, Problem},
    query::Query,
    routes::{ROUTES, Route},
    tags,
};

/// Time limit of a request that is not a stream.
const TIME: Duration = Duration::from_secs(30);

/// Returns the router of an application.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut by_path: BTreeMap<&'static str, Vec<&'static Route>> = BTreeMap::new();
    for route in ROUTES {
        by_path.entry(route.path).or_default().push(route);
    }
    let mut router = Router::new();
    for (path, routes) in by_path {
        router = router.route(path, of_path(routes));
    }
    let base = app.options.base_path.clone();
    let router = router.fallback(nothing);
    let router = match base.as_str() {
        "" => router,
        base => Router::new().nest(base, router).fallback(nothing),
    };
    router.with_state(app)
}

/// Returns the routes of one path, which differ by method.
fn of_path(routes: Vec<&'static Route>) -> MethodRouter<Arc<App>> {
    let routes: Arc<[&'static Route]> = routes.into();
    any(move |State(app): State<Arc<App>>, params: RawPathParams, request: Request| {
        let routes = Arc::clone(&routes);
        async move {
            let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            answer(app, request, |method| find(&routes, method), params).await
        }
    })
}

fn find(routes: &[&'static Route], method: &Method) -> Result<&'static Route, Problem> {
    let asked = if method == Method::HEAD { "GET" } else { method.as_str() };
    let found = routes.iter().find(|route| route.verb.as_str() == asked);
    found.copied().ok_or_else(|| {
        let mut allowed: Vec<&str> = routes.iter().map(|route| route.verb.as_str()).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        Problem::new(Code::MethodNotAllowed, format!("this route takes {}", allowed.join(", ")))
            .header(header::ALLOW, &allowed.join(", "))
    })
}

/// Answers a request for an unknown path.
async fn nothing(State(app): State<Arc<App>>, request: Request) -> Response {
    let near = nearest(request.uri().path());
    let missing = |_: &Method| {
        let problem = Problem::new(Code::NoRoute, "there is no route of this path");
        Err(problem.hint(match near {
            Some(path) => format!("did you mean {path}?"),
            None => "the documentation lists the routes".to_owned(),
        }))
    };
    answer(app, request, missing, vec![]).await
}

/// Returns the route with the nearest path to an unknown path, if its edit distance is at most 3.
fn nearest(path: &str) -> Option<&'static str> {
    let path: String = path.chars().take(100).collect();
    let near = ROUTES.iter().map(|route| (strsim::damerau_levenshtein(&path, route.path), route.path)).min();
    near.filter(|(distance, _)| *distance <= 3).map(|(_, path)| path)
}

/// Checks a request, calls its route, and returns the response.
async fn answer(
    app: Arc<App>,
    request: Request,
    route: impl FnOnce(&Method) -> Result<&'static Route, Problem>,
    path: Vec<(String, String)>,
) -> Response {
    let (parts, body) = request.into_parts();
    let id = guard::request_id(&parts.headers);
    let (method, uri) = (parts.method.clone(), parts.uri.path().to_owned());
    let outcome = async {
        let principal = app.tokens.principal(&app.store, &parts.headers).await?;
        guarded(&app, &parts, &principal)?;
        let route = route(&parts.method)?;
        let group = path.iter().find(|(name, _)| name == "group").map(|(_, group)| group.as_str());
        principal.check(route, group)?;
        if app.options.read_only && route.changes() {
            return Err(Problem::new(Code::ReadOnly, "this server is read-only"));
        }
        let query = Query::parse(parts.uri.query(), route.query)?;
        let call = Call { app: Arc::clone(&app), principal, path, query, parts, body };
        within(route, tags::call(route, call, &id)).await
    };
    let mut response = match outcome.await {
        Ok(response) => response,
        Err(problem) => {
            if problem.status().is_server_error() {
                tracing::warn!(request = %id, %method, path = %uri, problem = ?problem, "the request failed");
            }
            problem.answer(&app.options.base_path, &id)
        }
    };
    tracing::debug!(request = %id, %method, path = %uri, status = response.status().as_u16(), "answered");
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::try_from(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn guarded(app: &App, parts: &Parts, principal: &Principal) -> Result<(), Problem> {
    // A browser that reaches this server by a host name of another site has no token.
    if principal.is_local() {
        guard::check_host(&parts.headers, &app.options)?;
    }
    guard::check_site(&parts.method, &parts.headers)?;
    app.rate.as_ref().map_or(Ok(()), |rate| rate.check(principal.key()))
}

/// Applies the time limit to a request that is not a stream, and converts a panic to a problem.
async fn within(route: &Route, call: impl Future<Output = Answer> + Send) -> Answer {
    let call = std::panic::AssertUnwindSafe(call).catch_unwind();
    let done = match route.streams {
        true => call.await,
        false => tokio::time::timeout(TIME, call).await.unwrap_or_else(|_| {
            let said = format!("a request may take {} seconds", TIME.as_secs());
            Ok(Err(Problem::new(Code::Timeout, said)))
        }),
    };
    done.unwrap_or_else(|_| {
        Err(Problem::new(Code::Internal, "the server failed; its log has the request id"))
    })
}
