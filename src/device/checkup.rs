//! Everything between the user and a working device, looked at in order: for `doctor`. Changes nothing, and sends no PIN
//! unless the self-test is asked for.
//!
//! A step that fails ends what depends on it: that is told too, as skipped. [`checkup`] does the work, for a child process:
//! what it loads is somebody else's, and may crash or hang. [`in_child`] is the other end, which keeps what was said.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::child::{End, Probe};
use super::explain::{Origin, explain};
use super::pkcs11::p11kit;
use super::{DeviceCode, DeviceError, DeviceUri, Fault, Kind, PinSource, Root, lock, pkcs11, thread, tpm};

/// How long a device may take for all of it.
const DEADLINE: Duration = Duration::from_secs(30);

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What it was: `node`, `root-key`, `mechanisms`. Never changes its meaning; several checks may have the same.
    pub id: String,
    pub verdict: Verdict,
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The device's own code and its standard's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Good to know: the device does its job.
    Note,
    /// The device can't do its job, or soon won't.
    Trouble,
    /// Not looked at, because of what came before.
    Skipped,
}

/// What a checkup says as it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum News {
    /// What is tried next: where nothing comes after it, this is what it crashed or hung at.
    At(Step),
    Of(Check),
}

/// A step by its id, and in words: "when MODULE was loaded".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub id: String,
    pub what: String,
}

impl Check {
    pub fn new(id: &str, verdict: Verdict, text: impl Into<String>, remedy: Option<&str>) -> Self {
        Self { id: id.to_owned(), verdict, text: text.into(), remedy: remedy.map(str::to_owned), code: None }
    }

    pub fn is_trouble(&self) -> bool {
        match self.verdict {
            Verdict::Trouble => true,
            Verdict::Ok | Verdict::Note | Verdict::Skipped => false,
        }
    }
}

/// Where the steps of a checkup say what they found.
pub struct Findings<'t> {
    kind: Kind,
    /// The ids of the steps that are still to come, in order.
    left: &'static [&'static str],
    tell: &'t mut dyn FnMut(News),
}

/// A step failed that all others depend on: it was told.
pub struct Ended;

impl<'t> Findings<'t> {
    fn new(kind: Kind, steps: &'static [&'static str], tell: &'t mut dyn FnMut(News)) -> Self {
        Self { kind, left: steps, tell }
    }

    /// Says what is tried now.
    pub fn at(&mut self, id: &str, what: impl Into<String>) {
        (self.tell)(News::At(Step { id: id.to_owned(), what: what.into() }));
    }

    pub fn ok(&mut self, id: &str, text: impl Into<String>) {
        self.tell(Check::new(id, Verdict::Ok, text, None));
    }

    pub fn note(&mut self, id: &str, text: impl Into<String>, remedy: Option<&str>) {
        self.tell(Check::new(id, Verdict::Note, text, remedy));
    }

    pub fn trouble(&mut self, id: &str, text: impl Into<String>, remedy: &str) {
        self.tell(Check::new(id, Verdict::Trouble, text, Some(remedy)));
    }

    pub fn skipped(&mut self, id: &str, why: &str) {
        self.tell(Check::new(id, Verdict::Skipped, why, None));
    }

    /// A step that did not get through. Without a `remedy`, it is that of the device's code.
    pub fn failed(&mut self, id: &str, error: &DeviceError, remedy: Option<&str>) {
        let code = error.code.as_ref().map(DeviceCode::to_string);
        let remedy = of_system(error).or(remedy.map(str::to_owned)).or_else(|| of_code(error, self.kind));
        self.tell(Check { code, remedy, ..Check::new(id, Verdict::Trouble, error.fault.to_string(), None) });
    }

    /// Skips whatever is still to come.
    pub fn end(&mut self, why: &str) -> Ended {
        for id in std::mem::take(&mut self.left) {
            (self.tell)(News::Of(Check::new(id, Verdict::Skipped, why, None)));
        }
        Ended
    }

    fn tell(&mut self, check: Check) {
        if let Some(at) = self.left.iter().position(|id| *id == check.id) {
            self.left = &self.left[at + 1..];
        }
        (self.tell)(News::Of(check));
    }
}

/// What to do where the system, or another program, does not let us at it.
fn of_system(error: &DeviceError) -> Option<String> {
    if let Fault::NoPermission { group, .. } = &error.fault {
        return Some(match group {
            Some(group) => format!("run it as root, or join the group, and log in anew: usermod -aG {group} USER"),
            None => "run it as root, or see to the file's rights".to_owned(),
        });
    }
    let is_busy = matches!(error.fault, Fault::Busy(_));
    is_busy.then(|| "wait until the other program has ended, and run it again".to_owned())
}

/// What to do about the device's own code.
fn of_code(error: &DeviceError, kind: Kind) -> Option<String> {
    let meanings = explain(&format!("{:#x}", error.code.as_ref()?.value)).ok()?;
    let ours = meanings.into_iter().find(|meaning| match (meaning.source, kind) {
        (Origin::Tpm | Origin::Tss, Kind::Tpm) | (Origin::Pkcs11, Kind::Pkcs11) => true,
        (Origin::Tpm | Origin::Tss, Kind::Pkcs11) | (Origin::Pkcs11, Kind::Tpm) => false,
    })?;
    Some(ours.remedy.to_owned())
}

/// Looks at the device that `uri` names, in this very process: for the child. `pinned` is what the ring knows of it.
pub fn checkup(uri: &DeviceUri, pinned: Option<&Root>, tell: &mut dyn FnMut(News)) {
    // Where it ended early, that was told.
    let (Ok(()) | Err(Ended)) = match uri {
        DeviceUri::Tpm(uri) => tpm::checkup(uri, pinned, &mut Findings::new(Kind::Tpm, &tpm::STEPS, tell)),
        DeviceUri::Pkcs11(uri) => pkcs11::checkup(uri, pinned, &mut Findings::new(Kind::Pkcs11, &pkcs11::STEPS, tell)),
    };
}

/// What [`super::Device::provision`] tests a token for, line by line, on the wrapping keys that it has; none for a TPM. In this
/// process: a module that has come through a [`checkup`] is trusted that far, and so the PIN stays here.
///
/// Error: the PIN was not taken, or none was to be had.
pub fn self_test(uri: &DeviceUri, pinned: &Root, pins: &dyn PinSource) -> Result<Vec<Check>, DeviceError> {
    let (uri, pinned) = (uri.clone(), pinned.clone());
    thread::apart(pins, move |pins| match &uri {
        DeviceUri::Tpm(_) => Ok(Vec::new()),
        DeviceUri::Pkcs11(token) => {
            let lock = lock::hold(&uri)?;
            pkcs11::Token::open(token, Some(pinned), pins, lock)?.self_test()
        }
    })
}

/// What is told where neither a TPM nor a token is to be found: where they were looked for.
pub fn nowhere() -> [Check; 2] {
    let modules: Vec<String> = p11kit::modules().into_keys().collect();
    let tokens = match modules.as_slice() {
        [] => "p11-kit is configured with no module (/usr/share/p11-kit/modules, /etc/pkcs11/modules)".to_owned(),
        modules => format!("none of p11-kit's modules shows a token: {}", modules.join(", ")),
    };
    [
        Check::new(
            "tpm",
            Verdict::Trouble,
            "there is no /dev/tpmrm0 nor another of its kind, and TPM2TOOLS_TCTI names no TPM",
            Some(tpm::SWITCH_ON),
        ),
        Check::new(
            "tokens",
            Verdict::Trouble,
            tokens,
            Some(
                "install the token's module, or name it: `strongroom doctor 'pkcs11:?module-path=/usr/lib/.../NAME.so'`",
            ),
        ),
    ]
}

/// Takes the device's lock; where somebody else of ours has it, that is told, and nothing more can be looked at.
pub fn alone(uri: &DeviceUri, id: &str, findings: &mut Findings<'_>) -> Result<lock::DeviceLock, Ended> {
    lock::hold(uri).map_err(|error| {
        findings.failed(id, &error, Some("run it as the user who uses the device"));
        findings.end("another program has the device")
    })
}

/// What the child says that `probe` starts, as it says it; where it crashes or hangs, what it was at is trouble.
pub fn in_child(probe: &Probe, uri: &DeviceUri, pinned: Option<&Root>, hear: &mut dyn FnMut(Check)) {
    listen(probe, uri, pinned, DEADLINE, hear);
}

fn listen(probe: &Probe, uri: &DeviceUri, pinned: Option<&Root>, deadline: Duration, hear: &mut dyn FnMut(Check)) {
    let name = uri.to_string();
    let pinned = pinned.map(|root| serde_json::to_string(root).expect("a root is made of strings and numbers"));
    let words: Vec<&str> = [name.as_str()].into_iter().chain(pinned.as_deref()).collect();
    let mut at = None;
    let mut told = Vec::new();
    let end = probe.run(&words, deadline, &mut |line| {
        // A module may print what it likes in between.
        match serde_json::from_slice(line) {
            Ok(News::At(step)) => at = Some(step),
            Ok(News::Of(check)) => {
                at = None;
                told.push(check.id.clone());
                hear(check);
            }
            Err(_) => {}
        }
    });
    let Step { id, what } = at.unwrap_or_else(|| match told.as_slice() {
        [] => Step { id: "checkup".to_owned(), what: "when it was begun".to_owned() },
        [..] => Step { id: "close".to_owned(), what: "when it was closed".to_owned() },
    });
    let (text, remedy) = match end {
        End::Well => return,
        End::Badly(status) => (format!("crashed {what} ({status})"), "see whether its maker has a newer version"),
        End::Late => (
            format!("gave no answer within {} seconds {what}", deadline.as_secs()),
            "see whether the device is stuck or cut off, or another program holds it; then run it again",
        ),
        End::NotBegun(why) => (format!("can't be looked at: {why}"), "see what the system says, then run it again"),
    };
    hear(Check::new(&id, Verdict::Trouble, text, Some(remedy)));
    told.push(id);
    let steps = match uri.kind() {
        Kind::Tpm => &tpm::STEPS[..],
        Kind::Pkcs11 => &pkcs11::STEPS[..],
    };
    for step in steps.iter().filter(|step| told.iter().all(|id| id != *step)) {
        hear(Check::new(step, Verdict::Skipped, "the checkup ended there", None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of a child that runs `script`; each check as its id and verdict.
    fn heard(script: &str) -> Vec<(String, Verdict)> {
        let probe = Probe { program: "/bin/sh".into(), args: vec!["-c".into(), script.into(), "sh".into()] };
        let uri = "pkcs11:token=a?module-path=/x.so".parse().unwrap();
        let mut checks = Vec::new();
        listen(&probe, &uri, None, Duration::from_secs(30), &mut |check| checks.push((check.id, check.verdict)));
        checks
    }

    fn printed(news: &News) -> String {
        format!("echo '{}'; ", serde_json::to_string(news).unwrap())
    }

    #[test]
    fn what_a_child_was_at_is_known_when_it_crashes() {
        let module = printed(&News::Of(Check::new("module", Verdict::Ok, "there", None)));
        let at = printed(&News::At(Step { id: "library".to_owned(), what: "when it was asked".to_owned() }));
        let chatter = "echo 'a module prints what it likes'; echo '{}'; ";
        let checks = heard(&[&module, chatter, &at, "kill -SEGV $$"].concat());
        let named: Vec<&str> = checks.iter().map(|(id, _)| id.as_str()).collect();
        let others = ["load", "initialise", "token", "identity", "state", "pin", "mechanisms"];
        assert_eq!(named, [&["module", "library"][..], &others].concat());
        assert_eq!(checks[1].1, Verdict::Trouble);
        assert!(checks[2..].iter().all(|(_, verdict)| *verdict == Verdict::Skipped));
        let checks = heard("exit 3");
        assert_eq!(checks[0], ("checkup".to_owned(), Verdict::Trouble));
        assert_eq!(checks.len(), 1 + pkcs11::STEPS.len());
        assert_eq!(heard(&module), [("module".to_owned(), Verdict::Ok)]);
        // What it had said already, it had come through.
        let checks = heard(&[&module, "kill -SEGV $$"].concat());
        assert_eq!(checks[1], ("close".to_owned(), Verdict::Trouble));
    }

    #[test]
    fn what_is_skipped_is_what_was_still_to_come() {
        let mut told = Vec::new();
        let mut tell = |news| told.push(news);
        let mut findings = Findings::new(Kind::Tpm, &["one", "two", "three"], &mut tell);
        findings.ok("one", "well");
        let code = DeviceCode { value: 0x921, name: "TPM_RC_LOCKOUT".to_owned() };
        findings.failed("two", &DeviceError::with_code(Fault::Failed("no".to_owned()), code), None);
        let Ended = findings.end("it is over");
        let checks: Vec<Check> =
            told.into_iter().filter_map(|news| if let News::Of(check) = news { Some(check) } else { None }).collect();
        let of: Vec<(&str, Verdict)> = checks.iter().map(|check| (check.id.as_str(), check.verdict)).collect();
        assert_eq!(of, [("one", Verdict::Ok), ("two", Verdict::Trouble), ("three", Verdict::Skipped)]);
        assert!(checks[1].remedy.is_some(), "the code's own");
        assert_eq!(checks[1].code.as_deref(), Some("TPM_RC_LOCKOUT (0x921)"));
    }
}
