//! Responses in their frames: header and body.
//!
//! Not here: the frame's size when reading ([`frame`](crate::frame) has cut it off). What always
//! holds: a frame is read whole or refused.

use bytes::Bytes;

use crate::ErrorCode;
use crate::api::{ApiKey, Response};
use crate::codec::{Encoded, Input, Malformed, Output};
use crate::request::RequestHeader;

/// A frame that is not the response awaited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{api} response, version {version}: {malformed}")]
pub struct ResponseError {
    /// The API asked.
    pub api: ApiKey,
    /// The version asked in.
    pub version: i16,
    /// What is wrong.
    pub malformed: Malformed,
}

/// Writes the frame of the response to the request under `header`, with its size.
///
/// Records in it are referred to, not copied. Of an ApiVersions response before version 4 the
/// supported features that begin at version 0 are left out: Java clients take them for an error
/// and could not connect (KAFKA-17492).
#[must_use]
pub fn encode_response(header: &RequestHeader, response: &Response) -> Encoded {
    let version = header.api_version;
    let api = response.api();
    debug_assert_eq!(api.code(), header.api_key, "a response to another request");
    let mut out = Output::frame();
    out.i32(header.correlation_id);
    if api.is_response_header_flexible(version) {
        out.tag_count(&[]);
    }
    match response {
        Response::ApiVersions(versions)
            if version < 4
                && versions
                    .supported_features
                    .iter()
                    .any(|f| f.min_version == 0) =>
        {
            let mut versions = versions.clone();
            versions
                .supported_features
                .retain(|feature| feature.min_version != 0);
            Response::ApiVersions(versions).write(&mut out, version);
        }
        _ => response.write(&mut out, version),
    }
    out.finish_frame()
}

/// Reads the correlation id of a response's frame, to find which request it answers.
#[must_use]
pub fn correlation_id(frame: &[u8]) -> Option<i32> {
    frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
}

/// Reads the frame, without its size, of the response to a request of `api` in `version`, one of
/// [`ApiKey::served`]. Yields the correlation id and the body.
///
/// A broker that does not speak the version of an ApiVersions request answers in version 0 with
/// [`ErrorCode::UnsupportedVersion`]; that is recognised and read so.
///
/// # Errors
/// The frame is not that response.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the frame is used up: the message keeps it"
)]
pub fn decode_response(
    api: ApiKey,
    version: i16,
    frame: Bytes,
) -> Result<(i32, Response), ResponseError> {
    let mut input = Input::new(&frame);
    read(api, version, &mut input).map_err(|malformed| ResponseError {
        api,
        version,
        malformed,
    })
}

fn read(api: ApiKey, version: i16, input: &mut Input<'_>) -> Result<(i32, Response), Malformed> {
    input.at_field("correlation_id");
    let correlation_id = input.i32()?;
    if api.is_response_header_flexible(version) {
        input.skip_tags()?;
    }
    let refused = ErrorCode::UnsupportedVersion.code().to_be_bytes();
    let version = if api == ApiKey::ApiVersions && input.starts_with(&refused) {
        0
    } else {
        version
    };
    let response = Response::read(api, version, input)?;
    input.finish()?;
    Ok((correlation_id, response))
}
