//! What must hold of every statement, so that reading and writing can rely on it.

mod common;

use common::every_message;
use plimsoll_wire::{ApiKey, Field, Kind, StructSchema};

fn each_struct(schema: &'static StructSchema, check: &mut impl FnMut(&'static StructSchema)) {
    check(schema);
    let tagged = schema.tagged.iter().map(|(_, field)| field);
    for field in schema.fields.iter().chain(tagged) {
        each_kind(&field.kind, &mut |kind| {
            if let Kind::Struct(inner) = kind {
                each_struct(inner, check);
            }
        });
    }
}

fn each_kind(kind: &'static Kind, check: &mut impl FnMut(&'static Kind)) {
    match kind {
        Kind::List(inner) | Kind::Nullable(inner) => each_kind(inner, check),
        other => check(other),
    }
}

#[test]
fn tags_ascend_as_the_protocol_wants_them_written() {
    for (direction, api, _) in every_message() {
        each_struct(direction.schema(api), &mut |schema| {
            let ascending = schema.tagged.is_sorted_by(|(a, _), (b, _)| a < b);
            assert!(ascending, "{}", schema.name);
        });
    }
}

#[test]
fn records_are_never_tagged_since_they_are_written_apart() {
    for (direction, api, _) in every_message() {
        each_struct(direction.schema(api), &mut |schema| {
            for (_, Field { name, kind, .. }) in schema.tagged {
                each_kind(kind, &mut |kind| {
                    assert!(!matches!(kind, Kind::Records), "{}.{name}", schema.name);
                });
            }
        });
    }
}

#[test]
fn tagged_fields_begin_with_a_flexible_version() {
    for (direction, api, _) in every_message() {
        let schema = direction.schema(api);
        each_struct(schema, &mut |inner| {
            for (_, field) in inner.tagged {
                assert!(
                    api.is_flexible(field.rule.since),
                    "{}.{}",
                    inner.name,
                    field.name
                );
            }
        });
    }
}

#[test]
fn apis_are_found_by_their_number() {
    for api in ApiKey::ALL {
        assert_eq!(ApiKey::from_code(api.code()), Some(*api));
    }
    assert_eq!(ApiKey::from_code(-1), None);
    assert_eq!(ApiKey::from_code(4), None);
}

#[test]
fn versions_only_advertised_are_those_that_old_clients_look_for() {
    for api in ApiKey::ALL {
        let same = api.advertised() == api.served();
        assert_eq!(same, *api != ApiKey::Produce, "{api}");
    }
    assert_eq!(ApiKey::Produce.advertised(), 0..=13);
    assert_eq!(ApiKey::Produce.served(), 3..=13);
}
