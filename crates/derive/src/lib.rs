//! Derive macros of `event-replay`, which re-exports them: use them from there.
//!
//! | macro | on | makes |
//! |---|---|---|
//! | [`Event`] | a struct | a type whose values are events of one type |
//! | [`Events`] | an enum | a handler's payload that is one of several such types |

mod cases;
mod entity;
mod event;
mod events;
mod serde_names;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct the payload of one event type. The struct must implement serde's `Serialize` and `Deserialize`, and schemars'
/// `JsonSchema`.
///
/// ```ignore
/// #[derive(Event, Serialize, Deserialize, JsonSchema)]
/// #[event("order.placed", version = "2.0")]
/// struct OrderPlaced {
///     #[entity(key)]
///     user_id: String,
///     #[entity("shop")]
///     seller: String,
///     cents: u64,
/// }
/// ```
///
/// On the struct, `#[event("TYPE")]` is required. It may say besides:
/// - `version = "2.0"`: the version of the type; `1.0` where nothing is said.
/// - `schema = false`: the schema of the type asks for the entities alone, and `JsonSchema` is not needed.
/// - `crate = "path"`: where the crate `event-replay` is found.
///
/// On a field, `#[entity]` makes it an entity of the event: a member of the event itself instead of its `data`. The field must be a
/// string in JSON, or null. Its kind is its name without `_id`: `target_user_id` names a `targetUser`. Any other kind is given as
/// `#[entity("kind")]`. `#[entity(key)]`, on one field at most, makes it the ordering key: events with an equal value are handled in
/// order, one at a time.
#[proc_macro_derive(Event, attributes(event, entity))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes an enum of event payloads the payload of a handler: it is given events of each of their types.
///
/// ```ignore
/// #[derive(Events)]
/// enum Billing {
///     Placed(OrderPlaced),
///     Captured(PaymentCaptured),
/// }
/// ```
///
/// Each variant holds one type that derives [`Event`]. `#[events(crate = "path")]` says where the crate `event-replay` is found.
#[proc_macro_derive(Events, attributes(events))]
pub fn derive_events(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    events::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
