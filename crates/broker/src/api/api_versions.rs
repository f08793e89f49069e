//! ApiVersions: what this broker speaks.

use plimsoll_wire::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use plimsoll_wire::{ApiKey, ErrorCode};

use crate::connection::Software;
use crate::context::Context;

/// Longest software name or version that is taken down.
const MAX_SOFTWARE_BYTES: usize = 128;

pub(crate) async fn handle(context: &Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if context.version >= 3 {
        let (name, version) = (
            &request.client_software_name,
            &request.client_software_version,
        );
        if !is_legal(name) || !is_legal(version) {
            return refused(ErrorCode::InvalidRequest);
        }
        context.connection.introduce(Software {
            name: name.to_string(),
            version: version.to_string(),
        });
    }
    response(ErrorCode::None)
}

/// Answers a request in a version that is not spoken, in version 0, which every client reads
/// (KIP-511).
pub(crate) fn unsupported_version() -> ApiVersionsResponse {
    response(ErrorCode::UnsupportedVersion)
}

fn refused(code: ErrorCode) -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: code.code(),
        ..Default::default()
    }
}

fn response(code: ErrorCode) -> ApiVersionsResponse {
    let api_keys = ApiKey::ALL.iter().map(|api| {
        let advertised = api.advertised();
        ApiVersion {
            api_key: api.code(),
            min_version: *advertised.start(),
            max_version: *advertised.end(),
        }
    });
    ApiVersionsResponse {
        error_code: code.code(),
        api_keys: api_keys.collect(),
        ..Default::default()
    }
}

/// KIP-511: letters, digits, and `-` and `.` between them.
fn is_legal(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= MAX_SOFTWARE_BYTES
        && ends(text.chars().next())
        && ends(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))
}
