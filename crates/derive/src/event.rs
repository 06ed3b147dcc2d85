//! `#[derive(Event)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, LitBool, LitStr, Path, Result, Token, parse::ParseStream, parse_quote};

use crate::entity::{self, Entity};

/// The content of `#[event(…)]`.
struct Said {
    event_type: LitStr,
    version: Option<LitStr>,
    schema: bool,
    krate: Path,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Said { event_type, version, schema, krate } = said(input)?;
    let entities = entity::of(input)?;
    let entities = entities.iter().map(|Entity { field, kind, is_key }| {
        quote! { #krate::EntityField { field: #field, kind: #kind, is_key: #is_key } }
    });
    let version = version.map(|version| quote! { const VERSION: &'static str = #version; });
    let schema = schema.then(|| {
        quote! {
            fn data_schema() -> ::core::option::Option<#krate::__private::Value> {
                ::core::option::Option::Some(#krate::__private::schema_of::<Self>())
            }
        }
    });
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics #krate::TypedEvent for #name #arguments #bounds {
            const TYPE: &'static str = #event_type;
            #version
            const ENTITIES: &'static [#krate::EntityField] = &[#(#entities),*];
            #schema
        }
    })
}

fn said(input: &DeriveInput) -> Result<Said> {
    let attribute = input.attrs.iter().find(|attribute| attribute.path().is_ident("event"));
    let attribute = attribute.ok_or_else(|| {
        Error::new(input.ident.span(), "say the type of the event: #[event(\"order.placed\")]")
    })?;
    attribute.parse_args_with(|input: ParseStream<'_>| {
        let event_type: LitStr = input.parse()?;
        check(&event_type)?;
        let mut said = Said { event_type, version: None, schema: true, krate: parse_quote!(::event_replay) };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            said.member(input)?;
        }
        Ok(said)
    })
}

impl Said {
    fn member(&mut self, input: ParseStream<'_>) -> Result<()> {
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            self.krate = input.parse::<LitStr>()?.parse()?;
            return Ok(());
        }
        let name: syn::Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        match name.to_string().as_str() {
            "version" => {
                let version = input.parse()?;
                check(&version)?;
                self.version = Some(version);
            }
            "schema" => self.schema = input.parse::<LitBool>()?.value(),
            _ => {
                let what = "after the type an event says `version`, `schema` or `crate`";
                return Err(Error::new(name.span(), what));
            }
        }
        Ok(())
    }
}

/// Checks a type or a version: 1 to 128 bytes, without NUL.
fn check(name: &LitStr) -> Result<()> {
    let text = name.value();
    match (1..=128).contains(&text.len()) && !text.contains('\0') {
        true => Ok(()),
        false => Err(Error::new(name.span(), "this has 1 to 128 bytes, and no NUL character")),
    }
}
