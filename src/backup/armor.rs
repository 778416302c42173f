//! The age file inside a backup: its header read before any work is done, then decrypted.

use std::io::Read;

use age::armor::ArmoredReader;
use age::scrypt;
use zeroize::Zeroizing;

use super::{BackupError, MAX_FILE, WORK_FACTORS, age_passphrase};
use crate::secret::Passphrase;

/// The header that is looked at: its version line and the scrypt stanza's line.
const HEADER: u64 = 256;
/// What is kept free beside scrypt's own memory, in MiB.
const SPARE_MIB: u64 = 32;

/// log2 of scrypt's N, from the header of an armored age file (C2SP age, section "scrypt recipient stanza").
pub fn work_factor(armored: &str) -> Result<u32, BackupError> {
    let damaged = |what: &str| BackupError::Damaged(what.to_owned());
    let mut header = Vec::new();
    ArmoredReader::new(armored.as_bytes())
        .take(HEADER)
        .read_to_end(&mut header)
        .map_err(|_| damaged("its armor was changed"))?;
    let mut lines = header.split(|&byte| byte == b'\n').map(String::from_utf8_lossy);
    if lines.next().as_deref() != Some("age-encryption.org/v1") {
        return Err(damaged("its encrypted part is no age file of version 1"));
    }
    let stanza = lines.next().unwrap_or_default();
    let mut words = stanza.split(' ');
    if (words.next(), words.next()) != (Some("->"), Some("scrypt")) {
        return Err(damaged("its encrypted part is not under a passphrase"));
    }
    let digits = words.nth(1).unwrap_or_default();
    let plain = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(factor) if plain && !digits.starts_with('0') => Ok(factor),
        _ => Err(damaged("its work factor is no number")),
    }
}

/// Whether scrypt's memory (128 * 8 * N bytes, RFC 7914, section 2) is to be had, before it is asked for.
pub fn check_memory(work_factor: u8) -> Result<(), BackupError> {
    let needed_mib = ((1024_u64 << work_factor) >> 20) + SPARE_MIB;
    let Some(available_mib) = available_mib() else { return Ok(()) };
    if available_mib < needed_mib {
        return Err(BackupError::Memory { needed_mib, available_mib });
    }
    Ok(())
}

/// MemAvailable and free swap of /proc/meminfo; none where the kernel does not tell.
fn available_mib() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    Some((kib("MemAvailable:")? + kib("SwapFree:").unwrap_or(0)) / 1024)
}

/// Decrypts; one pass of scrypt. A file that was changed and a wrong passphrase are told apart where the format can.
pub fn decrypt(armored: &str, passphrase: &Passphrase) -> Result<Zeroizing<Vec<u8>>, BackupError> {
    use age::DecryptError;
    let damaged = |what: &str| BackupError::Damaged(what.to_owned());
    let failed = |error: DecryptError| match error {
        DecryptError::DecryptionFailed | DecryptError::NoMatchingKeys => BackupError::WrongPassphrase,
        DecryptError::ExcessiveWork { required, .. } => BackupError::Work { found: required.into() },
        DecryptError::InvalidHeader | DecryptError::UnknownFormat => damaged("its header was changed"),
        DecryptError::InvalidMac => damaged("its header was changed"),
        DecryptError::KeyDecryptionFailed => BackupError::WrongPassphrase,
        _ => damaged("its encrypted part does not open"),
    };
    let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(armored.as_bytes())).map_err(failed)?;
    let mut identity = scrypt::Identity::new(age_passphrase(passphrase));
    identity.set_max_work_factor(*WORK_FACTORS.end());
    let mut reader = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(failed)?;
    // Room for all of it at once: a vector that grows would leave copies of what it held behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
    match reader.by_ref().take(MAX_FILE).read_to_end(&mut plain) {
        Ok(_) => Ok(plain),
        Err(_) => Err(damaged("its encrypted part was changed or cut off")),
    }
}
