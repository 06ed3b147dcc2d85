//! The OpenAPI description, generated from the table of routes.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::{
    answer::raw,
    call::{Answer, Call},
    problem::Code,
    routes::{ROUTES, Route, Taken},
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
            "schemas": { "Problem": problem() },
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
    let mut parameters: Vec<Value> = in_path(route.path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    for parameter in route.query {
        let schema = match parameter.repeats {
            true => json!({"type": "array", "items": {"type": "string"}}),
            false => json!({"type": "string"}),
        };
        parameters.push(json!({
            "name": parameter.name, "in": "query", "description": parameter.about, "schema": schema,
        }));
    }
    if route.keeps_answers() {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 128},
            "description": "Names the request. A repeat under the same key gets the recorded answer, for 24 hours.",
        }));
    }
    let problem = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.about,
        "parameters": parameters,
        "responses": {
            "2XX": {"description": "It is done."},
            "4XX": {"description": "It was refused.", "content": problem},
            "5XX": {"description": "It failed.", "content": problem},
        },
    });
    if let Some(role) = route.needs {
        operation["security"] = json!([{"token": [role.as_str()]}, {}]);
    }
    if let Some(body) = route.body {
        operation["requestBody"] = json!({"required": true, "content": content(body)});
    }
    operation
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

fn content(body: Taken) -> Value {
    match body {
        Taken::Object(members) => {
            let properties: Map<String, Value> =
                members.iter().map(|member| ((*member).to_owned(), json!({}))).collect();
            let schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
            json!({"application/json": {"schema": schema}})
        }
        Taken::List => {
            json!({"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}})
        }
        Taken::Events => json!({
            "application/json": {"schema": {"type": ["object", "array"]}},
            "application/x-ndjson": {"schema": {"type": "string"}},
            "application/cloudevents+json": {"schema": {"type": "object"}},
            "application/cloudevents-batch+json": {"schema": {"type": "array", "items": {"type": "object"}}},
        }),
    }
}

fn problem() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "retry", "errors", "requestId"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string", "enum": codes},
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
    }

    #[test]
    fn a_route_that_takes_a_body_changes_something() {
        for route in ROUTES {
            assert!(route.changes() || route.body.is_none(), "{}", route.path);
        }
    }
}
