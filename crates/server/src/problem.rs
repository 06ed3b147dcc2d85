//! Problems: the responses to failed requests, in the format of RFC 9457.

mod code;
mod from;

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

pub(crate) use self::code::{Code, page};

/// Whether the client can solve the problem with a repeat of the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Repeat {
    /// The request fails again until the cause is removed.
    Never,
    /// The fault is temporary.
    Later,
    /// A repeat reveals the result of the first request. The client may send it at once.
    Now,
}

impl From<domain::Retry> for Repeat {
    fn from(retry: domain::Retry) -> Self {
        match retry {
            domain::Retry::Never => Self::Never,
            domain::Retry::Later => Self::Later,
            domain::Retry::ToSettle => Self::Now,
        }
    }
}

/// The response to a failed request.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    hint: Option<String>,
    repeat: Repeat,
    beside: Box<Beside>,
}

/// Parts that few problems have.
#[derive(Debug, Clone, Default)]
struct Beside {
    errors: Vec<Value>,
    more: Map<String, Value>,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    retry: Repeat,
    errors: &'a [Value],
    request_id: &'a str,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

impl Problem {
    /// Creates a problem that a repeat does not solve.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), hint: None, repeat: Repeat::Never, beside: Box::default() }
    }

    /// Sets the hint, which states the next step.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the failed action before the detail.
    #[must_use]
    pub(crate) fn during(mut self, doing: impl std::fmt::Display) -> Self {
        self.detail = format!("{doing}: {}", self.detail);
        self
    }

    /// Sets whether a repeat of the request can help.
    #[must_use]
    pub(crate) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Sets the list of single errors.
    #[must_use]
    pub(crate) fn errors(mut self, errors: impl Serialize) -> Self {
        if let Ok(Value::Array(errors)) = serde_json::to_value(errors) {
            self.beside.errors = errors;
        }
        self
    }

    /// Adds the members of a document. The `errors` member of the document replaces the errors of the problem.
    #[must_use]
    pub(crate) fn with(mut self, document: impl Serialize) -> Self {
        if let Ok(Value::Object(mut members)) = serde_json::to_value(document) {
            if let Some(Value::Array(errors)) = members.remove("errors") {
                self.beside.errors = errors;
            }
            self.beside.more.extend(members);
        }
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub(crate) fn header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.beside.headers.push((name, value));
        }
        self
    }

    /// Sets the number of seconds after which the client may repeat the request.
    #[must_use]
    pub(crate) fn retry_after(self, seconds: f64) -> Self {
        self.header(header::RETRY_AFTER, &format!("{seconds:.0}"))
    }

    /// Whether a repeat of the request can help.
    pub(crate) fn repeats(&self) -> Repeat {
        self.repeat
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.code.status()
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Returns the response. `base` is the path before every route.
    pub(crate) fn answer(&self, base: &str, request_id: &str) -> Response {
        let document = Document {
            kind: format!("{base}/problems/{}", self.code.name()),
            title: self.code.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            code: self.code.name(),
            hint: self.hint.as_deref(),
            retry: self.repeat,
            errors: &self.beside.errors,
            request_id,
            more: &self.beside.more,
        };
        let mut text = Vec::new();
        targets::push_safe_json(&serde_json::to_string(&document).unwrap_or_default(), &mut text);
        text.push(b'\n');
        let mut answer = Response::new(Body::from(text));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.repeat == Repeat::Later {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        for (name, value) in &self.beside.headers {
            headers.insert(name, value.clone());
        }
        answer
    }
}
