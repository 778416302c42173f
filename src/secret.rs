//! Secrets as types.
//!
//! Each secret that passes through host memory has a type of its own here: without `Debug`, `Clone`, `Display` or
//! `Serialize`, kept in guarded memory that is locked into RAM where the system allows it (`mlock`), left out of core
//! dumps, and wiped on drop. The one way to the bytes is `expose_secret`, so that `grep expose_secret` finds every place
//! that touches them.

mod memory;

use memory::Memory;
use rand::TryRng;
use rand::rngs::SysRng;

/// Length of the master secret, of a KEK and of one HMAC-SHA-256 output, in bytes.
pub const KEY_BYTES: usize = 32;

/// Bytes in guarded, locked memory; wiped on drop. The newtypes below say what they are.
pub struct SecretBytes {
    memory: Memory,
    len: usize,
}

impl SecretBytes {
    /// `len` zero bytes, to be filled in place through `as_mut`.
    ///
    /// Aborts where no memory is left, as `Vec` does.
    pub fn zeroed(len: usize) -> Self {
        Self { memory: Memory::zeroed(len), len }
    }

    /// A copy of `bytes`; the caller's own copy is the caller's to wipe.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.as_mut().copy_from_slice(bytes);
        copy
    }

    /// `len` bytes from the operating system's generator (`getrandom(2)`).
    pub fn random(len: usize) -> Self {
        let mut bytes = Self::zeroed(len);
        fill_random(bytes.as_mut());
        bytes
    }

    /// Shortens to `len` bytes; what is cut off is wiped at once.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.as_mut()[len..].fill(0);
            self.len = len;
        }
    }

    pub fn expose_secret(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl AsMut<[u8]> for SecretBytes {
    /// The bytes, to be filled in place.
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.len]
    }
}

/// Fills `bytes` from the operating system's generator.
///
/// Aborts the operation by panicking where the kernel has no randomness to give, which Linux never reports after boot.
pub fn fill_random(bytes: &mut [u8]) {
    SysRng.try_fill_bytes(bytes).expect("the kernel's random generator answers");
}

/// `N` bytes from the operating system's generator, for what is random but not secret (ids, salts, nonces).
pub fn random_array<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(SecretBytes);

        impl $name {
            pub fn new(bytes: SecretBytes) -> Self {
                Self(bytes)
            }

            pub fn expose_secret(&self) -> &[u8] {
                self.0.expose_secret()
            }

            /// A second copy, for another owner (the thread that owns a device). Named, so that each one can be found.
            pub fn duplicate(&self) -> Self {
                Self(SecretBytes::copy_of(self.expose_secret()))
            }
        }
    };
}

secret! {
    /// The master secret itself: an HMAC-SHA-256 key of 32 bytes. In host memory only in the moments that the first
    /// invariant of the design allows.
    MasterSecret
}
secret! {
    /// The key-encryption key of one backup, 32 bytes: transport, so that an HSM can give and take the secret without
    /// the host unwrapping it.
    Kek
}
secret! {
    /// A PIN: a token's user PIN, or what guards a seal on a TPM. 1 to 1,024 bytes as given, without the line's end.
    Pin
}
secret! {
    /// What opens a backup: UTF-8 in NFC. [`crate::passphrase`] checks what a new one must be.
    Passphrase
}
secret! {
    /// One HMAC-SHA-256 output of a device, 32 bytes: key material, since keys are derived from it.
    Mac
}
secret! {
    /// A key derived for a user of Strongroom, 1 to 1,024 bytes.
    DerivedKey
}

impl Kek {
    /// A fresh one from the operating system's generator.
    pub fn random() -> Self {
        Self(SecretBytes::random(KEY_BYTES))
    }
}

impl Passphrase {
    /// The passphrase as text; the constructor's callers have checked that it is UTF-8.
    pub fn expose_str(&self) -> &str {
        std::str::from_utf8(self.expose_secret()).expect("a passphrase is checked to be UTF-8 when it is made")
    }
}

impl Mac {
    /// Compares in constant time.
    pub fn matches(&self, other: &Mac) -> bool {
        use subtle::ConstantTimeEq;
        self.expose_secret().ct_eq(other.expose_secret()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_and_cuts_bytes() {
        let mut bytes = SecretBytes::copy_of(b"correct horse");
        bytes.truncate(7);
        assert_eq!(bytes.expose_secret(), b"correct");
        assert_eq!(bytes.len(), 7);
        bytes.truncate(100);
        assert_eq!(bytes.len(), 7);
        assert!(SecretBytes::zeroed(0).is_empty());
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(Kek::random().expose_secret(), Kek::random().expose_secret());
        assert_ne!(random_array::<16>(), random_array::<16>());
    }

    #[test]
    fn macs_compare_whole() {
        let mac = |byte| Mac::new(SecretBytes::copy_of(&[byte; KEY_BYTES]));
        assert!(mac(7).matches(&mac(7)));
        assert!(!mac(7).matches(&mac(8)));
    }
}
