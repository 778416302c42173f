//! Device URIs: how an admin names a device.
//!
//! `tpm:` followed by a TCTI configuration string as the TPM tools write them (`tpm:` alone is the kernel's resource
//! manager), or a PKCS#11 URI (RFC 7512). No secret is ever part of one: `pin-value` is refused.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use super::pkcs11::uri::Pkcs11Uri;

/// The TCTI that `tpm:` alone means.
pub const DEFAULT_TCTI: &str = "device:/dev/tpmrm0";

/// The kinds of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Tpm,
    Pkcs11,
}

/// A device's name, parsed and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceUri {
    Tpm(TpmUri),
    Pkcs11(Pkcs11Uri),
}

/// A TPM by its TCTI configuration string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmUri {
    tcti: String,
}

/// Why a device URI is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    #[error("a device URI starts with `tpm:` or `pkcs11:`")]
    Scheme,
    #[error("the TCTI `{0}` is not one of device, swtpm, mssim or tabrmd")]
    Tcti(String),
    /// Anything wrong in a PKCS#11 URI; the text never repeats what could be a PIN.
    #[error("{0}")]
    Pkcs11(String),
}

impl TpmUri {
    /// The TCTI configuration string, the default filled in.
    pub fn tcti(&self) -> &str {
        if self.tcti.is_empty() { DEFAULT_TCTI } else { &self.tcti }
    }

    /// The device node, where the TPM is reached through one.
    pub fn device_node(&self) -> Option<&str> {
        match self.tcti().split_once(':') {
            Some(("device", path)) => Some(path),
            None if self.tcti() == "device" => Some("/dev/tpmrm0"),
            _ => None,
        }
    }

    /// Whether the kernel's resource manager stands in front of the TPM, so that others may use it at the same time.
    pub fn is_resource_managed(&self) -> bool {
        self.device_node().is_some_and(|path| path.starts_with("/dev/tpmrm")) || self.tcti().starts_with("tabrmd")
    }
}

impl DeviceUri {
    pub fn kind(&self) -> Kind {
        match self {
            DeviceUri::Tpm(_) => Kind::Tpm,
            DeviceUri::Pkcs11(_) => Kind::Pkcs11,
        }
    }
}

impl FromStr for DeviceUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if let Some(tcti) = text.strip_prefix("tpm:") {
            let name = tcti.split([':', ',']).next().unwrap_or_default();
            if tcti.is_empty() || ["device", "swtpm", "mssim", "tabrmd"].contains(&name) {
                return Ok(DeviceUri::Tpm(TpmUri { tcti: tcti.to_owned() }));
            }
            return Err(UriError::Tcti(name.to_owned()));
        }
        if text.starts_with("pkcs11:") {
            return text.parse().map(DeviceUri::Pkcs11);
        }
        Err(UriError::Scheme)
    }
}

impl fmt::Display for DeviceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceUri::Tpm(uri) => write!(f, "tpm:{}", uri.tcti),
            DeviceUri::Pkcs11(uri) => uri.fmt(f),
        }
    }
}

impl Serialize for DeviceUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeviceUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tpm_uris() {
        let tpm = |text: &str| match text.parse::<DeviceUri>().unwrap() {
            DeviceUri::Tpm(uri) => uri,
            other => panic!("{other}"),
        };
        assert_eq!(tpm("tpm:").tcti(), "device:/dev/tpmrm0");
        assert!(tpm("tpm:").is_resource_managed());
        assert!(!tpm("tpm:device:/dev/tpm0").is_resource_managed());
        assert_eq!(tpm("tpm:device:/dev/tpm0").device_node(), Some("/dev/tpm0"));
        let swtpm = tpm("tpm:swtpm:host=127.0.0.1,port=2321");
        assert_eq!(swtpm.tcti(), "swtpm:host=127.0.0.1,port=2321");
        assert!(!swtpm.is_resource_managed() && swtpm.device_node().is_none());
        for text in ["tpm:", "tpm:device:/dev/tpmrm1", "tpm:tabrmd", "tpm:mssim:host=localhost,port=2321"] {
            assert_eq!(text.parse::<DeviceUri>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_what_is_neither() {
        assert_eq!("tpm:cmd:rm".parse::<DeviceUri>(), Err(UriError::Tcti("cmd".to_owned())));
        for bad in ["", "tpm", "TPM:", "/dev/tpmrm0", "file:x"] {
            assert_eq!(bad.parse::<DeviceUri>(), Err(UriError::Scheme), "{bad}");
        }
    }
}
