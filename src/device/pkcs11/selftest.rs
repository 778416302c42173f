//! The self-test of a token's ways, before anything depends on them. What is not shown here is not believed.
//!
//! A secret that the host knows goes in, and must come out as it went in, by RFC 3394 or RFC 5649 where it is wrapped; the two
//! wrapping keys must give back the same secret, refuse a changed blob and each other's; and what the use key unwraps must
//! be locked. All of it with objects of its own, and none of the ring's secrets.

use cryptoki::error::Error;
use cryptoki::object::{Attribute, ObjectHandle};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use super::seal::{Bench, Both, Form};
use super::session::{By, Session, Temporary};
use super::token::Found;
use super::ways::{Enters, Leaves, Ways};
use super::{error, objects, seal, transport};
use crate::bytes::{Base64, Hex};
use crate::device::{DeviceError, Fault, Guard, Part, UsePart};
use crate::secret::{KEY_BYTES, Kek, MasterSecret, SecretBytes};
use crate::wrap::{WrapAlgorithm, WrappedSecret};

const MESSAGE: &[u8] = b"strongroom self-test";

/// What tells what was shown.
pub type Tell<'t> = &'t mut dyn FnMut(String);

/// Shows that the ways work by which a ring's seals are made, and tells each thing that was shown. Gives whether the use key
/// locks what it unwraps: where it does not, use implies export. Without `may_write`, nothing is done that makes a token
/// object, be it for a moment.
///
/// Errors with [`Fault::Missing`] where the token is not fit for the job.
pub fn run(test: &Test<'_>, bench: &Bench<'_>, may_write: bool, tell: Tell<'_>) -> Result<bool, DeviceError> {
    let ways = &bench.ways;
    if !may_write && ways.only_token_objects {
        tell("nothing was tried: that takes a token object, which would be written".to_owned());
        return Ok(true);
    }
    let inside = test.comes_in(ways, tell)?;
    if ways.let_out() {
        test.leaves(ways, &inside, tell)?;
    }
    match bench.keys {
        Some(keys) => test.keeps(bench, keys, &inside, tell),
        None if may_write => test.keeps_objects(bench, tell).map(|()| true),
        None => Ok(true),
    }
}

/// A self-test: a secret that the host knows, and what it comes in and leaves under.
pub struct Test<'s> {
    pub session: &'s Session,
    pub token: &'s Found,
    secret: MasterSecret,
    kek: Kek,
}

impl<'s> Test<'s> {
    pub fn new(session: &'s Session, token: &'s Found) -> Self {
        Self { session, token, secret: MasterSecret::new(SecretBytes::random(KEY_BYTES)), kek: Kek::random() }
    }

    /// The known secret comes in, and gives the same HMAC as on the host.
    pub fn comes_in(&self, ways: &Ways, tell: Tell<'_>) -> Result<Temporary<'s>, DeviceError> {
        let (algorithm, name, shown) = match ways.enters {
            Enters::UnderKek { mechanism, algorithm } => {
                let name = mechanism.name();
                (algorithm, name, format!("it opens what the host wrapped ({name})"))
            }
            Enters::Encrypted { mechanism } => {
                let name = mechanism.name();
                (WrapAlgorithm::A256Kw, name, format!("it opens what the host encrypted to a pair of its own ({name})"))
            }
            Enters::Plain {} => {
                let shown = "it takes a secret as it is (C_CreateObject)".to_owned();
                (WrapAlgorithm::A256Kw, "C_CreateObject", shown)
            }
        };
        let wrapped = WrappedSecret::wrap_as(algorithm, &self.secret, &self.kek);
        let inside = transport::bring_in(self.session, ways, &wrapped, &self.kek, Form::Open, &[])
            .map_err(|error| self.unfit_as(name, "it does not take in what the host wrapped", error))?;
        tell(shown);
        self.holds_the_secret(name, &inside)?;
        tell("a secret gives the same HMAC inside as outside (CKM_SHA256_HMAC)".to_owned());
        Ok(inside)
    }

    /// It leaves byte for byte as the standard says.
    pub fn leaves(&self, ways: &Ways, inside: &Temporary<'_>, tell: Tell<'_>) -> Result<(), DeviceError> {
        let (name, shown) = match ways.leaves {
            Leaves::UnderKek { mechanism, algorithm } => {
                (mechanism.name(), format!("it wraps as {} says", algorithm.standard()))
            }
            Leaves::Encrypted { mechanism } => {
                let name = mechanism.name();
                (name, format!("the host opens what it encrypts to a pair of the host's ({name})"))
            }
            Leaves::NotAtAll {} => ("a way out", String::new()),
        };
        let out = transport::let_out(self.session, ways.leaves, inside.handle(), &self.kek)
            .map_err(|error| self.unfit_as(name, "it does not let a secret out", error))?;
        if out != WrappedSecret::wrap_as(out.algorithm, &self.secret, &self.kek) {
            return Err(self.unfit(name, &format!("its wrap is not {}", out.algorithm.standard())));
        }
        tell(shown);
        Ok(())
    }

    /// Wrapped under both keys it comes back the same, and under nothing else; for use it is locked.
    pub fn keeps(
        &self,
        bench: &Bench<'_>,
        keys: Both,
        inside: &Temporary<'_>,
        tell: Tell<'_>,
    ) -> Result<bool, DeviceError> {
        let Some(by) = bench.ways.seals_by() else { return Err(self.unfit("its keys", "they wrap nothing")) };
        let Both { use_key, export_key } = keys;
        let wrap = |key, what| self.call(by, what, self.session.wrap(by, key, inside.handle()));
        let use_part = self.part(by, wrap(use_key.wraps, "C_WrapKey by the use key")?)?;
        let export_part = self.part(by, wrap(export_key.wraps, "C_WrapKey by the export key")?)?;
        let unseal = |key, part, form, what: &str| {
            seal::unseal(bench, key, part, form).map_err(|error| self.unfit_as(by.name(), what, error))
        };
        let locked = unseal(use_key, &use_part, Form::Locked, "C_UnwrapKey by the use key")?;
        self.holds_the_secret(by.name(), &locked)?;
        if !self.is_locked(by, &locked)? {
            return Err(self.unfit(by.name(), "it does not lock a secret that it is told to"));
        }
        tell("the use key gives back what it wrapped, locked".to_owned());
        let open = unseal(export_key, &export_part, Form::Open, "C_UnwrapKey by the export key")?;
        self.holds_the_secret(by.name(), &open)?;
        if bench.ways.let_out() {
            transport::let_out(self.session, bench.ways.leaves, open.handle(), &self.kek)
                .map_err(|error| self.unfit_as(by.name(), "what the export key unwraps does not leave", error))?;
        }
        tell("the export key gives back what it wrapped".to_owned());
        for (key, own, others) in [(use_key, &use_part, &export_part), (export_key, &export_part, &use_part)] {
            let mut changed = own.clone();
            let middle = own.blob.0.len() / 2;
            changed.blob.0[middle] ^= 1;
            if [&changed, others].into_iter().any(|part| seal::unseal(bench, key, part, Form::Locked).is_ok()) {
                return Err(self.unfit(by.name(), "it opens a blob that was changed"));
            }
        }
        tell("neither opens a blob that was changed, or the other's".to_owned());
        if bench.ways.let_out() {
            let made = seal::generate(bench);
            made.map_err(|error| self.unfit_as(by.name(), "it does not make a secret and wrap it", error))?;
            tell("it makes a secret, and wraps it (CKM_GENERIC_SECRET_KEY_GEN)".to_owned());
        }
        self.locks(bench, by, keys, &use_part)
    }

    fn part(&self, by: By, blob: Vec<u8>) -> Result<Part, DeviceError> {
        match by {
            By::Aes(_) if blob.len() != crate::wrap::WRAPPED_BYTES => {
                Err(self.unfit(by.name(), &format!("it wraps a secret into {} bytes", blob.len())))
            }
            By::Aes(_) | By::Rsa(_) => Ok(Part { blob: Base64(blob), name: None, guard: Guard::TokenPin {} }),
        }
    }

    /// What somebody who has the PIN and the use part would try: unwrap it open, make a wrapping key that decrypts, or
    /// wrap the locked secret all the same.
    fn locks(&self, bench: &Bench<'_>, by: By, keys: Both, part: &Part) -> Result<bool, DeviceError> {
        let Both { use_key, export_key } = keys;
        for [sensitive, extractable] in [[true, true], [false, true], [false, false]] {
            let mut template = Ways { locks_afterwards: false, ..bench.ways }.unwrap_template(Form::Locked);
            for attribute in &mut template {
                match attribute {
                    Attribute::Sensitive(value) => *value = sensitive,
                    Attribute::Extractable(value) => *value = extractable,
                    _ => {}
                }
            }
            if let Ok(object) = self.session.unwrap(by, use_key.unwraps, &part.blob.0, &template)
                && !self.is_locked(by, &object)?
            {
                return Ok(false);
            }
        }
        let decrypts = [Attribute::Token(false), Attribute::Decrypt(true)];
        if self.session.copy(use_key.unwraps, &decrypts).is_ok() {
            return Ok(false);
        }
        let locked = seal::unseal(bench, use_key, part, Form::Locked)
            .map_err(|error| self.unfit_as(by.name(), "C_UnwrapKey by the use key", error))?;
        Ok(self.session.wrap(by, export_key.wraps, locked.handle()).is_err())
    }

    /// A secret that is taken in to stay is found again, gives the same HMAC and is locked.
    pub fn keeps_objects(&self, bench: &Bench<'_>, tell: Tell<'_>) -> Result<(), DeviceError> {
        const NAME: &str = "a token object";
        let wrapped = WrappedSecret::wrap(&self.secret, &self.kek);
        let id = objects::keep(bench, &wrapped, &self.kek)
            .map_err(|error| self.unfit_as(NAME, "it does not keep a secret", error))?;
        let part = UsePart(Part { blob: Base64(id), name: None, guard: Guard::TokenPin {} });
        let found = objects::find(bench, &part).map_err(|error| self.unfit_as(NAME, "it loses a secret", error))?;
        // Given back on every path from here on.
        let kept = self.session.adopt(found);
        self.holds_the_secret(NAME, &kept)?;
        match self.is_locked_object(NAME, kept.handle())? {
            true => tell("it keeps a secret as an object of its own, locked".to_owned()),
            false => return Err(self.unfit(NAME, "it does not lock a secret that it is told to")),
        }
        Ok(())
    }

    /// Sensitive, not extractable, and the value really is not told.
    fn is_locked(&self, by: By, object: &Temporary<'_>) -> Result<bool, DeviceError> {
        self.is_locked_object(by.name(), object.handle())
    }

    fn is_locked_object(&self, name: &str, object: ObjectHandle) -> Result<bool, DeviceError> {
        let lock = [Attribute::Sensitive(true), Attribute::Extractable(false)];
        let kinds = lock.each_ref().map(Attribute::attribute_type);
        let asked = |told| self.called(name, "C_GetAttributeValue", told);
        let told = asked(self.session.attributes(object, &kinds))?;
        let revealed = self.called(name, "C_GetAttributeValue", self.session.reveals(object))?;
        Ok(lock.iter().all(|attribute| told.contains(attribute)) && !revealed)
    }

    fn holds_the_secret(&self, name: &str, object: &Temporary<'_>) -> Result<(), DeviceError> {
        let mac = self.called(name, "C_Sign", self.session.hmac(object.handle(), MESSAGE))?;
        let host = <Hmac<Sha256>>::new_from_slice(self.secret.expose_secret()).expect("HMAC takes keys of any length");
        host.chain_update(MESSAGE)
            .verify_slice(mac.expose_secret())
            .map_err(|_| self.unfit(name, "a secret gives other HMACs inside than outside"))
    }

    fn call<T>(&self, by: By, what: &str, result: Result<T, Error>) -> Result<T, DeviceError> {
        self.called(by.name(), what, result)
    }

    fn called<T>(&self, name: &str, what: &str, result: Result<T, Error>) -> Result<T, DeviceError> {
        result.map_err(|source| self.unfit_as(name, what, error::plain(source)))
    }

    /// The token is not fit because of `error`; unless the session, the token or the library is gone, which says nothing of
    /// that.
    fn unfit_as(&self, name: &str, why: &str, error: DeviceError) -> DeviceError {
        match error::has_gone(&error) || matches!(error.fault, Fault::Untrusted(_)) {
            true => error,
            false => DeviceError { code: error.code, ..self.unfit(name, why) },
        }
    }

    fn unfit(&self, name: &str, why: &str) -> DeviceError {
        Fault::Missing(format!("{name} of {} failed its self-test: {why}", self.token.name())).into()
    }
}

/// Where no ring is yet.
pub const NO_RING: Hex<16> = Hex([0; 16]);
