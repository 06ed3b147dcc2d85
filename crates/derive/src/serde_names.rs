//! The names of a struct's fields in JSON, by its serde attributes.

use syn::{Attribute, Expr, ExprLit, Lit, Result, Token, meta::ParseNestedMeta, parenthesized, token::Paren};

use crate::cases;

/// Returns the value of `#[serde(NAME = "…")]`, if the attribute exists.
pub(crate) fn said(attributes: &[Attribute], name: &str) -> Result<Option<String>> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute.parse_nested_meta(|meta| {
            let is_named = meta.path.is_ident(name);
            match value(&meta)? {
                Some(text) if is_named => found = Some(text),
                None if is_named => return Err(meta.error("give one name for both directions")),
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// Returns the value of an attribute's member if it is a string. Skips any other value.
fn value(meta: &ParseNestedMeta<'_>) -> Result<Option<String>> {
    if meta.input.peek(Token![=]) {
        return Ok(match meta.value()?.parse::<Expr>()? {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        });
    }
    if meta.input.peek(Paren) {
        let inner;
        parenthesized!(inner in meta.input);
        inner.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(None)
}

/// Returns the name of a field in JSON, by serde's rules.
pub(crate) fn of_field(field: &syn::Field, ident: &str, rename_all: Option<&str>) -> Result<String> {
    if let Some(name) = said(&field.attrs, "rename")? {
        return Ok(name);
    }
    match rename_all {
        None => Ok(ident.to_owned()),
        // Serde reports an unknown rule.
        Some(rule) => Ok(cases::renamed(ident, rule).unwrap_or_else(|| ident.to_owned())),
    }
}
