//! Which devices are there: for the wizard and for `device list`. Asks for no PIN, changes nothing.
//!
//! TPMs are device nodes and what TPM2TOOLS_TCTI names; tokens are those of the modules that p11-kit is configured with.
//! A module is a library that somebody else wrote: each is looked at in a child process, which may crash or hang alone.

use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::child::{End, Probe};
use super::pkcs11::{self, p11kit};
use super::{Description, DeviceError, DeviceUri, Fault, Kind, NoPin, lock, tpm};

/// How long a module may take to show its tokens.
const DEADLINE: Duration = Duration::from_secs(10);
/// Where the TPM tools are told their TPM (tpm2-tools' common options).
const TPM_TOOLS_TCTI: &str = "TPM2TOOLS_TCTI";

/// A device that may do: how to name it, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The device's URI; where a module did not even show its tokens, a URI that names the module alone.
    pub uri: String,
    pub description: Result<Description, Trouble>,
}

/// Why a candidate could not be described.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    pub message: String,
    /// The device's own code, as [`super::DeviceCode`] prints it.
    pub code: Option<String>,
}

impl From<DeviceError> for Trouble {
    fn from(error: DeviceError) -> Self {
        Self { message: error.fault.to_string(), code: error.code.map(|code| code.to_string()) }
    }
}

/// Looks for TPMs, then for tokens. Devices that can't do the job are among them, with what they lack. `probe` says what
/// [`probe_module`] gives for a module's name or path.
pub fn discover(probe: &Probe) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = tpms().into_iter().map(described).collect();
    let mut seen = BTreeSet::new();
    for (name, p11kit::Configuration { module, init }) in p11kit::modules() {
        // A configuration for a library that is not installed is no device; one library is asked once for what is the same.
        let Some(path) = p11kit::resolve(&module).and_then(|path| path.canonicalize().ok()) else { continue };
        if seen.insert((path, init)) {
            candidates.extend(in_child(probe, &name, DEADLINE));
        }
    }
    candidates
}

/// The tokens of one module, in this very process: for the child.
pub fn probe_module(module: &str) -> Vec<Candidate> {
    let tokens = || {
        let uri: DeviceUri =
            module_uri(module).parse().map_err(|error: super::UriError| Fault::Failed(error.to_string()))?;
        let _lock = lock::hold(&uri)?;
        pkcs11::describe_all(module)
    };
    match tokens() {
        Ok(tokens) => tokens
            .into_iter()
            .map(|(uri, description)| Candidate { uri, description: description.map_err(Trouble::from) })
            .collect(),
        Err(error) => vec![Candidate { uri: module_uri(module), description: Err(error.into()) }],
    }
}

fn module_uri(module: &str) -> String {
    format!("pkcs11:?module-{}={module}", if module.starts_with('/') { "path" } else { "name" })
}

/// Every TPM behind a resource manager, and the one that the TPM tools are told to use.
fn tpms() -> Vec<DeviceUri> {
    let nodes = tpm::node::managers(Path::new("/dev"));
    let mut tctis: Vec<String> = nodes.into_iter().map(|node| format!("device:{node}")).collect();
    if let Ok(tcti) = env::var(TPM_TOOLS_TCTI)
        && !tcti.is_empty()
        && !tctis.contains(&tcti)
    {
        tctis.push(tcti);
    }
    // What the TPM tools know and we do not (a TCTI of another kind) is not a candidate.
    tctis
        .iter()
        .filter_map(|tcti| format!("tpm:{tcti}").parse().ok())
        .filter(|uri: &DeviceUri| uri.kind() == Kind::Tpm)
        .collect()
}

fn described(uri: DeviceUri) -> Candidate {
    let description = super::open(&uri, None, &NoPin).and_then(|mut device| device.describe());
    Candidate { uri: uri.to_string(), description: description.map_err(Trouble::from) }
}

/// What the module's child says; where it says nothing sensible, one candidate that tells how it ended.
fn in_child(probe: &Probe, module: &str, deadline: Duration) -> Vec<Candidate> {
    match output(probe, module, deadline) {
        Ok(candidates) => candidates,
        Err(message) => {
            let message = format!("the PKCS#11 module `{module}` {message}");
            vec![Candidate { uri: module_uri(module), description: Err(Trouble { message, code: None }) }]
        }
    }
}

fn output(probe: &Probe, module: &str, deadline: Duration) -> Result<Vec<Candidate>, String> {
    let mut text = Vec::new();
    match probe.run(&[module], deadline, &mut |line| text.extend_from_slice(line)) {
        End::Well => {}
        End::Badly(status) => return Err(format!("crashed when it was asked for its tokens ({status})")),
        End::Late => return Err(format!("gave no answer within {} seconds", deadline.as_secs())),
        End::NotBegun(why) => return Err(format!("can't be looked at: {why}")),
    }
    serde_json::from_slice(&text).map_err(|error| format!("gave an answer that can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> Probe {
        Probe { program: PathBuf::from("/bin/sh"), args: vec!["-c".into(), script.into(), "sh".into()] }
    }

    fn message(candidates: &[Candidate]) -> &str {
        let [Candidate { uri, description: Err(trouble) }] = candidates else { panic!("{candidates:?}") };
        assert_eq!(uri, "pkcs11:?module-name=odd");
        &trouble.message
    }

    #[test]
    fn a_module_that_crashes_is_told() {
        let found = in_child(&shell("kill -SEGV $$"), "odd", DEADLINE);
        assert!(message(&found).contains("`odd` crashed when it was asked for its tokens (signal: 11"), "{found:?}");
        let found = in_child(&shell("exit 3"), "odd", DEADLINE);
        assert!(message(&found).contains("crashed"), "{found:?}");
    }

    #[test]
    fn a_module_that_hangs_is_killed() {
        let start = Instant::now();
        let found = in_child(&shell("exec sleep 60"), "odd", Duration::from_millis(100));
        assert!(message(&found).contains("gave no answer"), "{found:?}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn what_a_child_says_is_read_whole_or_not_at_all() {
        assert_eq!(in_child(&shell("echo '[]'"), "odd", DEADLINE), []);
        assert!(message(&in_child(&shell("echo hello"), "odd", DEADLINE)).contains("can't be read"));
        let program = PathBuf::from("/nowhere/strongroom");
        let found = in_child(&Probe { program, args: Vec::new() }, "odd", DEADLINE);
        assert!(message(&found).contains("can't be looked at"));
    }

    #[test]
    fn candidates_travel_as_json() {
        let trouble = Trouble { message: "no".to_owned(), code: Some("CKR_CANCEL (0x1)".to_owned()) };
        let candidates = vec![Candidate { uri: "pkcs11:token=a".to_owned(), description: Err(trouble) }];
        let json = serde_json::to_vec(&candidates).unwrap();
        let script = format!("printf '%s' '{}'", String::from_utf8(json).unwrap());
        assert_eq!(in_child(&shell(&script), "odd", DEADLINE), candidates);
    }
}
