//! `#[derive(Events)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Data, DeriveInput, Error, Fields, Ident, LitStr, Path, Result, Token, Type, parse::ParseStream,
    parse_quote, spanned::Spanned,
};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let krate = said(input)?;
    let variants = variants(input)?;
    let types = variants.iter().map(|(_, payload)| payload);
    let arms = variants.iter().map(|(variant, payload)| {
        quote! {
            if event_type == <#payload as #krate::TypedEvent>::TYPE {
                return <#payload as #krate::Payload>::decode(event).map(Self::#variant);
            }
        }
    });
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics #krate::Payload for #name #arguments #bounds {
            fn types() -> ::std::vec::Vec<::std::string::String> {
                ::std::vec![#(<#types as #krate::TypedEvent>::TYPE.to_owned()),*]
            }

            fn decode(event: &#krate::Event) -> ::core::result::Result<Self, #krate::DecodeError> {
                let event_type = event.event_type();
                #(#arms)*
                ::core::result::Result::Err(#krate::DecodeError::unexpected_type::<Self>(event))
            }
        }
    })
}

fn said(input: &DeriveInput) -> Result<Path> {
    let Some(attribute) = input.attrs.iter().find(|attribute| attribute.path().is_ident("events")) else {
        return Ok(parse_quote!(::event_replay));
    };
    attribute.parse_args_with(|input: ParseStream<'_>| {
        input.parse::<Token![crate]>()?;
        input.parse::<Token![=]>()?;
        input.parse::<LitStr>()?.parse()
    })
}

fn variants(input: &DeriveInput) -> Result<Vec<(&Ident, &Type)>> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(
            input.ident.span(),
            "several events are an enum; for one event derive `Event`",
        ));
    };
    if data.variants.is_empty() {
        return Err(Error::new(input.ident.span(), "an enum of events has a variant"));
    }
    data.variants
        .iter()
        .map(|variant| match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                Ok((&variant.ident, &fields.unnamed[0].ty))
            }
            _ => Err(Error::new(variant.span(), "a variant holds one event, as in Placed(OrderPlaced)")),
        })
        .collect()
}
