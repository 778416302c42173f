//! Counting what must not be forgotten: a second small trait, for what only some devices can do.

use uuid::Uuid;

use super::DeviceError;

/// A number that a device keeps for a system, and that only ever goes up. Whoever can write the disk can't turn it back: a
/// log whose end was cut off is short of it.
///
/// No PIN is asked for. It costs the device some wear, so it is for ceremonies, never for daily use.
pub trait Counter {
    /// The number; none where the device keeps none for `system`, or has not counted yet.
    fn read(&mut self, system: Uuid) -> Result<Option<u64>, DeviceError>;

    /// Makes it, in place of one that is there, and gives the number that its first count will give. It does not count yet:
    /// what that number stands for is written down first.
    fn make(&mut self, system: Uuid) -> Result<u64, DeviceError>;

    /// Counts up by one, to `value`; that it is there already is fine, so a call that was cut off may be made again.
    fn count_to(&mut self, system: Uuid, value: u64) -> Result<(), DeviceError>;
}
