//! JSON Schemas for values whose Rust type does not say enough, and when serde leaves a value out.

use schemars::{Schema, SchemaGenerator, json_schema};
use supervisor_model::{family::Family, finding::Origin};

/// For counts that are present only if there is something to count.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// For fields that are present only if they are true.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

/// A time of the native format, ECS.
pub(super) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "pattern": "Z$" })
}

/// An OCSF Common Process ID, or another id that is made of one.
pub(super) fn uuid_v8(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "uuid",
        "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    })
}

/// The id of a family of causes.
pub(super) fn family_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Family::ALL.map(Family::id) })
}

/// The name of a family of causes.
pub(super) fn family_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": Family::ALL.map(Family::name) })
}

/// The word for an origin.
pub(super) fn origin(_: &mut SchemaGenerator) -> Schema {
    let all = [
        Origin::Entrypoint,
        Origin::Exec,
        Origin::HealthCheck { period_ns: 0 },
        Origin::Host,
        Origin::Unknown,
    ];
    json_schema!({ "type": "string", "enum": all.map(Origin::as_str) })
}

/// The processes that a wait call waits for.
pub(super) fn wait_target(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^(any|(pid|pgid|pidfd):[0-9]+)$" })
}
