//! Requests in their frames: header and body.
//!
//! Not here: the frame's size when reading ([`frame`](crate::frame) has cut it off). What always
//! holds: a frame is read whole or refused.

use bytes::Bytes;

use crate::api::{ApiKey, Request};
use crate::codec::{Encoded, Input, Malformed, Output, Str, fitting};

/// What stands before every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API's number.
    pub api_key: i16,
    /// The version of the request, and of the response to it.
    pub api_version: i16,
    /// What the response must repeat.
    pub correlation_id: i32,
    /// The client's own name, for logs and quotas.
    pub client_id: Option<Str>,
}

/// A frame that is no request we can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// ApiVersions in a version not served. Answer with error 35 and the APIs, in version 0, which
    /// is what `header` says; the connection stays.
    #[error("ApiVersions version {asked} is not served")]
    ApiVersionsUnsupported {
        /// The version asked in.
        asked: i16,
        /// What to answer to: version 0, without client id.
        header: RequestHeader,
    },
    /// An API or version that is not served. Close the connection.
    #[error("API {api_key} version {version} is not served")]
    Unsupported {
        /// The API's number.
        api_key: i16,
        /// The version.
        version: i16,
    },
    /// Not even a header. Close the connection.
    #[error("request header: {malformed}")]
    MalformedHeader {
        /// What is wrong.
        malformed: Malformed,
    },
    /// Not the message its header promises. Close the connection.
    #[error("{api} request, version {version}: {malformed}")]
    Malformed {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What is wrong.
        malformed: Malformed,
    },
}

/// Reads the frame of a request, without its size.
///
/// # Errors
/// What the frame is instead; the variant says what to do about it.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the frame is used up: the message keeps it"
)]
pub fn decode_request(frame: Bytes) -> Result<(RequestHeader, Request), RequestError> {
    let mut input = Input::new(&frame);
    let in_header = |malformed| RequestError::MalformedHeader { malformed };
    let (api_key, version, correlation_id) = fixed_header(&mut input).map_err(in_header)?;
    let unsupported = RequestError::Unsupported { api_key, version };
    let Some(api) = ApiKey::from_code(api_key) else {
        return Err(unsupported);
    };
    if !api.served().contains(&version) {
        if api == ApiKey::ApiVersions {
            let header = RequestHeader {
                api_key,
                api_version: 0,
                correlation_id,
                client_id: None,
            };
            return Err(RequestError::ApiVersionsUnsupported {
                asked: version,
                header,
            });
        }
        return Err(unsupported);
    }
    let client_id = header_rest(&mut input, api.is_flexible(version)).map_err(in_header)?;
    let in_body = |malformed| RequestError::Malformed {
        api,
        version,
        malformed,
    };
    let mut request = Request::read(api, version, &mut input).map_err(in_body)?;
    if !ends_early(api) {
        input.finish().map_err(in_body)?;
    }
    if let (Request::Metadata(metadata), 0) = (&mut request, version) {
        metadata.topics = metadata.topics.take().filter(|topics| !topics.is_empty());
    }
    let header = RequestHeader {
        api_key,
        api_version: version,
        correlation_id,
        client_id,
    };
    Ok((header, request))
}

/// Whether requests of `api` may have bytes behind their end.
///
/// librdkafka (seen up to 2.16) asks for all topics in a flexible version with a compact null and
/// leaves the four bytes that it had reserved for a count: what follows is read one field too
/// early and three bytes are left over. Kafka reads it so and lets the rest be; refusing it would
/// cut off every admin client of that family. Everywhere else bytes to spare are an error.
const fn ends_early(api: ApiKey) -> bool {
    matches!(api, ApiKey::Metadata)
}

fn fixed_header(input: &mut Input<'_>) -> Result<(i16, i16, i32), Malformed> {
    input.at_field("request_api_key");
    let api_key = input.i16()?;
    input.at_field("request_api_version");
    let version = input.i16()?;
    input.at_field("correlation_id");
    Ok((api_key, version, input.i32()?))
}

/// The client id is not compact even where the header is flexible.
fn header_rest(input: &mut Input<'_>, flexible: bool) -> Result<Option<Str>, Malformed> {
    input.at_field("client_id");
    let client_id = input.string(false)?;
    if flexible {
        input.skip_tags()?;
    }
    Ok(client_id)
}

/// Writes the frame of a request, with its size. Records in it are referred to, not copied.
///
/// `version` is one of [`ApiKey::served`]; fields that it does not have are left out.
#[must_use]
pub fn encode_request(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &Request,
) -> Encoded {
    let api = request.api();
    let mut out = Output::frame();
    out.i16(api.code());
    out.i16(version);
    out.i32(correlation_id);
    out.string(client_id.map(fitting), false);
    if api.is_flexible(version) {
        out.tag_count(&[]);
    }
    request.write(&mut out, version);
    out.finish_frame()
}
