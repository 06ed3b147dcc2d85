//! The data of a CloudEvent. The same content becomes the same member of an event in every mode.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::value::{RawValue, to_raw_value};

/// The media type of data in a JSON document without `datacontenttype`.
pub(super) const JSON: &str = "application/json";

/// The data of a CloudEvent, in the form in which the event keeps it.
#[derive(Debug, Clone)]
pub(super) enum Data {
    /// A JSON value, of a JSON media type.
    Json(Box<RawValue>),
    /// A JSON string with the text of another media type.
    Text(Box<RawValue>),
    /// Other bytes, in base64.
    Base64(String),
}

impl Data {
    /// Returns the data of the member `data` in a JSON document. Text may be empty or null, which is no data.
    ///
    /// # Errors
    /// Returns a message when the media type is not JSON and the value is not a string.
    pub(super) fn of_value(value: &RawValue, media: Option<&str>) -> Result<Option<Self>, String> {
        let Some(media) = media.filter(|media| !is_json(media)) else {
            return Ok(Some(Self::Json(value.to_owned())));
        };
        if value.get() == "null" {
            return Ok(None);
        }
        match serde_json::from_str::<String>(value.get()) {
            Ok(text) if is_text(text.as_bytes()) => Ok(Some(Self::Text(value.to_owned()))),
            Ok(text) => Self::of_bytes(text.as_bytes(), Some(media)),
            Err(_) => Err(format!(
                "data of the media type {media:?} must be a JSON string here; send a string or data_base64, or name a JSON type in datacontenttype"
            )),
        }
    }

    /// Returns the data of a body, or of the member `data_base64`. Empty bytes are no data. Bytes without a media type
    /// are not interpreted.
    ///
    /// # Errors
    /// Returns a message when the media type is JSON and the bytes are not.
    pub(super) fn of_bytes(bytes: &[u8], media: Option<&str>) -> Result<Option<Self>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let data = match media {
            Some(media) if is_json(media) => Self::Json(
                serde_json::from_slice(bytes).map_err(|error| format!("its data is not JSON: {error}"))?,
            ),
            Some(_) if is_text(bytes) => {
                let text = to_raw_value(&String::from_utf8_lossy(bytes));
                Self::Text(text.map_err(|error| error.to_string())?)
            }
            _ => Self::Base64(STANDARD.encode(bytes)),
        };
        Ok(Some(data))
    }

    /// Whether the data has these bytes. White space around JSON is no part of the data.
    pub(super) fn has_bytes(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Json(value) => value.get().as_bytes() == bytes.trim_ascii(),
            Self::Text(value) => {
                serde_json::from_str::<String>(value.get()).is_ok_and(|text| text.as_bytes() == bytes)
            }
            Self::Base64(text) => *text == STANDARD.encode(bytes),
        }
    }
}

/// Returns the bytes of a JSON string in base64, or `None` for any other value.
pub(super) fn bytes_of(value: &RawValue) -> Option<Vec<u8>> {
    STANDARD.decode(serde_json::from_str::<String>(value.get()).ok()?).ok()
}

/// Whether a media type declares JSON: its subtype is `json` or ends with `+json`.
pub(super) fn is_json(media: &str) -> bool {
    let plain = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = plain.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

/// Whether bytes are text: UTF-8 that is not empty and has no control characters except tabs and line breaks.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    !bytes.is_empty() && std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_media_type_is_json_by_its_subtype() {
        for (media, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/json", true),
            ("image/json", true),
            ("application/vnd.x+json", true),
            ("application/jsonl", false),
            ("application/x-ndjson", false),
            ("text/plain; format=json", false),
            ("json", false),
            ("", false),
        ] {
            assert_eq!(is_json(media), expected, "{media}");
        }
    }

    #[test]
    fn the_same_content_has_the_same_form_in_every_mode() {
        for (value, bytes, media) in [
            (r#""h\u00e9llo\n""#, "héllo\n".as_bytes(), "text/plain"),
            (r#""a\u0000b""#, b"a\0b", "application/octet-stream"),
            ("[1.10]", b" [1.10] ", "application/x+json"),
            (r#""""#, b"", "text/plain"),
        ] {
            let sent = Data::of_value(&raw(value), Some(media)).unwrap();
            let body = Data::of_bytes(bytes, Some(media)).unwrap();
            assert_eq!(sent.as_ref().map(std::mem::discriminant), body.as_ref().map(std::mem::discriminant));
            for data in sent.iter().chain(&body) {
                assert!(data.has_bytes(bytes), "{data:?}");
                assert!(!data.has_bytes(b"other"), "{data:?}");
            }
        }
        assert!(Data::of_value(&raw("{}"), Some("text/plain")).unwrap_err().contains("\"text/plain\""));
        assert!(Data::of_bytes(b"{", Some("application/json")).unwrap_err().contains("not JSON"));
    }
}
