//! What each change makes of a ring, compared with what it has to make of it.

use strongroom::bytes::Hex;
use strongroom::device::{Guard, Intent, Kind};
use strongroom::ring::{Anchor, DeviceRecord, Generation, MAX_DEVICES, Ring, RingError, State};

use crate::acts::Change;
use crate::forms;

/// Changes the ring; none where there is nothing to change, or it is refused as it has to be. A ring after a refused change
/// is thrown away, as ceremonies do.
pub fn change(change: &Change, ring: &Ring) -> Option<Ring> {
    let mut next = ring.clone();
    let has_device = ring.devices.iter().any(|device| device.root().is_some());
    match change {
        Change::Found { .. } | Change::AbandonFounding | Change::ForgetHistory | Change::Damage { .. } => return None,
        // There is nothing to make a secret in.
        Change::Pend { .. } | Change::PendAnother { .. } | Change::Admit { .. } if !has_device => return None,
        Change::Pend { seed, on } => {
            let number = ring.next_number().expect("there is room");
            let is_fine = ring.pending().is_none() && ring.by_id(forms::id(*seed)).is_none();
            let pended = next.pend(generation(ring, number, *seed, State::Pending, *on));
            assert_eq!(pended.is_ok(), is_fine, "{pended:?}");
            pended.ok()?;
        }
        Change::PendAnother { off, seed } => {
            for number in [ring.last_number.saturating_sub(off - 1), ring.last_number + 1 + off] {
                let generation = generation(ring, number, *seed, State::Pending, 0);
                assert!(ring.clone().pend(generation).is_err(), "{number} is not the next one");
            }
            return None;
        }
        Change::ActivatePending { content } => {
            let number = ring.pending()?.number;
            next.note_backup(forms::backup(*content, *content, true));
            next.activate(number).expect("what is pending may become active");
            assert_eq!(next.active().map(|active| active.number), Some(number));
        }
        Change::DropPending => {
            let number = next.drop_pending()?;
            assert_eq!((next.last_number, next.generation(number)), (ring.last_number, None), "a number stays burnt");
        }
        Change::Admit { entries, on, activate } => {
            next.drop_pending();
            for (number, seed) in entries {
                admit(&mut next, *number, *seed, *on)?;
            }
            if let Some((_, seed)) = entries.last().filter(|_| *activate) {
                let number = next.by_id(forms::id(*seed)).expect("it was admitted").number;
                next.activate(number).expect("what was proved may become active");
            }
        }
        Change::ActivateKept { which } => {
            let usable: Vec<u32> = ring.usable().map(|generation| generation.number).collect();
            next.activate(*usable.get(which % usable.len().max(1))?).expect("what was active may become so again");
        }
        Change::NoteBackup { path, content, is_proved } => {
            let noted = forms::backup(*path, *content, *is_proved);
            next.note_backup(noted.clone());
            let same = next.backups.iter().filter(|backup| backup.sha256 == noted.sha256);
            assert_eq!(same.map(|backup| &backup.path).collect::<Vec<_>>(), [&noted.path], "noted once");
            let there = next.backups.iter().filter(|backup| backup.path == noted.path).count();
            assert_eq!(there, 1, "one file lies at one path");
        }
        Change::AddDevice => {
            let name = Ring::device_name(Kind::Tpm, &ring.devices);
            let added = next.add_device(forms::tpm(&name, Anchor::Intended(Intent::random())));
            assert_eq!(added.is_ok(), ring.devices.len() < MAX_DEVICES, "{added:?}");
            added.ok()?;
            assert_eq!(ring.in_service().count(), next.in_service().count(), "nothing is sealed on it yet");
        }
        Change::PinDevice => {
            let id = &ring.devices.iter().find(|device| device.root().is_none())?.id;
            next.pin_device(id, forms::root()).expect("what was made may be pinned");
        }
        Change::Seal { device, anew } => {
            let record = nth(ring, *device);
            let every = ring.usable().collect();
            let wanted: Vec<&Generation> = if *anew { every } else { ring.lacking(&record.id).collect() };
            let guard = if *anew { Guard::Pin { salt: Hex([7; 32]) } } else { Guard::None {} };
            for generation in wanted {
                let seal = forms::seal(seed(generation), &record.id, &guard).seal;
                let put = next.put_seal(generation.number, &record.id, seal);
                assert_eq!(put.is_ok(), record.root().is_some(), "only what is pinned takes seals: {put:?}");
                put.ok()?;
            }
            assert!(record.root().is_none() || next.lacking(&record.id).count() == 0);
        }
        Change::RemoveDevice { device } => {
            let id = &nth(ring, *device).id;
            let alone = ring.usable().filter(|held| held.seals.iter().all(|seal| seal.device == *id)).count();
            let removed = next.remove_device(id);
            assert_eq!(removed.is_ok(), alone == 0 && ring.devices.len() > 1, "{removed:?}");
            removed.ok()?;
            assert_eq!((next.device(id), next.last_number), (None, ring.last_number));
            assert_eq!(next.usable().count(), ring.usable().count(), "no generation is lost");
        }
    }
    Some(next)
}

/// Takes in a generation out of a backup; none where that is refused, as it has to be.
fn admit(ring: &mut Ring, number: u32, seed: u8, on: u8) -> Option<()> {
    let (before, id) = (ring.clone(), forms::id(seed));
    let admitted = ring.admit(generation(&before, number, seed, State::Kept, on));
    match (before.by_id(id), before.generation(number)) {
        (Some(_), _) => {
            assert_eq!(admitted, Ok(false), "the same id is the same generation");
            assert_eq!(*ring, before);
        }
        (None, Some(here)) => {
            assert_eq!(admitted, Err(RingError::OtherGeneration { number, here: here.id, there: id }));
            assert_eq!(*ring, before);
            return None;
        }
        (None, None) => {
            assert_eq!(admitted, Ok(true));
            assert_eq!(ring.active(), before.active(), "the active one stays as it is");
        }
    }
    Some(())
}

/// A generation on the pinned devices that `on` has a bit for, or on the first of them.
fn generation(ring: &Ring, number: u32, seed: u8, state: State, on: u8) -> Generation {
    let pinned: Vec<&String> =
        ring.devices.iter().filter(|device| device.root().is_some()).map(|device| &device.id).collect();
    let mut chosen: Vec<String> =
        (0..).zip(&pinned).filter(|(at, _)| on >> (at % 8) & 1 == 1).map(|(_, id)| (*id).clone()).collect();
    if chosen.is_empty() {
        chosen.extend(pinned.first().map(|id| (*id).clone()));
    }
    forms::generation(number, seed, state, &chosen)
}

fn nth(ring: &Ring, device: usize) -> &DeviceRecord {
    &ring.devices[device % ring.devices.len()]
}

/// What the id was made of.
pub fn seed(generation: &Generation) -> u8 {
    generation.id.0.0[0]
}
