//! The rules of the ring under ceremonies in random order, with crashes at random steps, through a real store.
//!
//! Nothing here is a device: seals are made-up bytes, as they are to the ring. What a kill at every system call does is
//! the torture's matter; here it is every *state* that a commit passes through on the disk, and what was ever promised.

mod acts;
mod changes;
mod forms;
mod world;

use proptest::prelude::*;

use acts::{Act, Change, Cut, act};
use strongroom::ring::Ring;
use world::World;

fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    // Who asks proptest for more gets it.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { cases };
    // A failure prints its smallest form, which then becomes a test by hand; nothing is written beside the sources.
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn nothing_is_lost_whatever_is_done_and_wherever_it_is_cut_off(acts in prop::collection::vec(act(), 1..40)) {
        let mut world = World::new();
        world.perform(&Act { change: Change::Found { system: 0 }, cut: Cut::Nowhere });
        for act in &acts {
            world.perform(act);
        }
    }
}

proptest! {
    #![proptest_config(config(512))]

    /// A ring that keeps the rules is read as it was printed; one that does not is refused for the same reason.
    #[test]
    fn what_is_printed_is_read(ring in forms::any_ring()) {
        let read = Ring::parse(&ring.print());
        match ring.check() {
            Ok(()) => prop_assert_eq!(read, Ok(ring)),
            Err(error) => prop_assert_eq!(read, Err(error)),
        }
    }
}
