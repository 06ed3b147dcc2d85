//! The table of problem codes, and the documentation page of each code.

use http::StatusCode;

macro_rules! codes {
    ($($name:ident $text:literal $status:ident $title:literal $page:literal)*) => {
        /// The code of a problem. The meaning of a code never changes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// All codes.
            pub(crate) const ALL: &[Code] = &[$(Code::$name,)*];

            /// The name of the code in JSON.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status of the code.
            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// A short title.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// The meaning of the code and the next step.
            fn meaning(self) -> &'static str {
                match self { $(Self::$name => $page,)* }
            }
        }
    };
}

codes! {
    BadRequest "bad-request" BAD_REQUEST "The request is malformed"
        "The path, a header or the body cannot be read. The detail says which. Nothing was changed."
    UnknownParameter "unknown-parameter" BAD_REQUEST "The request has an unknown parameter"
        "A query parameter or a member of the body does not exist. The hint names the nearest one. Nothing was changed."
    BadParameter "bad-parameter" BAD_REQUEST "A parameter has a value that it cannot have"
        "The detail names the parameter and the values that it takes. Nothing was changed."
    Unauthorized "unauthorized" UNAUTHORIZED "The request needs a valid token"
        "The request has no token, or one that is unknown, revoked or expired. Send it in the header Authorization: Bearer TOKEN."
    Forbidden "forbidden" FORBIDDEN "The token does not allow the request"
        "The detail names the role or the group that the token lacks. An administrator makes tokens with event-replay tokens create."
    CrossSite "cross-site" FORBIDDEN "The request comes from another site"
        "A web page of another origin sent the request. The server takes requests of programs and of its own pages alone."
    ReadOnly "read-only" FORBIDDEN "The server is read-only"
        "The server was started with --read-only and refuses every request that would change something."
    Gone "gone" GONE "The place is gone"
        "The cursor marks a place that the log no longer has, as after a failover or the restore of a backup. Start again without it."
    Erased "erased" GONE "The event was erased"
        "An event of this id was erased on request. The store refuses its id permanently."
    NotFound "not-found" NOT_FOUND "There is no such thing"
        "No event, group, checkpoint, replay, dead letter or schema has this name. Erased and trimmed events are not found either."
    NoRoute "no-route" NOT_FOUND "There is no such route"
        "The server has no route of this path. /openapi.json lists them all."
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The route does not take this method"
        "The header Allow lists the methods that the route takes."
    Conflict "conflict" CONFLICT "The request contradicts what is there"
        "Another thing has the name or the id, or is in a state that does not allow the request. Nothing was changed."
    PlanChanged "plan-changed" CONFLICT "The plan has changed since it was confirmed"
        "The hash of the request differs from the hash of the present plan. Read the plan again, and confirm its hash. Nothing was changed."
    Stale "stale" PRECONDITION_FAILED "The resource has changed"
        "The header If-Match names another state of the resource. Read it again, and decide again. Nothing was changed."
    StillRunning "still-running" CONFLICT "The first request under this key is still running"
        "A request with the same Idempotency-Key was sent before, and is not answered yet. Send it again later to get the answer of the first."
    KeyReused "key-reused" UNPROCESSABLE_ENTITY "Another request has this key"
        "The Idempotency-Key belongs to a request with another body or other parameters. Keys are kept for 24 hours. Nothing was changed."
    Expired "expired" CONFLICT "The receipt is expired"
        "The delivery was settled before, its deadline has passed, or another instance of the server gave the receipt. The event is delivered again unless it was handled."
    Misdirected "misdirected" MISDIRECTED_REQUEST "The request is for another host"
        "The header Host names a host that the server does not answer for. Start it with --host NAME to allow the name."
    TooLarge "too-large" PAYLOAD_TOO_LARGE "The body is too large"
        "A body has at most 16 MiB, also after it was unpacked. Send it in several requests."
    UnsupportedMedia "unsupported-media" UNSUPPORTED_MEDIA_TYPE "The body has a type that the route does not take"
        "The detail names the types of bodies that the route takes."
    Rejected "rejected" UNPROCESSABLE_ENTITY "Events were refused"
        "Each entry of errors names an event and what is wrong with it. The counts say what was stored."
    Invalid "invalid" UNPROCESSABLE_ENTITY "The request makes no sense"
        "The request can be read, and asks for something that cannot be done. The detail says why. Nothing was changed."
    TooMany "too-many" TOO_MANY_REQUESTS "Too many requests"
        "The server takes no more of these at once. Send the request again after the time that Retry-After says."
    Timeout "timeout" GATEWAY_TIMEOUT "The request took too long"
        "A request may take 30 seconds. Changes that it made by then stay. Ask for less, or send it again."
    Unavailable "unavailable" SERVICE_UNAVAILABLE "The store does not answer"
        "The store cannot be reached, or another process holds its lock. Send the same request again later."
    Unknown "unknown" SERVICE_UNAVAILABLE "The outcome is not known"
        "The answer to a write was lost. Send the same request again: what was stored is recognised and not stored twice."
    Full "full" INSUFFICIENT_STORAGE "The store is full"
        "No space is left. Nothing of this request was written. Free some space, or trim old events."
    Store "store" INTERNAL_SERVER_ERROR "The store failed"
        "The store refuses the write, or is damaged. event-replay health and event-replay verify say more."
    Internal "internal" INTERNAL_SERVER_ERROR "The server failed"
        "This is a fault of the server. Its log has the request id."
}

/// Returns the documentation page of a code, or `None` for an unknown code.
pub(crate) fn page(name: &str) -> Option<String> {
    let code = Code::ALL.iter().find(|code| code.name() == name)?;
    let (title, status, meaning) = (code.title(), code.status(), code.meaning());
    Some(format!("# {title}\n\nCode `{name}`, status {status}.\n\n{meaning}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_with_a_page_and_a_name_of_its_own() {
        for code in Code::ALL {
            assert!(code.status().is_client_error() || code.status().is_server_error(), "{code:?}");
            assert!(page(code.name()).unwrap().contains(code.meaning()), "{code:?}");
            assert_eq!(Code::ALL.iter().filter(|other| other.name() == code.name()).count(), 1);
        }
        assert_eq!(page("nothing"), None);
    }
}
