//! Which version of each API both sides speak.
//!
//! What always holds: a version chosen is one that this client can write and read.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use plimsoll_wire::ApiKey;
use plimsoll_wire::api_versions::ApiVersion;

/// What a broker offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    offered: BTreeMap<i16, (i16, i16)>,
}

impl Versions {
    /// What an ApiVersions answer says.
    pub(crate) fn new(apis: &[ApiVersion]) -> Self {
        let ranges = apis
            .iter()
            .map(|api| (api.api_key, (api.min_version, api.max_version)));
        Self {
            offered: ranges.collect(),
        }
    }

    /// The versions of `api` that the broker offers, if it does.
    #[must_use]
    pub fn offered(&self, api: ApiKey) -> Option<RangeInclusive<i16>> {
        let (first, last) = self.offered.get(&api.code())?;
        Some(*first..=*last)
    }

    /// The greatest version of `api` that both speak.
    #[must_use]
    pub fn best(&self, api: ApiKey) -> Option<i16> {
        let offered = self.offered(api)?;
        let ours = spoken(api);
        let best = *offered.end().min(ours.end());
        (offered.contains(&best) && ours.contains(&best)).then_some(best)
    }

    /// Numbers and version ranges of all that the broker offers, known here or not.
    pub fn all(&self) -> impl Iterator<Item = (i16, RangeInclusive<i16>)> + '_ {
        self.offered
            .iter()
            .map(|(api, (first, last))| (*api, *first..=*last))
    }
}

/// The versions that this client uses. Produce and Fetch end where topics are named by id alone:
/// this client names them.
#[must_use]
pub fn spoken(api: ApiKey) -> RangeInclusive<i16> {
    let served = api.served();
    match api {
        ApiKey::Produce | ApiKey::Fetch => *served.start()..=12,
        _ => served,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(api: ApiKey, min_version: i16, max_version: i16) -> Versions {
        Versions::new(&[ApiVersion {
            api_key: api.code(),
            min_version,
            max_version,
        }])
    }

    #[test]
    fn the_greatest_common_version_is_taken() {
        assert_eq!(
            offering(ApiKey::Metadata, 0, 5).best(ApiKey::Metadata),
            Some(5)
        );
        assert_eq!(
            offering(ApiKey::Metadata, 4, 99).best(ApiKey::Metadata),
            Some(13)
        );
        assert_eq!(offering(ApiKey::Fetch, 0, 17).best(ApiKey::Fetch), Some(12));
    }

    #[test]
    fn ranges_that_do_not_meet_have_no_version() {
        assert_eq!(offering(ApiKey::Fetch, 0, 3).best(ApiKey::Fetch), None);
        assert_eq!(offering(ApiKey::Fetch, 13, 17).best(ApiKey::Fetch), None);
        assert_eq!(offering(ApiKey::Fetch, 9, 4).best(ApiKey::Fetch), None);
        assert_eq!(Versions::default().best(ApiKey::Fetch), None);
    }
}
