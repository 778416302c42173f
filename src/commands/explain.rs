//! `strongroom explain`: what a device's code means.

use schemars::JsonSchema;
use serde::Serialize;
use strongroom::device::explain::{Meaning, Origin, explain};

use crate::cli::Explain;
use crate::report::Stop;
use crate::terminal::Terminal;

/// `strongroom explain --json`. Fields are only ever added.
#[derive(JsonSchema, Serialize)]
pub struct Explained {
    schema: &'static str,
    meanings: Vec<Meaning>,
}

pub fn run(args: &Explain, terminal: &Terminal) -> Result<(), Stop> {
    let meanings = explain(&args.code)?;
    if terminal.is_json() {
        return terminal.object(&Explained { schema: "strongroom.explain/1", meanings });
    }
    for (index, meaning) in meanings.iter().enumerate() {
        if index > 0 {
            terminal.result("")?;
        }
        for line in lines(meaning) {
            terminal.result(&line)?;
        }
    }
    Ok(())
}

fn lines(meaning: &Meaning) -> Vec<String> {
    let whose = match meaning.source {
        Origin::Tpm => "a TPM",
        Origin::Tss => "the TPM's software",
        Origin::Pkcs11 => "a PKCS#11 module",
    };
    let mut lines = vec![
        format!("code     {} ({:#x}), of {whose}", meaning.name, meaning.value),
        format!("means    {}", meaning.meaning),
    ];
    lines.extend(meaning.about.iter().map(|about| format!("about    {about}")));
    lines.push(format!("to do    {}", meaning.remedy));
    lines
}
