//! CloudEvents in binary mode: the attributes are headers, and the body is the data.

use axum::body::Bytes;
use http::{HeaderMap, HeaderValue, header};
use percent_encoding::percent_decode_str;
use serde_json::value::RawValue;

use super::{
    CloudEvent, VERSION,
    content::Data,
    media_of,
    names::{self, MEDIA},
};

/// The prefix of the headers that carry attributes.
pub(super) const PREFIX: &str = "ce-";

/// Parses the event of a request.
///
/// # Errors
/// Returns a message with the reason why the headers or the body are not valid.
pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<CloudEvent, String> {
    let mut attributes = Vec::new();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else { continue };
        let mut values = headers.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(format!("the header {name} occurs twice"));
        };
        let value = decoded(value).map_err(|error| format!("the header {name}: {error}"))?;
        match attribute {
            "specversion" if value == VERSION => {}
            "specversion" => {
                return Err(format!("specversion is {value:?}, and {VERSION:?} is understood"));
            }
            MEDIA => {
                return Err("the type of its data is in the header Content-Type, not in ce-datacontenttype"
                    .to_owned());
            }
            _ => {
                names::check(attribute)?;
                attributes.push((attribute.to_owned(), text(&value)?));
            }
        }
    }
    if let Some(media) = headers.get(header::CONTENT_TYPE) {
        let media = media.to_str().map_err(|_| "the header Content-Type is not ASCII".to_owned())?;
        attributes.push((MEDIA.to_owned(), text(media)?));
    }
    let data = data_of(body, media_of(&attributes)?.as_deref())?;
    Ok(CloudEvent { attributes, data })
}

/// Returns the data of a body. A body of JSON needs no media type.
fn data_of(body: &[u8], media: Option<&str>) -> Result<Option<Data>, String> {
    if media.is_none()
        && let Ok(value) = serde_json::from_slice(body)
    {
        return Ok(Some(Data::Json(value)));
    }
    Data::of_bytes(body, media)
}

/// Returns a text as a JSON string.
fn text(value: &str) -> Result<Box<RawValue>, String> {
    serde_json::value::to_raw_value(value).map_err(|error| error.to_string())
}

/// Returns the value of an attribute in a header. Quotes are removed, and percent-encoding is decoded once.
fn decoded(value: &HeaderValue) -> Result<String, String> {
    let value =
        value.to_str().map_err(|_| "it has characters that are not ASCII; encode them with %".to_owned())?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let plain = match quoted {
        None => value.to_owned(),
        Some(inner) => unescaped(inner),
    };
    let decoded = percent_decode_str(&plain).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| "it is not UTF-8 once it is decoded".to_owned())
}

/// Removes the backslashes from a quoted string.
fn unescaped(quoted: &str) -> String {
    let mut plain = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

/// Encodes a text as a header value. Characters that a header cannot carry are percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '!'..='~' if c != '"' && c != '%' => value.push(c),
            _ => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    value.push_str(&format!("%{byte:02X}"));
                }
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_headers_are_unquoted_and_decoded_once() {
        for (value, expected) in [
            ("plain", "plain"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("%41b%2541", "Ab%41"),
            ("\"a \\\"b\\\" c\"", "a \"b\" c"),
            ("100%", "100%"),
            ("caf%c3%a9", "café"),
        ] {
            assert_eq!(decoded(&HeaderValue::from_static(value)).unwrap(), expected);
        }
        for value in ["%C0%A0", "%FF"] {
            assert!(decoded(&HeaderValue::from_static(value)).is_err(), "{value}");
        }
        assert!(decoded(&HeaderValue::from_bytes("ü".as_bytes()).unwrap()).is_err());
    }

    #[test]
    fn every_text_comes_back_from_a_header() {
        for text in ["", "plain", "Euro € 😀", "a \"b\" %41", "tab\tline\nnul\0", "\u{7f}\u{202e}"] {
            let value = HeaderValue::try_from(encoded(text)).unwrap();
            assert_eq!(decoded(&value).unwrap(), text);
        }
    }
}
