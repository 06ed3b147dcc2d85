//! Derive macros of `event-replay`. Use them from `event-replay`, which re-exports them.
//!
//! | macro | on | result |
//! |---|---|---|
//! | [`Event`] | a struct | a type whose values are events of one type |
//! | [`Events`] | an enum | a payload of a handler for events of several types |

mod cases;
mod entity;
mod event;
mod events;
mod serde_names;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct the payload of one event type. The struct must implement serde's `Serialize` and `Deserialize`, and
/// schemars' `JsonSchema`.
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
/// The struct needs `#[event("TYPE")]`. The attribute has these options:
/// - `version = "2.0"`: the version of the type. The default is `1.0`.
/// - `schema = false`: the schema of the type requires only the entities, and `JsonSchema` is not needed.
/// - `crate = "path"`: the path of the crate `event-replay`.
///
/// `#[entity]` on a field makes the field an entity of the event: a member of the event itself instead of its `data`.
/// The field must be a string in JSON, or null. The kind of the entity is the name of the field without `_id`:
/// `target_user_id` names a `targetUser`. `#[entity("kind")]` sets another kind. `#[entity(key)]`, on one field at
/// most, makes the entity the ordering key. Events with an equal ordering key are handled in order, one at a time.
#[proc_macro_derive(Event, attributes(event, entity))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes an enum of event payloads the payload of a handler. The handler gets the events of all these types.
///
/// ```ignore
/// #[derive(Events)]
/// enum Billing {
///     Placed(OrderPlaced),
///     Captured(PaymentCaptured),
/// }
/// ```
///
/// Each variant holds one type that derives [`Event`]. `#[events(crate = "path")]` sets the path of the crate
/// `event-replay`.
#[proc_macro_derive(Events, attributes(events))]
pub fn derive_events(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    events::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
