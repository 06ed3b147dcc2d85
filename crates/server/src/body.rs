//! Request bodies. A size limit applies to the compressed and to the decompressed body.

use std::{fmt, io::Read};

use axum::body::{Body, Bytes};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

use crate::problem::{Code, Problem};

/// Maximum size of a body in bytes, compressed or not.
pub(crate) const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Reads a whole body, and decompresses it if `Content-Encoding` names a compression.
pub(crate) async fn read(body: Body, headers: &HeaderMap) -> Result<Bytes, Problem> {
    let coding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?").to_owned());
    let read = Limited::new(body, MAX_BYTES).collect().await;
    let packed = read.map(http_body_util::Collected::to_bytes).map_err(|error| {
        match error.downcast_ref::<LengthLimitError>() {
            Some(_) => too_large(),
            None => Problem::new(Code::BadRequest, format!("the body cannot be read: {error}")),
        }
    })?;
    let unpack: fn(&[u8]) -> std::io::Result<Vec<u8>> = match coding.as_deref().map(str::trim) {
        None | Some("identity" | "") => return Ok(packed),
        Some("gzip" | "x-gzip") => |packed| bounded(flate2::read::MultiGzDecoder::new(packed)),
        Some("zstd") => |packed| bounded(zstd::Decoder::new(packed)?),
        Some(_) => {
            return Err(Problem::new(
                Code::UnsupportedMedia,
                "the body is packed in a way that is not known",
            )
            .hint("Content-Encoding is gzip or zstd"));
        }
    };
    let unpacked = tokio::task::spawn_blocking(move || unpack(&packed)).await;
    match unpacked {
        Ok(Ok(bytes)) if bytes.len() > MAX_BYTES => Err(too_large()),
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => {
            Err(Problem::new(Code::BadRequest, format!("the body cannot be unpacked: {error}")))
        }
        Err(lost) => Err(Problem::new(Code::Internal, format!("unpacking the body ended early: {lost}"))),
    }
}

/// Reads at most one byte more than the limit, because a small compressed body may decompress to any size.
fn bounded(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

fn too_large() -> Problem {
    Problem::new(Code::TooLarge, format!("a body has at most {MAX_BYTES} bytes, also after it was unpacked"))
        .hint("send it in several requests")
}

/// Returns the media type of a body without its parameters, or `None` if the request has no `Content-Type`.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("?");
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// Refuses a body with a media type other than JSON. An HTML form of another site cannot send JSON without a CORS
/// preflight request.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    match media_type(headers).as_deref() {
        None | Some("application/json") => Ok(()),
        Some(other) => Err(unsupported(other, "application/json")),
    }
}

/// Returns the problem for a media type that the route does not accept.
pub(crate) fn unsupported(media: &str, taken: &str) -> Problem {
    Problem::new(Code::UnsupportedMedia, format!("this route takes {taken}, not {media:?}"))
        .hint("set the header Content-Type")
}

/// A whole number in a body. JSON has one type of numbers, so `5.0` is the whole number 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whole(pub(crate) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 0")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
        Ok(Whole(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
        /// The first number above all numbers of 64 bits.
        const BEYOND: f64 = 18_446_744_073_709_551_616.0;
        match number.fract() == 0.0 && (0.0..BEYOND).contains(&number) {
            // The cast is lossless, because the number is whole and in range.
            true => Ok(Whole(number as u64)),
            false => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed_by(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, http::HeaderValue::from_static(coding))])
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        for (text, number) in
            [("5", 5), ("5.0", 5), ("5e2", 500), ("0", 0), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(serde_json::from_str::<Whole>(text).unwrap(), Whole(number), "{text}");
        }
        for text in ["5.5", "-1", "-1.0", "1e20", "\"5\"", "true", "[]"] {
            assert!(serde_json::from_str::<Whole>(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_small_packed_body_that_unpacks_to_more_than_the_limit_is_refused() {
        let bomb = gzip(&vec![0; MAX_BYTES + 1]);
        assert!(bomb.len() < MAX_BYTES / 100);
        let refused = read(Body::from(bomb), &packed_by("gzip")).await.unwrap_err();
        assert_eq!(refused.code(), Code::TooLarge);
        let whole = read(Body::from(gzip(&vec![7; MAX_BYTES])), &packed_by("gzip")).await.unwrap();
        assert_eq!(whole.len(), MAX_BYTES);
    }

    #[tokio::test]
    async fn both_codings_are_unpacked_and_others_refused() {
        let zstd = zstd::encode_all(&b"text"[..], 3).unwrap();
        for (coding, packed) in [("zstd", zstd), ("gzip", gzip(b"text")), ("identity", b"text".to_vec())] {
            assert_eq!(read(Body::from(packed), &packed_by(coding)).await.unwrap(), "text", "{coding}");
        }
        let refused = read(Body::from("text"), &packed_by("br")).await.unwrap_err();
        assert_eq!(refused.code(), Code::UnsupportedMedia);
        let refused = read(Body::from("text"), &packed_by("gzip")).await.unwrap_err();
        assert_eq!(refused.code(), Code::BadRequest);
    }
}
