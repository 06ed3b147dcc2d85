//! Events as Rust types: the conversion between values and events.

use domain::{Event, NewEvent, event::FIRST_VERSION};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::payload::{DecodeError, Payload};

/// A field of a [`TypedEvent`] that is an entity. It becomes a member of the event instead of a member of its `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityField {
    /// The name of the field in serde.
    pub field: &'static str,
    /// The kind of the entity: `user` for the member `userId`.
    pub kind: &'static str,
    /// Whether the member is the ordering key of the type.
    pub is_key: bool,
}

impl EntityField {
    /// Returns the name of the member in the event.
    pub fn member(&self) -> String {
        format!("{}Id", self.kind)
    }
}

/// A Rust type for the events of one event type. With the feature `derive`, `#[derive(Event)]` implements this trait.
///
/// ```
/// # #[cfg(feature = "derive")] {
/// use event_replay::prelude::*;
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize, JsonSchema)]
/// #[event("order.placed")]
/// struct OrderPlaced {
///     #[entity(key)]
///     user_id: String,
///     #[entity]
///     order_id: String,
///     #[schemars(range(min = 1))]
///     cents: u64,
/// }
/// assert_eq!((OrderPlaced::TYPE, OrderPlaced::VERSION), ("order.placed", "1.0"));
/// # }
/// ```
pub trait TypedEvent: Serialize + DeserializeOwned + Send + 'static {
    /// The event type.
    const TYPE: &'static str;
    /// The version of the event type.
    const VERSION: &'static str = FIRST_VERSION;
    /// The fields that are entities.
    const ENTITIES: &'static [EntityField] = &[];

    /// Returns the JSON Schema of the values, entities included. `None`: any content is valid.
    fn data_schema() -> Option<Value> {
        None
    }
}

/// A value that can be emitted: a [`TypedEvent`], or a [`NewEvent`] that was built member by member.
pub trait IntoEvent {
    /// Converts the value to a new event.
    ///
    /// # Errors
    /// Returns [`EncodeError`] when the value cannot be written as JSON, or when a field that is an entity is neither a
    /// string nor null.
    fn into_event(self) -> Result<NewEvent, EncodeError>;
}

/// The reason for which a value cannot be converted to an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The value cannot be written as JSON.
    #[error("a value of {event_type} cannot be written as JSON: {reason}")]
    Unwritable {
        /// The event type.
        event_type: String,
        /// The error of serde.
        reason: String,
    },
    /// A field that is an entity is neither a string nor null.
    #[error("the field {field:?} of {event_type} is an entity and must be a string in JSON; this is {found}")]
    NotAString {
        /// The event type.
        event_type: String,
        /// The field.
        field: String,
        /// The JSON type that was found.
        found: &'static str,
    },
}

impl EncodeError {
    /// Returns a short stable name of the error, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unwritable { .. } => "unwritable",
            Self::NotAString { .. } => "entity-not-a-string",
        }
    }
}

impl IntoEvent for NewEvent {
    fn into_event(self) -> Result<NewEvent, EncodeError> {
        Ok(self)
    }
}

impl<T: TypedEvent> IntoEvent for T {
    fn into_event(self) -> Result<NewEvent, EncodeError> {
        let mut data = serde_json::to_value(&self).map_err(|error| EncodeError::Unwritable {
            event_type: T::TYPE.to_owned(),
            reason: error.to_string(),
        })?;
        let mut event = Event::new(T::TYPE).version(T::VERSION);
        for entity in T::ENTITIES {
            match data.as_object_mut().and_then(|members| members.remove(entity.field)) {
                Some(Value::String(id)) => event = event.entity(entity.kind, id),
                None | Some(Value::Null) => {}
                Some(other) => return Err(not_a_string::<T>(entity, &other)),
            }
        }
        Ok(event.data(&data))
    }
}

fn not_a_string<T: TypedEvent>(entity: &EntityField, found: &Value) -> EncodeError {
    let found = match found {
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Array(_) => "an array",
        _ => "an object",
    };
    EncodeError::NotAString { event_type: T::TYPE.to_owned(), field: entity.field.to_owned(), found }
}

impl<T: TypedEvent> Payload for T {
    fn types() -> Vec<String> {
        vec![T::TYPE.to_owned()]
    }

    fn decode(event: &Event) -> Result<Self, DecodeError> {
        if event.event_type() != T::TYPE {
            return Err(DecodeError::unexpected_type::<T>(event));
        }
        decode::<T>(event).map_err(|error| DecodeError::new::<T>(event, &error))
    }
}

/// Decodes the data of an event, with the entities put back into their fields.
fn decode<T: TypedEvent>(event: &Event) -> Result<T, serde_json::Error> {
    let mut members: Map<String, Value> = serde_json::from_str(event.json())?;
    let mut data = members.remove("data").unwrap_or_default();
    if data.is_null() && !T::ENTITIES.is_empty() {
        data = Value::Object(Map::new());
    }
    if let Value::Object(fields) = &mut data {
        for entity in T::ENTITIES {
            if let Some(id) = members.remove(&entity.member()).filter(|id| !id.is_null()) {
                fields.insert(entity.field.to_owned(), id);
            }
        }
    }
    serde_json::from_value(data)
}
