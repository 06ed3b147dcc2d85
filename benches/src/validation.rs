//! The validation rows: the schema registry compared with the bare engines, on one event of 25 properties.

use anyhow::{Context, Result};
use domain::ports::{EventValidator, Verdict};
use generator::{Generator, Settings, Validity};
use serde_json::Value;
use validation::{EngineKind, SchemaRegistry};

use crate::{
    measure::{Bench, Target, timed},
    sqlite::micros,
};

const TIMES: u64 = 200_000;
/// Number of operations for valico, which is about twenty times slower.
const FEWER: u64 = 20_000;

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    if !bench.wants("validation") {
        return Ok(());
    }
    let event = largest_payment()?;
    let schema: Value =
        serde_json::from_str(include_str!("../../crates/validation/schemas/payment.processed.json"))?;
    let bare = jsonschema::validator_for(&schema)?;
    let registry = SchemaRegistry::new(EngineKind::JsonSchema);
    let slow = SchemaRegistry::new(EngineKind::Valico);
    bench.row(
        "validation, jsonschema",
        "jsonschema, bare",
        TIMES,
        &Target::Each(micros(1.5)),
        || timed(|| (0..TIMES).try_for_each(|_| holds(bare.is_valid(std::hint::black_box(&event))))),
        || timed(|| validate(&registry, &event, TIMES)),
    )?;
    let mut scope = valico::json_schema::Scope::new();
    let bare = scope.compile_and_return(schema, false).ok().context("valico refuses the schema")?;
    bench.row(
        "validation, valico",
        "valico, bare",
        FEWER,
        &Target::None,
        || {
            timed(|| {
                (0..FEWER)
                    .try_for_each(|_| holds(bare.validate(std::hint::black_box(&event)).is_strictly_valid()))
            })
        },
        || timed(|| validate(&slow, &event, FEWER)),
    )
}

fn validate(registry: &SchemaRegistry, event: &Value, times: u64) -> Result<()> {
    (0..times).try_for_each(|_| holds(registry.validate(std::hint::black_box(event)) == Verdict::Valid))
}

fn holds(valid: bool) -> Result<()> {
    anyhow::ensure!(valid, "the event is valid, and was refused");
    Ok(())
}

/// Returns the generated payment with the most members, counted in the event, its data and its metadata.
fn largest_payment() -> Result<Value> {
    let members = |value: &Value| value.as_object().map_or(0, |object| object.len());
    let size = |event: &Value| members(event) + members(&event["data"]) + members(&event["metadata"]);
    Generator::new(Settings::demo(2_000))
        .filter(|generated| generated.validity == Validity::Valid)
        .filter_map(|generated| serde_json::from_str::<Value>(&generated.json).ok())
        .filter(|event| event["type"] == "payment.processed")
        .max_by_key(size)
        .context("the generator made no payment")
}
