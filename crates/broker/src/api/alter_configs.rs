//! AlterConfigs: replace all configs of a resource. Superseded by IncrementalAlterConfigs, whose
//! clients cannot lose a config that they did not know of.

use plimsoll_wire::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
};

use crate::api::alter::{self, Alteration, Wish};
use crate::api::rows::Row;
use crate::context::Context;

pub(crate) async fn handle(
    context: &Context,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let alterations = request.resources.iter().map(alteration).collect();
    let rows = alter::run(context, alterations, request.validate_only).await;
    let responses = request
        .resources
        .into_iter()
        .zip(rows)
        .map(|(resource, row)| AlterConfigsResourceResponse {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..response(&row)
        });
    AlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    }
}

fn alteration(resource: &AlterConfigsResource) -> Alteration {
    let values = resource.configs.iter().map(|config| {
        (
            config.name.to_string(),
            config.value.as_ref().map(ToString::to_string),
        )
    });
    Alteration {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        wish: Wish::Exactly(values.collect()),
    }
}

fn response(row: &Row<()>) -> AlterConfigsResourceResponse {
    let refused = row.as_ref().err();
    AlterConfigsResourceResponse {
        error_code: refused.map_or(0, |refused| refused.code.code()),
        error_message: refused.and_then(|refused| refused.message()),
        ..Default::default()
    }
}
