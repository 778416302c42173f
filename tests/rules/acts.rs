//! What is done to a ring, as ceremonies do it, and where it is cut off.

use proptest::prelude::*;

/// One change and its commit.
#[derive(Debug, Clone)]
pub struct Act {
    pub change: Change,
    pub cut: Cut,
}

/// What ceremonies change between two commits.
#[derive(Debug, Clone)]
pub enum Change {
    /// A ring of a system is begun: `init`, or `restore --replace`.
    Found {
        system: u8,
    },
    /// What was begun is given up.
    AbandonFounding,
    /// The first step of `generate`, with the id of a seed, on the devices of a mask.
    Pend {
        seed: u8,
        on: u8,
    },
    /// The same with a number that is `off` from the right one.
    PendAnother {
        off: u32,
        seed: u8,
    },
    /// The second step: the backup is proved.
    ActivatePending {
        content: u8,
    },
    DropPending,
    /// Generations out of a backup, numbers and seeds; and whether its last one becomes active.
    Admit {
        entries: Vec<(u32, u8)>,
        on: u8,
        activate: bool,
    },
    /// `restore --activate` of what is there.
    ActivateKept {
        which: usize,
    },
    NoteBackup {
        path: u8,
        content: u8,
        is_proved: bool,
    },
    /// The first step of `device add`: what is meant to be made is written down.
    AddDevice,
    /// The second: what was made is pinned.
    PinDevice,
    /// The third, and `device repair`: what a device lacks is sealed on it, or all of it
    /// anew, under a PIN.
    Seal {
        device: usize,
        anew: bool,
    },
    RemoveDevice {
        device: usize,
    },
    /// Changed seals: the former ones must not outlive this.
    ForgetHistory,
    /// Somebody or something writes over `ring.json`, or removes it; the next run puts the last good one back.
    Damage {
        is_removed: bool,
    },
}

/// Where the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Nowhere,
    BeforeAnything,
    /// So many thousandths of the new ring lie under the temporary name.
    Writing(u16),
    /// The rename is done. What was begun beside it is not removed yet, and so many thousandths of the copy for the
    /// history lie under the temporary name.
    Renamed(u16),
    /// The copy is in the history. What was begun is not removed yet.
    Kept,
}

pub fn act() -> impl Strategy<Value = Act> {
    (change(), cut()).prop_map(|(change, cut)| Act { change, cut })
}

fn change() -> impl Strategy<Value = Change> {
    let seed = || 1..24_u8;
    let entries = prop::collection::vec((1..12_u32, seed()), 1..4);
    // Rings must get old, so a new one is begun seldom.
    prop_oneof![
        1 => (0..2_u8).prop_map(|system| Change::Found { system }),
        2 => Just(Change::AbandonFounding),
        9 => (seed(), any::<u8>()).prop_map(|(seed, on)| Change::Pend { seed, on }),
        1 => (1..5_u32, seed()).prop_map(|(off, seed)| Change::PendAnother { off, seed }),
        9 => (0..6_u8).prop_map(|content| Change::ActivatePending { content }),
        3 => Just(Change::DropPending),
        3 => (entries, any::<u8>(), any::<bool>())
            .prop_map(|(entries, on, activate)| Change::Admit { entries, on, activate }),
        2 => (0..8_usize).prop_map(|which| Change::ActivateKept { which }),
        3 => (0..4_u8, 0..6_u8, any::<bool>())
            .prop_map(|(path, content, is_proved)| Change::NoteBackup { path, content, is_proved }),
        2 => Just(Change::AddDevice),
        3 => Just(Change::PinDevice),
        4 => (0..4_usize, any::<bool>()).prop_map(|(device, anew)| Change::Seal { device, anew }),
        3 => (0..4_usize).prop_map(|device| Change::RemoveDevice { device }),
        1 => Just(Change::ForgetHistory),
        1 => any::<bool>().prop_map(|is_removed| Change::Damage { is_removed }),
    ]
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        6 => Just(Cut::Nowhere),
        1 => Just(Cut::BeforeAnything),
        2 => thousandths().prop_map(Cut::Writing),
        1 => thousandths().prop_map(Cut::Renamed),
        1 => Just(Cut::Kept),
    ]
}

/// All of it is no rare case: the rename is what is missing then.
fn thousandths() -> impl Strategy<Value = u16> {
    prop_oneof![2 => 0..1000_u16, 1 => Just(1000)]
}
