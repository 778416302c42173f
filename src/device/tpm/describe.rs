//! What a TPM says about itself, and whether it can do the job. Changes nothing, asks for no PIN.

use tss_esapi::constants::{AlgorithmIdentifier, CapabilityType, PropertyTag};
use tss_esapi::structures::{CapabilityData, Public};
use tss_esapi::{Context, Error};

use super::error::told;
use super::{lockout, root};
use crate::device::uri::TpmUri;
use crate::device::{Bank, Description, DeviceError, DeviceUri, Fault, Kind};

/// Every command that some method of the device sends (TPM 2.0 Part 2, section 6.5.2).
pub const COMMANDS: [(u32, &str); 13] = [
    (0x120, "TPM2_EvictControl"),
    (0x131, "TPM2_CreatePrimary"),
    (0x14b, "TPM2_Duplicate"),
    (0x153, "TPM2_Create"),
    (0x155, "TPM2_HMAC"),
    (0x157, "TPM2_Load"),
    (0x165, "TPM2_FlushContext"),
    (0x167, "TPM2_LoadExternal"),
    (0x16b, "TPM2_PolicyAuthValue"),
    (0x16c, "TPM2_PolicyCommandCode"),
    (0x173, "TPM2_ReadPublic"),
    (0x176, "TPM2_StartAuthSession"),
    (0x17a, "TPM2_GetCapability"),
];

/// Every algorithm that the job needs, whatever the storage root key is.
pub const ALGORITHMS: [(AlgorithmIdentifier, &str); 5] = [
    (AlgorithmIdentifier::Hmac, "TPM_ALG_HMAC"),
    (AlgorithmIdentifier::Aes, "TPM_ALG_AES"),
    (AlgorithmIdentifier::KeyedHash, "TPM_ALG_KEYEDHASH"),
    (AlgorithmIdentifier::Sha256, "TPM_ALG_SHA256"),
    (AlgorithmIdentifier::Cfb, "TPM_ALG_CFB"),
];

/// TPM_PT_MANUFACTURER, and the seven after it: four vendor strings, the type, two words of firmware version.
const FIRST_PROPERTY: u32 = 0x105;
const PROPERTIES: u32 = 8;

/// Describes the TPM behind `context`, which `uri` named.
pub fn describe(context: &mut Context, uri: &TpmUri) -> Result<Description, DeviceError> {
    let Maker { manufacturer, model, firmware } = maker(context)?;
    let tries = lockout::read(context)?;
    let found = root::read(context)?;
    let mut lacks = lacks(context, found.as_ref().map(|found| &found.public))?;
    if let Some(Err(untrusted)) = found.as_ref().map(|found| root::check(&found.public)) {
        lacks.push(format!("a storage root key to trust ({untrusted})"));
    }
    Ok(Description {
        kind: Kind::Tpm,
        uri: DeviceUri::Tpm(uri.clone()).to_string(),
        manufacturer,
        model,
        firmware,
        label: None,
        serial: None,
        root: found.as_ref().map(|found| hex::encode(&found.name)),
        tries: Some(tries),
        needs_pin: false,
        lacks,
        notes: Vec::new(),
        ways: None,
        exports: true,
        pcr_banks: pcr_banks(context)?,
        pin_pad: false,
    })
}

/// What binding a seal to PCRs takes beyond that.
pub const FOR_PCRS: [(u32, &str); 2] = [(0x17e, "TPM2_PCR_Read"), (0x17f, "TPM2_PolicyPCR")];

/// What binding one to what is signed takes beyond that.
pub const FOR_SIGNED: [(u32, &str); 4] = [
    (0x167, "TPM2_LoadExternal"),
    (0x16a, "TPM2_PolicyAuthorize"),
    (0x177, "TPM2_VerifySignature"),
    (0x189, "TPM2_PolicyGetDigest"),
];

/// The banks that have PCRs, of those that seals can be bound to; none where the TPM lacks TPM2_PCR_Read or TPM2_PolicyPCR.
pub fn pcr_banks(context: &mut Context) -> Result<Vec<String>, DeviceError> {
    if !lacked_commands(context, &FOR_PCRS)?.is_empty() {
        return Ok(Vec::new());
    }
    let assigned = match context.get_capability(CapabilityType::AssignedPcr, 0, u32::MAX) {
        Ok((CapabilityData::AssignedPcr(assigned), _)) => assigned,
        // A bank that the crate does not know spoils the whole list. Then reading the PCRs will tell.
        Ok(_) | Err(Error::WrapperError(_)) => {
            return Ok(Bank::ALL.iter().map(|bank| bank.name().to_owned()).collect());
        }
        Err(error) => return Err(told(error)),
    };
    let has_pcrs = |bank: &&Bank| {
        let mut banks = assigned.get_selections().iter();
        banks.any(|one| {
            u16::from(AlgorithmIdentifier::from(one.hashing_algorithm())) == bank.algorithm() && !one.is_empty()
        })
    };
    Ok(Bank::ALL.iter().filter(has_pcrs).map(|bank| bank.name().to_owned()).collect())
}

/// Refuses a TPM that lacks something, naming it, before anything is made in it.
pub fn can_do_the_job(context: &mut Context) -> Result<(), DeviceError> {
    let root = root::read(context)?;
    match lacks(context, root.as_ref().map(|root| &root.public))? {
        lacks if lacks.is_empty() => Ok(()),
        lacks => Err(Fault::Missing(format!("the TPM lacks {}", lacks.join(", "))).into()),
    }
}

/// Who made it, by its own words.
pub struct Maker {
    pub manufacturer: String,
    pub model: String,
    pub firmware: String,
}

pub fn maker(context: &mut Context) -> Result<Maker, DeviceError> {
    let property = properties(context, FIRST_PROPERTY, PROPERTIES)?;
    let property = |tag| property(tag).unwrap_or(0);
    let vendor = [
        PropertyTag::VendorString1,
        PropertyTag::VendorString2,
        PropertyTag::VendorString3,
        PropertyTag::VendorString4,
    ];
    let [high, low] = [PropertyTag::FirmwareVersion1, PropertyTag::FirmwareVersion2].map(property);
    Ok(Maker {
        manufacturer: text(&[property(PropertyTag::Manufacturer)]),
        model: text(&vendor.map(property)),
        firmware: format!("{}.{}.{}.{}", high >> 16, high & 0xffff, low >> 16, low & 0xffff),
    })
}

/// So many of the TPM's properties from `first` on, those that it has.
pub fn properties(
    context: &mut Context,
    first: u32,
    count: u32,
) -> Result<impl Fn(PropertyTag) -> Option<u32> + use<>, DeviceError> {
    let (data, _) = context.get_capability(CapabilityType::TpmProperties, first, count).map_err(told)?;
    let CapabilityData::TpmProperties(properties) = data else {
        return Err(Fault::Failed("the TPM answered another question than that for its properties".to_owned()).into());
    };
    Ok(move |tag| properties.find(tag).map(|property| property.value()))
}

/// Whether the owner hierarchy was switched off (TPMA_STARTUP_CLEAR, shEnable; TPM 2.0 Part 2, section 8.7), as far as the TPM
/// tells.
pub fn is_owner_off(context: &mut Context) -> bool {
    const STARTUP_CLEAR: u32 = 0x201;
    const OWNER_ENABLED: u32 = 1 << 1;
    let told = properties(context, STARTUP_CLEAR, 1).ok();
    told.and_then(|property| property(PropertyTag::StartupClear)).is_some_and(|state| state & OWNER_ENABLED == 0)
}

/// Four characters a word, padded with zero bytes or blanks; what can't be shown is left out.
fn text(words: &[u32]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_be_bytes());
    let shown: String = bytes.map(char::from).filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the job needs and this TPM does not have, by the standard's names.
fn lacks(context: &mut Context, root: Option<&Public>) -> Result<Vec<String>, DeviceError> {
    let mut lacks = lacked_commands(context, &COMMANDS)?;
    lacks.extend(lacked_algorithms(context, root)?);
    Ok(lacks)
}

/// Those of `commands` that the TPM lacks.
pub fn lacked_commands(context: &mut Context, commands: &[(u32, &str)]) -> Result<Vec<String>, DeviceError> {
    let mut lacks = Vec::new();
    for (code, name) in commands {
        if !has(context, CapabilityType::Command, *code)? {
            lacks.push(format!("{name} ({code:#x})"));
        }
    }
    Ok(lacks)
}

/// The algorithms that the job needs and the TPM lacks; `root` is its storage root key, if it has one.
pub fn lacked_algorithms(context: &mut Context, root: Option<&Public>) -> Result<Vec<String>, DeviceError> {
    let root = match root {
        Some(Public::Rsa { .. }) => (AlgorithmIdentifier::Rsa, "TPM_ALG_RSA"),
        _ => (AlgorithmIdentifier::Ecc, "TPM_ALG_ECC"),
    };
    let mut lacks = Vec::new();
    for (algorithm, name) in ALGORITHMS.into_iter().chain([root]) {
        let id = u16::from(algorithm);
        if !has(context, CapabilityType::Algorithms, u32::from(id))? {
            lacks.push(format!("{name} ({id:#x})"));
        }
    }
    Ok(lacks)
}

/// Whether the TPM has this very command or algorithm. Asked one by one: the crate refuses a whole list over one entry
/// that is newer than the crate. A TPM that lacks it names the next one that it has.
fn has(context: &mut Context, capability: CapabilityType, id: u32) -> Result<bool, DeviceError> {
    match context.get_capability(capability, id, 1) {
        Ok((CapabilityData::Commands(list), _)) => {
            Ok(list.first().is_some_and(|command| u32::from(command.command_index()) == id))
        }
        Ok((CapabilityData::Algorithms(list), _)) => {
            Ok(list.first().is_some_and(|algorithm| u32::from(u16::from(algorithm.algorithm_identifier())) == id))
        }
        // The next one is unknown to the crate.
        Ok(_) | Err(Error::WrapperError(_)) => Ok(false),
        Err(error) => Err(told(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_text() {
        assert_eq!(text(&[0x4942_4d00]), "IBM");
        assert_eq!(text(&[0x534c_4239, 0x3636_3500, 0, 0]), "SLB9665");
        assert_eq!(text(&[0x5357_2020, 0x2054_504d, 0x1b5b_0007]), "SW TPM[");
    }
}
