//! A token set up for a ring: by the ways that are recorded, or by those that it turns out to have.

use super::discovery::{Discovered, Search};
use super::keys::{self, Role};
use super::maker::Maker;
use super::seal::{Bench, Both};
use super::selftest::{self, Test};
use super::session::Session;
use super::ways::Ways;
use super::{Token, Work, WrappingKey, error};
use crate::device::{DeviceError, Fault, Intent, Root};

impl Token {
    /// Finds or makes the ring's keys, and shows that the token does its job; gives what to pin. `is_making` says which key could not
    /// be made, after an error.
    pub(super) fn set_up(&mut self, intent: &Intent, is_making: &mut Option<Role>) -> Result<Root, DeviceError> {
        *is_making = None;
        let lacks = self.found.lacks(&self.module, self.pinned.is_none())?;
        if !lacks.is_empty() {
            return Err(Fault::Missing(format!("{} lacks {}", self.found.name(), lacks.join(", "))).into());
        }
        self.work()?;
        let Discovered { ways, keys, locks_use } = match &self.pinned {
            Some(Root::Pkcs11 { ways, .. }) => {
                let ways = *ways;
                self.set_up_again(ways, intent, is_making)?
            }
            Some(Root::Tpm { .. }) | None => self.discover(intent, is_making)?,
        };
        let (use_key, export_key) = match keys {
            Some(Both { use_key, export_key }) => (
                WrappingKey::checked(intent.use_key, use_key, locks_use),
                WrappingKey::checked(intent.export_key, export_key, false),
            ),
            None => (WrappingKey::none(intent.use_key, locks_use), WrappingKey::none(intent.export_key, false)),
        };
        let root = Root::Pkcs11 { token: self.found.identity.clone(), use_key, export_key, ways };
        self.pinned = Some(root.clone());
        let work = self.work.as_mut().expect("the token was tried in a session");
        (work.use_key, work.export_key) = (keys.map(|both| both.use_key), keys.map(|both| both.export_key));
        Ok(root)
    }

    /// What was recorded, shown again.
    fn set_up_again(
        &mut self,
        ways: Ways,
        intent: &Intent,
        is_making: &mut Option<Role>,
    ) -> Result<Discovered, DeviceError> {
        let session = &self.work.as_ref().expect("logged in by the caller").session;
        let maker = self.maker(session, intent);
        let keys = ways.kept.keys().map(|kind| maker.both(kind, is_making)).transpose()?.map(|made| made.keys);
        let bench = Bench { session, ways, keys, ring: intent.use_key };
        let locks_use = selftest::run(&Test::new(session, &self.found), &bench, true, &mut |_| {})?;
        Ok(Discovered { ways, keys, locks_use })
    }

    /// What works, tried in a session that may write, since some tokens have token objects alone.
    fn discover(&mut self, intent: &Intent, is_making: &mut Option<Role>) -> Result<Discovered, DeviceError> {
        let offered = self.found.offered(&self.module)?;
        let writing = Session::read_write(&self.module, self.found.slot).map_err(error::plain)?;
        let test = Test::new(&writing, &self.found);
        let mut search = Search::new(&test, &offered);
        let (ways, inside) = search.passage()?;
        let maker = self.maker(&writing, intent);
        for kind in [keys::Kind::Aes, keys::Kind::Rsa] {
            if ways.only_token_objects || search.kept(kind).is_empty() {
                continue;
            }
            let Some(made) = search.keys(|| maker.both(kind, is_making))? else { continue };
            if let Some(discovered) = search.keeping(&ways, kind, made.keys, intent.use_key, &inside)? {
                return Ok(discovered);
            }
            maker.discard(&made)?;
        }
        drop(inside);
        let discovered = search.keeps_objects(&ways, intent.use_key)?;
        if let Some(work) = &mut self.work {
            // What is taken in will be written.
            *work = Work { loaded: None, use_key: None, export_key: None, session: writing };
        }
        Ok(discovered)
    }

    fn maker<'a>(&'a self, session: &'a Session, intent: &'a Intent) -> Maker<'a> {
        Maker { module: &self.module, token: &self.found, session, intent, pinned: self.pinned.as_ref() }
    }
}
