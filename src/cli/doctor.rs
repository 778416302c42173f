//! What is wrong with a device, and what its codes mean.

use clap::Args;

use super::PinArgs;

/// Look at all that is between you and a working device, and say what is wrong and what to do
///
/// In order: a TPM's device node, resource manager, commands, storage root key and lockout, and whether PCRs hold what its seals
/// ask for; a token's module, version, flags, PIN state and mechanisms. Changes nothing, asks nothing, and burns no try. With a PIN from a flag, a token of the ring is
/// put to its self-test as well. Exit code 8 where there is trouble.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom doctor                        the ring's devices; without a ring, all that are there
  strongroom doctor tpm:
  strongroom doctor 'pkcs11:token=payroll?module-path=/usr/lib/softhsm/libsofthsm2.so'
  strongroom doctor --pin-file /run/keys/hsm1 hsm1
  strongroom doctor --json | jq -r '.devices[].checks[] | select(.verdict == \"trouble\").text'")]
pub struct Doctor {
    /// Devices, by their URIs or by their names in the ring [default: the ring's, else all that can be found]
    #[arg(value_name = "DEVICE")]
    pub devices: Vec<String>,
    #[command(flatten)]
    pub pin: PinArgs,
}

/// Say what a device's code means, and what to do about it
///
/// For codes of TPMs and of the software before them (TPM_RC, TSS2) and of PKCS#11 modules (CKR), from whichever program they
/// come. The same number may mean something in both worlds: then both are said. Needs no device and no rights.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  strongroom explain 0x921
  strongroom explain CKR_PIN_LOCKED
  strongroom explain TPM_RC_LOCKOUT --json | jq -r .meanings[0].remedy")]
pub struct Explain {
    /// A number, `0x98e` or 2446, or a name in any case
    #[arg(value_name = "CODE", allow_hyphen_values = true)]
    pub code: String,
}
