//! Fields that are entities of the event.

use syn::{
    Attribute, Data, DeriveInput, Error, Field, Fields, LitStr, Result, Token, ext::IdentExt,
    spanned::Spanned,
};

use crate::{cases, serde_names};

/// A field that is an entity.
pub(crate) struct Entity {
    /// The name of the field in JSON, by serde's rules.
    pub(crate) field: String,
    /// The kind of the entity.
    pub(crate) kind: String,
    /// Whether the entity is the ordering key.
    pub(crate) is_key: bool,
}

/// Returns the entities of a struct, in the order of its fields.
pub(crate) fn of(input: &DeriveInput) -> Result<Vec<Entity>> {
    let Data::Struct(data) = &input.data else {
        let what = "an event is a struct; for an enum of events derive `Events`";
        return Err(Error::new(input.ident.span(), what));
    };
    let rename_all = serde_names::said(&input.attrs, "rename_all")?;
    let mut entities: Vec<Entity> = Vec::new();
    for field in &data.fields {
        let Some(attribute) = field.attrs.iter().find(|attribute| attribute.path().is_ident("entity")) else {
            continue;
        };
        if !matches!(data.fields, Fields::Named(_)) {
            return Err(Error::new(field.span(), "a field that is an entity has a name"));
        }
        let entity = read(field, attribute, rename_all.as_deref())?;
        if entity.is_key && entities.iter().any(|other| other.is_key) {
            return Err(Error::new(field.span(), "an event has one ordering key"));
        }
        if entities.iter().any(|other| other.kind == entity.kind) {
            return Err(Error::new(field.span(), format!("two fields name a {:?}", entity.kind)));
        }
        entities.push(entity);
    }
    Ok(entities)
}

fn read(field: &Field, attribute: &Attribute, rename_all: Option<&str>) -> Result<Entity> {
    let ident = field.ident.as_ref().map(|ident| ident.unraw().to_string()).unwrap_or_default();
    let (kind, is_key) = said(attribute)?;
    let kind = match kind {
        Some(kind) => kind,
        None => match ident.strip_suffix("_id").filter(|kind| !kind.is_empty()) {
            Some(kind) => cases::camel(kind),
            None => {
                let what =
                    "an entity is a field whose name ends in `_id`, or has a kind: #[entity(\"kind\")]";
                return Err(Error::new(field.span(), what));
            }
        },
    };
    if ["correlation", "causation"].contains(&kind.as_str()) {
        let what = format!("{kind}Id is a member of every event and no entity; say it when you emit");
        return Err(Error::new(field.span(), what));
    }
    Ok(Entity { field: serde_names::of_field(field, &ident, rename_all)?, kind, is_key })
}

/// Parses `#[entity]`, `#[entity("kind")]`, `#[entity(key)]` or `#[entity("kind", key)]`. Returns the kind, and whether
/// the entity is the ordering key.
fn said(attribute: &Attribute) -> Result<(Option<String>, bool)> {
    if matches!(attribute.meta, syn::Meta::Path(_)) {
        return Ok((None, false));
    }
    attribute.parse_args_with(|input: syn::parse::ParseStream<'_>| {
        let (mut kind, mut is_key) = (None, false);
        while !input.is_empty() {
            if input.peek(LitStr) {
                let text: LitStr = input.parse()?;
                if text.value().is_empty() || text.value().ends_with("Id") {
                    let what = "a kind is a member's name without its `Id`, such as \"user\" for userId";
                    return Err(Error::new(text.span(), what));
                }
                kind = Some(text.value());
            } else {
                let word: syn::Ident = input.parse()?;
                if word != "key" {
                    return Err(Error::new(word.span(), "an entity says its kind, as a string, or `key`"));
                }
                is_key = true;
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok((kind, is_key))
    })
}
