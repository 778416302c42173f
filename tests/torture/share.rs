//! How much is tried, and the seed that picks it.

use std::time::{SystemTime, UNIX_EPOCH};

/// `STRONGROOM_TORTURE=all` tries every point; without it a tenth, another one in each run. `thirtieth` is what ci/test has the
/// time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Thirtieth,
    Tenth,
    All,
}

impl Share {
    pub fn chosen() -> Share {
        match std::env::var("STRONGROOM_TORTURE").as_deref() {
            Ok("all") => Share::All,
            Ok("tenth") | Err(_) => Share::Tenth,
            Ok("thirtieth") => Share::Thirtieth,
            Ok(other) => panic!("STRONGROOM_TORTURE is `all`, `tenth` or `thirtieth`, not `{other}`"),
        }
    }

    /// Picks the points to try out of `points`.
    pub fn of<T>(self, points: Vec<T>, seed: &mut Seed) -> Vec<T> {
        let step = match self {
            Share::All => return points,
            Share::Tenth => 10,
            Share::Thirtieth => 30,
        };
        let first = seed.below(step) as usize;
        points.into_iter().skip(first).step_by(step as usize).collect()
    }
}

/// Where everything random comes from: `STRONGROOM_TORTURE_SEED`, else the clock. It is printed, so that a run that found
/// something can be had again.
pub struct Seed(u64);

impl Seed {
    pub fn chosen(test: &str) -> Seed {
        let seed = match std::env::var("STRONGROOM_TORTURE_SEED") {
            Ok(text) => text.parse().expect("STRONGROOM_TORTURE_SEED is a number"),
            Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.subsec_nanos().into()),
        };
        println!("{test}: STRONGROOM_TORTURE_SEED={seed}");
        Seed(seed)
    }

    /// The next number (SplitMix64).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
