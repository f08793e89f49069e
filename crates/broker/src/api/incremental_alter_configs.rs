//! IncrementalAlterConfigs (KIP-339): set, delete, append to and subtract from single configs.

use plimsoll_controller::rules::{AlterConfig, AlterOperation};
use plimsoll_wire::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use crate::api::alter::{self, Alteration, Wish};
use crate::api::config_resource::invalid;
use crate::api::rows::Row;
use crate::context::Context;

pub(crate) async fn handle(
    context: &Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..Default::default()
    }
}

fn alteration(resource: &AlterConfigsResource) -> Alteration {
    Alteration {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        wish: Wish::Changes(resource.configs.iter().map(change).collect()),
    }
}

fn change(config: &AlterableConfig) -> Row<AlterConfig> {
    let operation = match config.config_operation {
        0 => AlterOperation::Set,
        1 => AlterOperation::Delete,
        2 => AlterOperation::Append,
        3 => AlterOperation::Subtract,
        other => {
            let key = &config.name;
            return Err(invalid(format!(
                "Unknown operation {other} for configuration {key}"
            )));
        }
    };
    if operation != AlterOperation::Delete && config.value.is_none() {
        return Err(invalid(format!(
            "Null value not supported for : {}",
            config.name
        )));
    }
    Ok(AlterConfig {
        key: config.name.to_string(),
        operation,
        value: config.value.as_ref().map(ToString::to_string),
    })
}

fn response(row: &Row<()>) -> AlterConfigsResourceResponse {
    let refused = row.as_ref().err();
    AlterConfigsResourceResponse {
        error_code: refused.map_or(0, |refused| refused.code.code()),
        error_message: refused.and_then(|refused| refused.message()),
        ..Default::default()
    }
}
