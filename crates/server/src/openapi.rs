//! The OpenAPI description, generated from the table of routes.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    answer::raw,
    call::{Answer, Call},
    problem::Code,
    routes::{Content, Link, ROUTES, Route, Taken},
    shape::{Shape, object},
};

/// Handles `GET /openapi.json`.
pub(crate) async fn show(call: Call) -> Answer {
    Ok(describe(&call.app.options.base_path))
}

fn describe(base: &str) -> Response {
    let mut description = description();
    if !base.is_empty() {
        description["servers"] = json!([{ "url": base }]);
    }
    raw(StatusCode::OK, "application/json", text(&description))
}

/// Returns the description as `docs/openapi.json` contains it. Each member has its own line, so that a diff is
/// readable.
pub fn openapi() -> String {
    text(&description())
}

fn text(description: &Value) -> String {
    // The serialization of a JSON value cannot fail.
    let mut text = serde_json::to_string_pretty(description).unwrap_or_default();
    text.push('\n');
    text
}

fn description() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.verb.as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Event Replay",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "docs/http.md says what the routes do; docs/cli.md has the members of the documents.",
        },
        "paths": paths,
        "components": {
            "schemas": { "Event": event(), "Problem": problem() },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token that event-replay tokens create made.",
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.about,
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if let Some(role) = route.needs {
        operation["security"] = json!([{"token": [role.as_str()]}, {}]);
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({"required": is_required(body), "content": content(body)});
    }
    operation
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters: Vec<Value> = in_path(route.path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": of_path(name)}))
        .collect();
    for parameter in route.query {
        let shape = parameter.shape.schema();
        let schema = if parameter.repeats { json!({"type": "array", "items": shape}) } else { shape };
        let mut described = json!({
            "name": parameter.name, "in": "query", "description": parameter.about, "schema": schema,
        });
        if parameter.required {
            described["required"] = json!(true);
        }
        if parameter.shape == Shape::Flag {
            described["allowEmptyValue"] = json!(true);
        }
        parameters.push(described);
    }
    if route.keeps_answers() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
            "description": "Names the request. A repeat under the same key gets the recorded answer, for 24 hours.",
        }));
    }
    parameters.extend(conditions(route));
    parameters
}

/// A pattern for `*`, for a list of entity tags, or for nothing.
const TAGS: &str = r#"^(|\*|(W/)?"[!#-+\-~]*"(, *(W/)?"[!#-+\-~]*")*)$"#;

/// Returns the headers with entity tags that a route takes.
fn conditions(route: &Route) -> impl Iterator<Item = Value> {
    let known =
        ("If-None-Match", "The entity tag of a known document. The same document is not sent again: 304.");
    let same = (
        "If-Match",
        "The entity tag of the resource. If the resource has another tag, nothing is changed: 412.",
    );
    let known = route.tagged.map(|_| known);
    let same = route.resource().map(|_| same);
    known.into_iter().chain(same).map(|(name, about)| {
        let schema = json!({"type": "string", "pattern": TAGS});
        json!({"name": name, "in": "header", "description": about, "schema": schema})
    })
}

/// Returns the schema of a placeholder in a path.
fn of_path(name: &str) -> Value {
    match name {
        "code" => json!({"type": "string", "enum": codes()}),
        "group" => Shape::Group.schema(),
        _ => Shape::Name.schema(),
    }
}

fn responses(route: &Route) -> Value {
    let problem = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    let mut responses = json!({
        "4XX": {"description": "It was refused.", "content": problem},
        "5XX": {"description": "It failed.", "content": problem},
    });
    for status in route.statuses {
        responses[status.to_string()] = response(route, *status);
    }
    if route.tagged.is_some() {
        responses["304"] = json!({"description": "The document is the same."});
    }
    responses
}

fn response(route: &Route, status: u16) -> Value {
    let said = match status {
        200 => "It is done.",
        204 => return json!({"description": "It has no content: the headers say all."}),
        201 => "It was made.",
        202 => "It was accepted, and is done later.",
        _ => "Something is unhealthy.",
    };
    let content: Map<String, Value> =
        route.gives.iter().map(|content| (content.media.to_owned(), media(content))).collect();
    let mut response = json!({"description": said, "content": content});
    let links: Map<String, Value> = route.links.iter().flat_map(links).collect();
    if !links.is_empty() {
        response["links"] = links.into();
    }
    response
}

fn media(content: &Content) -> Value {
    match content.kind {
        // Every list is a list of objects. Generators of clients need the items.
        Some("array") => json!({"schema": {"type": "array", "items": {"type": "object"}}}),
        Some(kind) => json!({"schema": {"type": kind}}),
        None => json!({}),
    }
}

/// Returns the links to the routes of a path and below it, by the names of their operations.
fn links(link: &Link) -> impl Iterator<Item = (String, Value)> {
    let Link { path, pointer } = *link;
    let placeholder = in_path(path).last().unwrap_or_default();
    let is_below = move |route: &&Route| {
        route.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    ROUTES.iter().filter(is_below).map(move |route| {
        let id = id(route);
        let parameters = json!({placeholder: format!("$response.body#{pointer}")});
        (id.clone(), json!({"operationId": id, "parameters": parameters}))
    })
}

/// Returns the names in braces in a path.
fn in_path(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// Returns the operation id of a route for generated clients, such as `getV1GroupsGroup`.
fn id(route: &Route) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut id = route.verb.as_str().to_ascii_lowercase();
    for word in words {
        let (first, rest) = word.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
    }
    id
}

/// Whether a request without a body is refused.
fn is_required(body: Taken) -> bool {
    match body {
        Taken::Object(members) => members.iter().any(|member| member.required),
        Taken::List(..) | Taken::Events => true,
    }
}

fn content(body: Taken) -> Value {
    match body {
        Taken::Object(members) => json!({"application/json": {"schema": object(members)}}),
        Taken::List(members, most) => {
            let schema = json!({"type": "array", "items": object(members), "maxItems": most});
            json!({"application/json": {"schema": schema}})
        }
        // Generated clients send the first media type. CloudEvents, arrays and several events in a body are for other clients.
        Taken::Events => json!({
            "application/json": {"schema": {"$ref": "#/components/schemas/Event"}},
            "application/x-ndjson": {"schema": {"type": "string", "pattern": "[!-~]"}},
        }),
    }
}

/// Returns the schema of an event. The parameter `service` can stand for the source.
fn event() -> Value {
    let name = Shape::Name.schema();
    json!({
        "type": "object",
        "required": ["id", "type", "version", "timestamp", "metadata"],
        "properties": {
            "id": name,
            "type": name,
            "version": name,
            "source": name,
            "timestamp": {"type": "string", "format": "date-time"},
            "metadata": {"type": "object", "additionalProperties": true},
            "data": {},
        },
        // Entities are further members, such as userId. Generated clients drop members that are not permitted in words.
        "additionalProperties": true,
        "examples": [{
            "id": "evt-1",
            "type": "user.registered",
            "version": "1.0",
            "timestamp": "2024-01-15T10:30:00Z",
            "source": "user-service",
            "correlationId": "c-1",
            "userId": "user-1",
            "metadata": {},
            "data": {"email": "user-1@example.com", "registrationMethod": "email"},
        }],
    })
}

fn codes() -> Vec<&'static str> {
    Code::ALL.iter().map(|code| code.name()).collect()
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "retry", "errors", "requestId"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": codes()},
            "hint": {"type": "string"},
            "retry": {"type": "string", "enum": ["never", "later", "now"]},
            "errors": {"type": "array", "items": {"type": "object"}},
            "requestId": {"type": "string"},
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_its_parameters() {
        let ids: BTreeSet<String> = ROUTES.iter().map(id).collect();
        assert_eq!(ids.len(), ROUTES.len());
        assert!(ids.contains("getV1GroupsGroup") && ids.contains("postV1GroupsGroupSettle"), "{ids:?}");
        let all = description();
        let found = &all["paths"]["/v1/checkpoints/{checkpoint}/diff"]["get"]["parameters"];
        let names: Vec<&str> =
            found.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["checkpoint", "to"]);
        assert_eq!(found[1]["required"], json!(true));
    }

    #[test]
    fn an_answer_leads_to_the_routes_about_what_it_names() {
        for link in ROUTES.iter().flat_map(|route| route.links) {
            assert!(links(link).next().is_some(), "{}", link.path);
        }
        let all = description();
        let made = &all["paths"]["/v1/groups"]["post"]["responses"]["201"]["links"];
        assert_eq!(made["getV1GroupsGroup"]["parameters"], json!({"group": "$response.body#/name"}));
        assert!(made["postV1GroupsGroupFetch"].is_object(), "{made:#}");
        assert!(made["getV1Groups"].is_null(), "{made:#}");
    }

    #[test]
    fn a_route_that_takes_a_body_changes_something() {
        for route in ROUTES {
            assert!(route.changes() || route.body.is_none(), "{}", route.path);
        }
    }
}
