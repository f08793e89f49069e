//! What the two ways of altering configs have in common.

use plimsoll_controller::config::keys;
use plimsoll_controller::rules::{self, AlterConfig};
use plimsoll_controller::{ConfigFault, ConfigResource, Refusal};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::config_resource::{self, invalid};
use crate::api::rows::{self, Draft, Manner, Refused, Row};
use crate::config::BrokerConfig;
use crate::context::Context;

/// The wish to alter one resource's configs.
#[derive(Clone)]
pub(crate) struct Alteration {
    pub(crate) kind: i8,
    pub(crate) name: Str,
    pub(crate) wish: Wish,
}

/// What is to become of the configs.
#[derive(Clone)]
pub(crate) enum Wish {
    /// These and no others.
    Exactly(Vec<(String, Option<String>)>),
    /// These are altered, the others stay; or what is wrong with them already.
    Changes(Row<Vec<AlterConfig>>),
}

/// Alters each resource, all of its configs or none, and returns a row each.
pub(crate) async fn run(
    context: &Context,
    alterations: Vec<Alteration>,
    validate_only: bool,
) -> Vec<Row<()>> {
    let repeated = rows::repeated(alterations.iter().map(|a| (a.kind, a.name.clone())));
    let manner = Manner {
        validate_only,
        timeout_ms: None,
    };
    let config = context.broker.config.clone();
    rows::change(context, alterations, &manner, move |draft, alteration| {
        if repeated.contains(&(alteration.kind, alteration.name.clone())) {
            return Err(invalid("Each resource must appear at most once."));
        }
        alter(&config, draft, alteration)
    })
    .await
}

fn alter(config: &BrokerConfig, draft: &mut Draft, alteration: Alteration) -> Row<()> {
    let resource = config_resource::parse(config, alteration.kind, &alteration.name)?;
    let changes = match alteration.wish {
        Wish::Exactly(values) => AlterConfig::replace_all(draft.image(), &resource, &values),
        Wish::Changes(changes) => changes?,
    };
    if !matches!(resource, ConfigResource::Topic(_)) {
        check_settings(config, &changes)?;
    }
    let (image, defaults, node) = (draft.image(), &config.topic_defaults, config.node);
    let records =
        rules::alter_configs(image, defaults, node, &resource, &changes).map_err(refused)?;
    draft.take(records)
}

/// A node's own settings hold from its start to its end.
fn check_settings(config: &BrokerConfig, changes: &[AlterConfig]) -> Row<()> {
    let is_setting = |key: &str| {
        keys::node_key(key).is_none() && config.settings.iter().any(|setting| setting.name == key)
    };
    match changes.iter().find(|change| is_setting(&change.key)) {
        Some(change) => {
            let key = change.key.clone();
            Err(invalid(ConfigFault::ReadOnly { key }.to_string()))
        }
        None => Ok(()),
    }
}

/// What is wrong with the request rather than with a value has another code than elsewhere.
fn refused(refusal: Refusal) -> Refused {
    let code = match &refusal {
        Refusal::Config(ConfigFault::Null { .. } | ConfigFault::Repeated { .. }) => {
            ErrorCode::InvalidRequest
        }
        _ => return refusal.into(),
    };
    Refused::new(code, refusal.to_string())
}
