//! The self-test of a token's key wrap, before anything depends on it. What is not shown here is not believed.
//!
//! A secret that the host knows goes in under a KEK that the host knows, and must come out as RFC 3394 says; the two
//! wrapping keys must give back the same secret, refuse a changed blob and each other's; and what the use key unwraps must
//! be locked. All of it with session objects of its own, and none of the ring's secrets.

use cryptoki::error::Error;
use cryptoki::object::{Attribute, ObjectHandle};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use super::session::{Session, Temporary};
use super::token::Found;
use super::{error, seal};
use crate::device::{DeviceError, Fault};
use crate::secret::{KEY_BYTES, Kek, MasterSecret, SecretBytes};
use crate::wrap::WrappedSecret;

const MESSAGE: &[u8] = b"strongroom self-test";

/// Runs it all, and tells what was shown. Gives whether the use key locks what it unwraps: where it does not, use implies
/// export.
///
/// Errors with [`Fault::Missing`] where the token's CKM_AES_KEY_WRAP is not fit for the job.
pub fn run(
    session: &Session,
    token: &Found,
    use_key: ObjectHandle,
    export_key: ObjectHandle,
    tell: &mut dyn FnMut(&'static str),
) -> Result<bool, DeviceError> {
    let test = Test { session, token, secret: MasterSecret::new(SecretBytes::random(KEY_BYTES)) };
    let (use_blob, export_blob) = test.brings_in_and_out(use_key, export_key, tell)?;
    test.unwraps_locked(use_key, &use_blob)?;
    tell("the use key gives back what it wrapped, locked");
    let open = test.call("C_UnwrapKey by the export key", session.unwrap(export_key, &export_blob, &seal::open()))?;
    test.holds_the_secret(&open)?;
    tell("the export key gives back what it wrapped");
    test.refuses_others(use_key, &use_blob, &export_blob)?;
    test.refuses_others(export_key, &export_blob, &use_blob)?;
    tell("neither opens a blob that was changed, or the other's");
    test.locks(use_key, export_key, &use_blob)
}

struct Test<'s> {
    session: &'s Session,
    token: &'s Found,
    secret: MasterSecret,
}

impl Test<'_> {
    /// A known secret under a known KEK: in, the same HMAC as on the host, out again byte for byte. Gives it wrapped
    /// under both keys.
    fn brings_in_and_out(
        &self,
        use_key: ObjectHandle,
        export_key: ObjectHandle,
        tell: &mut dyn FnMut(&'static str),
    ) -> Result<(Vec<u8>, Vec<u8>), DeviceError> {
        let kek = Kek::random();
        let wrapped = WrappedSecret::wrap(&self.secret, &kek);
        let inside = seal::take_in(self.session, &wrapped, &kek, &seal::open()).map_err(|error| {
            let says_no = matches!(error.fault, Fault::Damaged(_) | Fault::Missing(_) | Fault::Failed(_));
            if says_no { self.unfit_as("it does not open what the host wrapped", error) } else { error }
        })?;
        tell("it opens what the host wrapped (CKM_AES_KEY_WRAP)");
        self.holds_the_secret(&inside)?;
        tell("a secret gives the same HMAC inside as outside (CKM_SHA256_HMAC)");

        let kek = self.call("C_CreateObject", seal::bring(self.session, &kek, seal::KekMay::Wrap))?;
        let out = self.call("C_WrapKey under a KEK", self.session.wrap(kek.handle(), inside.handle()))?;
        if out != wrapped.wrapped.0 {
            return Err(self.unfit("its wrap is not RFC 3394"));
        }
        tell("it wraps as RFC 3394 says");
        Ok((
            self.call("C_WrapKey by the use key", self.session.wrap(use_key, inside.handle()))?,
            self.call("C_WrapKey by the export key", self.session.wrap(export_key, inside.handle()))?,
        ))
    }

    fn unwraps_locked(&self, use_key: ObjectHandle, blob: &[u8]) -> Result<(), DeviceError> {
        let locked = self.call("C_UnwrapKey by the use key", self.session.unwrap(use_key, blob, &seal::locked()))?;
        self.holds_the_secret(&locked)?;
        match self.is_locked(&locked)? {
            true => Ok(()),
            false => Err(self.unfit("it does not lock a secret that it is told to")),
        }
    }

    /// A blob with one bit changed, and the blob of the other key: RFC 3394 authenticates, so neither may open.
    fn refuses_others(&self, key: ObjectHandle, own: &[u8], others: &[u8]) -> Result<(), DeviceError> {
        let mut changed = own.to_vec();
        changed[own.len() / 2] ^= 1;
        for blob in [&changed[..], others] {
            if self.session.unwrap(key, blob, &seal::locked()).is_ok() {
                return Err(self.unfit("it opens a blob that was changed"));
            }
        }
        Ok(())
    }

    /// What somebody who has the PIN and the use part would try: unwrap it open, make a wrapping key that decrypts, or
    /// wrap the locked secret all the same.
    fn locks(&self, use_key: ObjectHandle, export_key: ObjectHandle, blob: &[u8]) -> Result<bool, DeviceError> {
        for [sensitive, extractable] in [[true, true], [false, true], [false, false]] {
            let mut template = seal::locked();
            for attribute in &mut template {
                match attribute {
                    Attribute::Sensitive(value) => *value = sensitive,
                    Attribute::Extractable(value) => *value = extractable,
                    _ => {}
                }
            }
            if let Ok(object) = self.session.unwrap(use_key, blob, &template)
                && !self.is_locked(&object)?
            {
                return Ok(false);
            }
        }
        let decrypts = [Attribute::Token(false), Attribute::Decrypt(true)];
        if self.session.copy(use_key, &decrypts).is_ok() {
            return Ok(false);
        }
        let locked = self.call("C_UnwrapKey by the use key", self.session.unwrap(use_key, blob, &seal::locked()))?;
        Ok(self.session.wrap(export_key, locked.handle()).is_err())
    }

    /// Sensitive, not extractable, and the value really is not told.
    fn is_locked(&self, object: &Temporary<'_>) -> Result<bool, DeviceError> {
        let lock = [Attribute::Sensitive(true), Attribute::Extractable(false)];
        let kinds = lock.each_ref().map(Attribute::attribute_type);
        let told = self.call("C_GetAttributeValue", self.session.attributes(object.handle(), &kinds))?;
        let revealed = self.call("C_GetAttributeValue", self.session.reveals(object.handle()))?;
        Ok(lock.iter().all(|attribute| told.contains(attribute)) && !revealed)
    }

    fn holds_the_secret(&self, object: &Temporary<'_>) -> Result<(), DeviceError> {
        let mac = self.call("C_Sign", self.session.hmac(object.handle(), MESSAGE))?;
        let host = <Hmac<Sha256>>::new_from_slice(self.secret.expose_secret()).expect("HMAC takes keys of any length");
        host.chain_update(MESSAGE)
            .verify_slice(mac.expose_secret())
            .map_err(|_| self.unfit("a secret gives other HMACs inside than outside"))
    }

    fn call<T>(&self, what: &str, result: Result<T, Error>) -> Result<T, DeviceError> {
        result.map_err(|source| {
            if error::is_gone(&source) {
                return error::plain(source);
            }
            let what = format!("CKM_AES_KEY_WRAP of {} failed its self-test: {what}", self.token.name());
            error::because(Fault::Missing(what), &source)
        })
    }

    fn unfit_as(&self, why: &str, error: DeviceError) -> DeviceError {
        DeviceError { code: error.code, ..self.unfit(why) }
    }

    fn unfit(&self, why: &str) -> DeviceError {
        Fault::Missing(format!("CKM_AES_KEY_WRAP of {} failed its self-test: {why}", self.token.name())).into()
    }
}
