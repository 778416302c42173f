//! A token, looked at step by step: from the module's file to its mechanisms. That opens no session and sends no PIN; the
//! self-test, line by line, does.

use super::keys::Role;
use super::module::Module;
use super::seal::Bench;
use super::selftest::Test;
use super::token::{self, Found, NEEDED};
use super::uri::Pkcs11Uri;
use super::{Token, TokenIdentity, selftest};
use crate::device::checkup::{Check, Ended, Findings, Verdict, alone};
use crate::device::{DeviceError, DeviceUri, Fault, Root};

/// The steps, in order.
pub const STEPS: [&str; 9] =
    ["module", "load", "initialise", "library", "token", "identity", "state", "pin", "mechanisms"];

/// All of it. Error: it could not be looked at to the end, which was told.
pub fn checkup(uri: &Pkcs11Uri, pinned: Option<&Root>, findings: &mut Findings<'_>) -> Result<(), Ended> {
    let installed = uri.module().map_err(|error| {
        let remedy = "install the token's module, or name its file in the URI: `?module-path=/usr/lib/.../NAME.so`; \
             `apt install p11-kit-modules` brings p11-kit's proxy";
        findings.failed("module", &error, Some(remedy));
        findings.end("it takes the PKCS#11 module")
    })?;
    let path = &installed.file;
    let shown = path.display().to_string();
    let _lock = alone(&DeviceUri::Pkcs11(uri.clone()), "module", findings)?;
    if path.exists() {
        findings.ok("module", &shown);
    }
    findings.at("load", format!("when {shown} was loaded"));
    if let Err(error) = Module::load(path) {
        let id = if path.exists() { "load" } else { "module" };
        findings.failed(
            id,
            &error,
            Some("see that the path is right, and that it is a PKCS#11 module for this machine"),
        );
        return Err(findings.end("it takes a PKCS#11 module that can be loaded"));
    }
    findings.ok("load", "it is a PKCS#11 module");
    findings.at("initialise", format!("when {shown} was initialised (C_Initialize)"));
    let module = Module::open(&installed).map_err(|error| {
        findings.failed("initialise", &error, Some(CONFIGURE));
        findings.end("it takes a module that can be initialised")
    })?;
    findings.ok("initialise", "C_Initialize went well");
    library(&module, findings);
    let found = find(&module, uri, pinned, findings)?;
    identity(&found, pinned, findings)?;
    state(&found, pinned.is_some(), findings)?;
    pin(&found, findings);
    mechanisms(&module, &found, findings);
    Ok(())
}

const LOOK: &str = "see that it is plugged in, and that the URI says its label (a blank one gets one by `strongroom device init \
     --label NAME`); where there should be others, see the module's configuration (SoftHSM's is what SOFTHSM2_CONF names)";
const WHICH: &str = "say which one is meant: add `;serial=SERIAL` or `;slot-id=SLOT` before the `?` of the URI";
const ELSEWHERE: &str = "make the system on another device, and add this one: `strongroom device add`";
const CONFIGURE: &str = "see the module's own configuration and log; SoftHSM's is what SOFTHSM2_CONF names";

fn library(module: &Module, findings: &mut Findings<'_>) {
    findings.at("library", "when it was asked for its version (C_GetInfo)");
    match module.calls().get_library_info() {
        Ok(info) => {
            let (description, maker) = (info.library_description().trim(), info.manufacturer_id().trim());
            let version = info.cryptoki_version();
            let text = format!("{description} ({maker}), version {}, Cryptoki {version}", info.library_version());
            match (version.major(), version.minor()) {
                (0..=1, _) | (2, 0..=19) => {
                    findings.note("library", format!("{text}: older than any that was tried"), None);
                }
                _ => findings.ok("library", text),
            }
        }
        Err(source) => findings.failed("library", &super::error::plain(source), Some(CONFIGURE)),
    }
}

fn find(module: &Module, uri: &Pkcs11Uri, pinned: Option<&Root>, findings: &mut Findings<'_>) -> Result<Found, Ended> {
    let pinned = match pinned {
        Some(Root::Pkcs11 { token, .. }) => Some(token),
        Some(Root::Tpm { .. }) | None => None,
    };
    findings.at("token", "when it was asked for its tokens (C_GetSlotList, C_GetTokenInfo)");
    match token::find(module, uri, pinned) {
        Ok(found) => {
            let TokenIdentity { manufacturer, model, serial, .. } = &found.identity;
            let serial = if serial.is_empty() { String::new() } else { format!(", serial {serial}") };
            let (name, firmware, slot) = (found.name(), found.firmware(), found.slot.id());
            findings.ok("token", format!("{name} ({manufacturer} {model}, firmware {firmware}{serial}, slot {slot})"));
            Ok(found)
        }
        Err(error) => {
            let several = matches!(error.fault, Fault::Ambiguous(_));
            let remedy = if several { WHICH } else { LOOK };
            // The token's own code says more.
            findings.failed("token", &error, error.code.is_none().then_some(remedy));
            Err(findings.end("it takes one token"))
        }
    }
}

fn identity(found: &Found, pinned: Option<&Root>, findings: &mut Findings<'_>) -> Result<(), Ended> {
    let wanted = match pinned {
        None => {
            findings.skipped("identity", "it is in no ring yet");
            return Ok(());
        }
        Some(Root::Pkcs11 { token, .. }) => token,
        Some(Root::Tpm { .. }) => {
            findings.trouble("identity", "the ring pinned a TPM, and the URI names a token", "`strongroom recover`");
            return Err(findings.end("it takes the token that the ring pinned"));
        }
    };
    if *wanted == found.identity {
        findings.ok("identity", "it is the token that the ring pinned");
        return Ok(());
    }
    let of = |identity: &TokenIdentity| format!("`{}` (serial {})", identity.label, identity.serial);
    findings.trouble(
        "identity",
        format!("the ring's token is {}, this is {}", of(wanted), of(&found.identity)),
        "put back the token that made the seals, or restore a backup onto this one: `strongroom restore --replace FILE`",
    );
    Err(findings.end("it takes the token that the ring pinned"))
}

fn state(found: &Found, is_known: bool, findings: &mut Findings<'_>) -> Result<(), Ended> {
    if !found.initialised() {
        findings.trouble(
            "state",
            "the token is blank",
            "`strongroom device init --label NAME URI` gives it a label, a security officer's PIN and a user PIN, where its module \
             lets programs do that; its maker's tool does otherwise",
        );
        return Err(findings.end("it takes an initialised token"));
    }
    match (found.is_write_protected(), is_known) {
        (false, _) => findings.ok("state", "it is initialised, and can be written"),
        (true, true) => findings.note("state", "it is initialised, and write-protected: no key can be made", None),
        (true, false) => findings.trouble(
            "state",
            "it is write-protected: the two wrapping keys can't be made",
            "lift the write protection while they are made",
        ),
    }
    Ok(())
}

fn pin(found: &Found, findings: &mut Findings<'_>) {
    const OFFICER: &str = "its security officer can set a new one; a backup restores onto another device";
    const CAREFUL: &str = "be sure of the PIN before the next try: wrong ones are counted, and a right one ends that";
    if !found.wants_login() {
        return findings.note("pin", "it asks for none: whoever reaches the token can use its keys", None);
    }
    if !found.has_user_pin() {
        let remedy = "have its security officer set one: `strongroom device init URI`";
        return findings.trouble("pin", "the token has no user PIN yet", remedy);
    }
    let tries = found.tries();
    match (tries.left, tries.low) {
        (Some(0), _) => findings.trouble("pin", "the user PIN is locked: too many wrong ones", OFFICER),
        (Some(_), _) => findings.trouble("pin", "one more wrong PIN locks the token", CAREFUL),
        (None, true) => findings.note("pin", "wrong PINs were tried: few tries are left", Some(CAREFUL)),
        (None, false) if found.has_pin_pad() => findings.ok("pin", "set; it is typed on the token's own keys"),
        (None, false) => findings.ok("pin", "set, and not locked"),
    }
}

fn mechanisms(module: &Module, found: &Found, findings: &mut Findings<'_>) {
    findings.at("mechanisms", "when it was asked for its mechanisms (C_GetMechanismList)");
    let told = found.lacked_mechanisms(module).and_then(|lacks| Ok((lacks, found.offered(module)?)));
    match told {
        Ok((lacks, offered)) if lacks.is_empty() && offered.may_let_out() => {
            findings.ok(
                "mechanisms",
                [NEEDED.map(|(_, name)| name.to_owned()).to_vec(), offered.names()].concat().join(", "),
            );
        }
        Ok((lacks, offered)) if lacks.is_empty() => findings.note("mechanisms", offered.no_way_out(), Some(ELSEWHERE)),
        Ok((lacks, _)) => {
            let remedy = "see whether its configuration or a newer firmware offers them, or use another device";
            findings.trouble("mechanisms", format!("it lacks {}", lacks.join(", ")), remedy);
        }
        Err(error) => findings.failed("mechanisms", &error, Some(CONFIGURE)),
    }
}

impl Token {
    /// Logs in, and runs the self-test on the ring's wrapping keys, with session objects alone. Error: the login failed.
    pub fn self_test(&mut self) -> Result<Vec<Check>, DeviceError> {
        const ID: &str = "self-test";
        self.work()?;
        let ok = |text: &str| Check::new(ID, Verdict::Ok, text, None);
        let mut lines = vec![ok("the token took the PIN")];
        let shown = self.bench().map(|bench| bench.keys).and_then(|keys| {
            if keys.is_some() {
                lines.push(ok("the ring's two wrapping keys are there, and are what they were"));
            }
            let (ways, ring) = (self.ways(), self.id(Role::Use)?);
            lines.push(ok(&ways.summary()));
            let session = &self.work.as_ref().expect("logged in above").session;
            let bench = Bench { session, ways, keys, ring };
            selftest::run(&Test::new(session, &self.found), &bench, false, &mut |what| lines.push(ok(&what)))
        });
        lines.push(match shown {
            Ok(true) => ok("what the use key unwraps can't be taken out"),
            Ok(false) => Check::new(
                ID,
                Verdict::Note,
                "use implies export: what the use key unwraps can be taken out by whoever has the PIN",
                None,
            ),
            Err(error) => Check {
                code: error.code.as_ref().map(ToString::to_string),
                ..Check::new(
                    ID,
                    Verdict::Trouble,
                    error.fault.to_string(),
                    Some("make a backup while another device serves, and move off this token: `strongroom device add`"),
                )
            },
        });
        Ok(lines)
    }
}
