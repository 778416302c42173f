//! Which ways a token has: tried one after the other, the best first, by the self-test. What works is recorded, and never looked
//! for again: a token that is somewhat ill one day must not be used by a worse way from then on.

use super::error;
use super::keys::Kind;
use super::maker::Made;
use super::mechanism::{KeyWrap, Oaep};
use super::seal::{Bench, Both};
use super::selftest::Test;
use super::session::Temporary;
use super::ways::{Enters, HmacKey, Kept, Leaves, Ways};
use crate::bytes::Hex;
use crate::device::{DeviceError, Fault};
use crate::wrap::WrapAlgorithm;

/// The mechanisms that a token says it has, of those that secrets may pass by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered {
    pub wraps: Vec<KeyWrap>,
    /// CKM_RSA_PKCS_OAEP, and the making of key pairs for it.
    pub oaep: bool,
    /// Whether it makes secrets.
    pub generates: bool,
    /// CKM_AES_CBC_PAD, which opens what was changed: no way for anything here.
    pub cbc_pad: bool,
}

impl Offered {
    /// Whether a secret that is made in the token may be able to leave it.
    pub fn may_let_out(&self) -> bool {
        self.generates && (self.oaep || !self.wraps.is_empty())
    }

    /// What secrets may pass by, as people know it.
    pub fn names(&self) -> Vec<String> {
        let wraps = self.wraps.iter().map(|wrap| format!("{} ({:#x})", wrap.name(), wrap.number()));
        wraps.chain(self.oaep.then(|| "CKM_RSA_PKCS_OAEP (0x9)".to_owned())).collect()
    }

    /// What is missing for that.
    pub fn no_way_out(&self) -> String {
        let missing = match (self.generates, self.cbc_pad) {
            (false, _) => "it does not have CKM_GENERIC_SECRET_KEY_GEN (0x350)",
            (true, false) => NEITHER,
            (true, true) => {
                return format!("{ONLY}: {NEITHER}; CKM_AES_CBC_PAD (0x1085), which it has, opens what was changed");
            }
        };
        format!("{ONLY}: {missing}")
    }
}

const ONLY: &str = "it lets no secret out, and can only be one more device of a system";
const NEITHER: &str =
    "it has neither CKM_AES_KEY_WRAP (0x2109), nor another key wrap of AES, nor CKM_RSA_PKCS_OAEP (0x9)";

/// The ways that work, and what was shown of them.
pub struct Discovered {
    pub ways: Ways,
    pub keys: Option<Both>,
    pub locks_use: bool,
}

/// What a search has come to.
pub struct Search<'a, 's> {
    pub test: &'a Test<'s>,
    pub offered: &'a Offered,
    /// Why what was tried does not do: the first reason is the one that is told, with its code.
    reasons: Vec<DeviceError>,
}

impl<'a, 's> Search<'a, 's> {
    pub fn new(test: &'a Test<'s>, offered: &'a Offered) -> Self {
        Self { test, offered, reasons: Vec::new() }
    }

    /// How secrets come in and leave, with the one that has come in.
    pub fn passage(&mut self) -> Result<(Ways, Temporary<'s>), DeviceError> {
        let (mut ways, inside) = self.entrance()?;
        ways.leaves = self.exit(&ways, &inside)?;
        Ok((ways, inside))
    }

    fn entrance(&mut self) -> Result<(Ways, Temporary<'s>), DeviceError> {
        let under_kek = self.under_kek().map(|(mechanism, algorithm)| Enters::UnderKek { mechanism, algorithm });
        let mut candidates: Vec<Enters> = under_kek.collect();
        candidates.extend(self.oaep().map(|mechanism| Enters::Encrypted { mechanism }));
        candidates.push(Enters::Plain {});
        for key in [HmacKey::GenericSecret, HmacKey::Sha256Hmac] {
            for enters in &candidates {
                // What a KEK or a pair is brought in for has to be a session object too.
                let only_token_objects: &[bool] = if *enters == (Enters::Plain {}) { &[false, true] } else { &[false] };
                for only_token_objects in only_token_objects.iter().copied() {
                    for locks_afterwards in [false, true] {
                        let ways =
                            Ways { enters: *enters, key, only_token_objects, locks_afterwards, ..Ways::default() };
                        if let Some(inside) = self.attempt(|test| test.comes_in(&ways, &mut |_| {}))? {
                            return Ok((ways, inside));
                        }
                    }
                }
            }
        }
        Err(self.nothing_works())
    }

    fn exit(&mut self, ways: &Ways, inside: &Temporary<'s>) -> Result<Leaves, DeviceError> {
        let under_kek = self.under_kek().map(|(mechanism, algorithm)| Leaves::UnderKek { mechanism, algorithm });
        let mut candidates: Vec<Leaves> = under_kek.collect();
        candidates.extend(self.oaep().map(|mechanism| Leaves::Encrypted { mechanism }));
        for leaves in candidates {
            let ways = Ways { leaves, ..*ways };
            if self.attempt(|test| test.leaves(&ways, inside, &mut |_| {}))?.is_some() {
                return Ok(leaves);
            }
        }
        Ok(Leaves::NotAtAll {})
    }

    /// How secrets are kept under wrapping keys of `kind`, which are there; none: in no way.
    pub fn keeping(
        &mut self,
        ways: &Ways,
        kind: Kind,
        keys: Both,
        ring: Hex<16>,
        inside: &Temporary<'s>,
    ) -> Result<Option<Discovered>, DeviceError> {
        for kept in self.kept(kind) {
            // One that did not heed a template, does not now.
            for locks_afterwards in [ways.locks_afterwards, true] {
                let was_so = ways.locks_afterwards == locks_afterwards;
                let ways = Ways { kept, locks_afterwards, ..*ways };
                let bench = Bench { session: self.test.session, ways, keys: Some(keys), ring };
                let shown = self.attempt(|test| {
                    if !was_so {
                        test.comes_in(&ways, &mut |_| {})?;
                    }
                    test.keeps(&bench, keys, inside, &mut |_| {})
                })?;
                if let Some(locks_use) = shown {
                    return Ok(Some(Discovered { ways, keys: Some(keys), locks_use }));
                }
            }
        }
        Ok(None)
    }

    /// The ways of keeping that are offered with wrapping keys of `kind`.
    pub fn kept(&self, kind: Kind) -> Vec<Kept> {
        match kind {
            Kind::Aes => self.offered.wraps.iter().map(|mechanism| Kept::Wrapped { mechanism: *mechanism }).collect(),
            Kind::Rsa => self.oaep().map(|mechanism| Kept::Encrypted { mechanism }).collect(),
        }
    }

    /// Wrapping keys; none where the token refuses to make such keys.
    pub fn keys(
        &mut self,
        mut find_or_make: impl FnMut() -> Result<Made, DeviceError>,
    ) -> Result<Option<Made>, DeviceError> {
        match find_or_make() {
            Err(error) if matches!(error.fault, Fault::Failed(_) | Fault::Missing(_)) => match find_or_make() {
                Ok(keys) => Ok(Some(keys)),
                Err(_) => {
                    self.reasons.push(error);
                    Ok(None)
                }
            },
            done => done.map(Some),
        }
    }

    /// Whether the token keeps secrets itself.
    pub fn keeps_objects(&mut self, ways: &Ways, ring: Hex<16>) -> Result<Discovered, DeviceError> {
        for locks_afterwards in [ways.locks_afterwards, true] {
            let ways = Ways { kept: Kept::Objects {}, leaves: Leaves::NotAtAll {}, locks_afterwards, ..*ways };
            let bench = Bench { session: self.test.session, ways, keys: None, ring };
            if self.attempt(|test| test.keeps_objects(&bench, &mut |_| {}))?.is_some() {
                return Ok(Discovered { ways, keys: None, locks_use: true });
            }
        }
        Err(self.nothing_works())
    }

    fn under_kek(&self) -> impl Iterator<Item = (KeyWrap, WrapAlgorithm)> + use<'a, 's> {
        let offered: &'a Offered = self.offered;
        offered.wraps.iter().flat_map(|mechanism| WrapAlgorithm::ALL.map(|algorithm| (*mechanism, algorithm)))
    }

    fn oaep(&self) -> impl Iterator<Item = Oaep> + use<> {
        Oaep::ALL.into_iter().filter({
            let offered = self.offered.oaep;
            move |_| offered
        })
    }

    /// Tries one thing, and once more where it does not work: nobody looks again. Error: it could not be tried.
    fn attempt<T>(&mut self, work: impl Fn(&Test<'s>) -> Result<T, DeviceError>) -> Result<Option<T>, DeviceError> {
        match work(self.test).or_else(|first| work(self.test).map_err(|_| first)) {
            Ok(done) => Ok(Some(done)),
            Err(error) if error::has_gone(&error) => Err(error),
            Err(error) => {
                self.reasons.push(error);
                Ok(None)
            }
        }
    }

    fn nothing_works(&mut self) -> DeviceError {
        match self.reasons.is_empty() {
            false => self.reasons.swap_remove(0),
            true => Fault::Missing(format!("{} takes no secret in", self.test.token.name())).into(),
        }
    }
}
