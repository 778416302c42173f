//! A PIN that is always the same.

use strongroom::device::{DeviceError, PinRequest, PinSource};
use strongroom::secret::{Pin, SecretBytes};

pub struct Typed(pub &'static str);

impl PinSource for Typed {
    fn pin(&self, _: &PinRequest) -> Result<Pin, DeviceError> {
        Ok(Pin::new(SecretBytes::copy_of(self.0.as_bytes())))
    }

    fn call_to_the_pad(&self, _: &str, _: &str) -> Result<(), DeviceError> {
        Ok(())
    }

    fn may_use_last_try(&self) -> bool {
        false
    }
}
