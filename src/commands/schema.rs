//! `strongroom schema`: the JSON Schema of all that `--json` prints, made from the types that are printed.

use clap::ValueEnum;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Value, json};
use strongroom::ceremony::Plan;
use strongroom::status::Status;

use super::{audit, derive, device, doctor, explain, passphrase, verify};
use crate::cli::Shape;
use crate::report::{Failure, Stop};
use crate::terminal::{StepLine, Terminal};

/// The schemas that there are: `schema --json`.
#[derive(JsonSchema, Serialize)]
struct Listing {
    schema: &'static str,
    /// What `strongroom schema NAME` takes. Objects name them as `strongroom.NAME/1`, save `error`.
    names: Vec<String>,
}

pub fn run(name: Option<Shape>, terminal: &Terminal) -> Result<(), Stop> {
    let names = || Shape::value_variants().iter().map(|shape| called(*shape));
    match name {
        Some(shape) if terminal.is_json() => terminal.object(&of(shape)),
        Some(shape) => terminal.result(&format!("{:#}", of(shape).as_value())),
        None if terminal.is_json() => {
            terminal.object(&Listing { schema: "strongroom.schemas/1", names: names().collect() })
        }
        None => names().try_for_each(|name| terminal.result(&name)),
    }
}

fn called(shape: Shape) -> String {
    shape.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn of(shape: Shape) -> Schema {
    let schema = match shape {
        Shape::Plan => made::<Plan>(),
        Shape::Step => made::<StepLine<'_>>(),
        Shape::Preamble => made::<verify::Preface<'_>>(),
        Shape::Verify => made::<verify::Drill>(),
        Shape::Status => made::<Status>(),
        Shape::Derive => made::<derive::Derived<'_>>(),
        Shape::Devices => made::<device::Listing<'_>>(),
        Shape::Audit => made::<audit::Shown<'_>>(),
        Shape::AuditVerify => made::<audit::Verdict<'_>>(),
        Shape::Passphrase => made::<passphrase::Told<'_>>(),
        Shape::Doctor => made::<doctor::Findings>(),
        Shape::Explain => made::<explain::Explained>(),
        Shape::Schemas => made::<Listing>(),
        Shape::Error => made::<Failure>(),
    };
    named(schema, shape)
}

/// As it is written, which leaves open what later versions add.
fn made<T: JsonSchema>() -> Schema {
    let mut schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    RecursiveTransform(open).transform(&mut schema);
    schema
}

/// Fields are only ever added, so a schema may not say that there are no others. Rustdoc's links mean nothing outside.
fn open(schema: &mut Schema) {
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    if let Some(text) = schema.get("description").and_then(Value::as_str) {
        let plain = text.replace("[`", "`").replace("`]", "`");
        schema.insert("description".to_owned(), plain.into());
    }
}

/// Says by which name an object of this shape is told.
fn named(mut schema: Schema, shape: Shape) -> Schema {
    let name = match shape {
        Shape::Error => "strongroom error".to_owned(),
        Shape::Plan
        | Shape::Step
        | Shape::Preamble
        | Shape::Verify
        | Shape::Status
        | Shape::Derive
        | Shape::Devices
        | Shape::Audit
        | Shape::AuditVerify
        | Shape::Passphrase
        | Shape::Doctor
        | Shape::Explain
        | Shape::Schemas => {
            let id = format!("strongroom.{}/1", called(shape));
            let properties = schema.ensure_object().entry("properties").or_insert_with(|| json!({}));
            properties["schema"] = json!({ "const": id });
            id
        }
    };
    schema.insert("title".to_owned(), name.into());
    schema
}
