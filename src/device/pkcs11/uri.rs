//! PKCS#11 URIs (RFC 7512), parsed strictly: what is not understood is refused, and no PIN is ever part of one.
//!
//! The path says which token (all attributes given must match), the query where its module is and where its PIN comes
//! from. Objects (`object`, `type`, `id`) are refused: the URI names a token.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::super::UriError;
use super::p11kit;
use crate::device::DeviceError;

/// `unreserved` of RFC 3986, section 2.3, stands for itself; everything else is encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// In queries `/` stands for itself too (RFC 7512, section 2.3: pk11-query-res-avail).
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');
/// What may stand unencoded in a value: `pk11-res-avail` of RFC 7512, section 2.3, beside `unreserved`.
const UNENCODED: &[u8] = b":[]@!$'()*+,=-._~";

/// A token's name: which one, in which module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pkcs11Uri {
    wanted: BTreeMap<Attribute, String>,
    module: ModuleRef,
    pin_source: Option<PathBuf>,
}

/// Which module a URI means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ModuleRef {
    /// p11-kit's proxy, which shows the tokens of every module that p11-kit is configured with.
    Proxy,
    Path(PathBuf),
    /// p11-kit's configuration of that name.
    Name(String),
}

macro_rules! attributes {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// What a URI can ask of a token, its slot or its library (RFC 7512, section 2.3), in canonical order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Attribute { $($name),* }

        impl Attribute {
            fn named(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }

            fn name(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

attributes! {
    Token = "token",
    Manufacturer = "manufacturer",
    Model = "model",
    Serial = "serial",
    SlotDescription = "slot-description",
    SlotManufacturer = "slot-manufacturer",
    SlotId = "slot-id",
    LibraryDescription = "library-description",
    LibraryManufacturer = "library-manufacturer",
    LibraryVersion = "library-version",
}

/// What the structures of PKCS#11 3.1, sections 3.1 and 3.2, have room for.
enum Room {
    /// Text, filled up with blanks.
    Bytes(usize),
    Slot,
    Version,
}

impl Attribute {
    /// Whether it is about where a token is, and not about which one it is.
    pub fn is_of_the_slot(self) -> bool {
        match self {
            Self::SlotDescription | Self::SlotManufacturer | Self::SlotId => true,
            Self::Token | Self::Manufacturer | Self::Model | Self::Serial => false,
            Self::LibraryDescription | Self::LibraryManufacturer | Self::LibraryVersion => false,
        }
    }

    fn room(self) -> Room {
        match self {
            Self::Model | Self::Serial => Room::Bytes(16),
            Self::Token | Self::Manufacturer | Self::SlotManufacturer => Room::Bytes(32),
            Self::LibraryDescription | Self::LibraryManufacturer => Room::Bytes(32),
            Self::SlotDescription => Room::Bytes(64),
            Self::SlotId => Room::Slot,
            Self::LibraryVersion => Room::Version,
        }
    }
}

impl Pkcs11Uri {
    /// What is asked of the token: every one must hold.
    pub fn wanted(&self) -> impl Iterator<Item = (Attribute, &str)> {
        self.wanted.iter().map(|(attribute, value)| (*attribute, value.as_str()))
    }

    /// The token's label, where one is asked for.
    pub fn token(&self) -> Option<&str> {
        self.wanted().find_map(|(attribute, value)| (attribute == Attribute::Token).then_some(value))
    }

    /// The file that `pin-source` names, for whoever answers when a PIN is asked for.
    pub fn pin_source(&self) -> Option<&Path> {
        self.pin_source.as_deref()
    }

    /// The module's library. Errors where p11-kit has no such module.
    pub fn module(&self) -> Result<p11kit::Library, DeviceError> {
        match &self.module {
            ModuleRef::Proxy => p11kit::proxy().map(p11kit::Library::from),
            ModuleRef::Path(path) => Ok(path.clone().into()),
            ModuleRef::Name(name) => p11kit::module(name),
        }
    }

    /// The library's file.
    fn module_path(&self) -> Result<PathBuf, DeviceError> {
        self.module().map(|library| library.file)
    }

    /// A stable name for the module, the same for every URI that leads to the same file: what the device's lock is of.
    pub fn module_name(&self) -> String {
        let as_given = || match &self.module {
            ModuleRef::Proxy => "p11-kit's proxy".to_owned(),
            ModuleRef::Path(path) => path.display().to_string(),
            ModuleRef::Name(name) => name.clone(),
        };
        let file = self.module_path().ok().and_then(|path| path.canonicalize().ok());
        file.map_or_else(as_given, |path| path.display().to_string())
    }
}

impl Pkcs11Uri {
    /// The URI of a token of the same module, by what tells it from others.
    pub fn of_the_same_module(&self, identity: &super::TokenIdentity, slot: u64) -> Self {
        let named = of_token(identity, slot, "module").parse::<Self>().expect("what is made for a token is a URI");
        Self { wanted: named.wanted, ..self.clone() }
    }
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix("pkcs11:").ok_or(UriError::Scheme)?;
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));

        let mut wanted = BTreeMap::new();
        for (name, value) in pairs(path, ';', b"&")? {
            let attribute = match Attribute::named(name) {
                Some(attribute) => attribute,
                None if ["object", "type", "id"].contains(&name) => {
                    return Err(bad(format!("the attribute `{name}` names an object, and a device is a token")));
                }
                None => return Err(unknown(name)),
            };
            if wanted.insert(attribute, plain(attribute, value)?).is_some() {
                return Err(twice(name));
            }
        }

        let (mut module, mut pin_source) = (ModuleRef::Proxy, None);
        for (name, value) in query.map_or(Ok(Vec::new()), |query| pairs(query, '&', b"/?|"))? {
            match name {
                "module-path" | "module-name" if module != ModuleRef::Proxy => {
                    return Err(bad("give `module-path` or `module-name`, once".to_owned()));
                }
                "module-path" => module = ModuleRef::Path(absolute(name, &value)?),
                "module-name" => module = ModuleRef::Name(module_name(value)?),
                "pin-source" if pin_source.is_some() => return Err(twice(name)),
                "pin-source" => pin_source = Some(source(&value)?),
                "pin-value" => {
                    let what = "`pin-value` is refused: the PIN would end in the ring and in process listings";
                    return Err(bad(format!("{what}; use `pin-source`")));
                }
                _ => return Err(unknown(name)),
            }
        }
        Ok(Self { wanted, module, pin_source })
    }
}

/// The attributes between `separator`s, their values decoded. `more` may stand unencoded beside [`UNENCODED`].
///
/// No error repeats a value: it could be a PIN.
fn pairs<'t>(text: &'t str, separator: char, more: &[u8]) -> Result<Vec<(&'t str, String)>, UriError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let pair = |pair: &'t str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| bad("an attribute without a value".to_owned()))?;
        let wrong = |what: &str| if is_name(name) { bad(format!("`{name}` {what}")) } else { unknown(name) };
        let mut bytes = value.bytes();
        while let Some(byte) = bytes.next() {
            let two_digits = |bytes: &mut std::str::Bytes<'_>| {
                (0..2).all(|_| bytes.next().is_some_and(|digit| digit.is_ascii_hexdigit()))
            };
            match byte {
                b'%' if two_digits(&mut bytes) => {}
                b'%' => return Err(wrong("has a `%` without two hex digits")),
                _ if byte.is_ascii_alphanumeric() || UNENCODED.contains(&byte) || more.contains(&byte) => {}
                _ => return Err(wrong("has a character that must be percent-encoded")),
            }
        }
        let value = percent_decode_str(value).decode_utf8().map_err(|_| wrong("is not UTF-8"))?;
        if value.contains('\0') {
            return Err(wrong("holds a zero byte"));
        }
        Ok((name, value.into_owned()))
    };
    text.split(separator).map(pair).collect()
}

/// The value in the one form that it has for what a token says: numbers without zeros before them, text without the blanks
/// that fields are filled up with. Error: no token says such a thing.
fn plain(attribute: Attribute, value: String) -> Result<String, UriError> {
    let name = attribute.name();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let no_number = || bad(format!("`{name}` is not a number"));
    match attribute.room() {
        Room::Bytes(room) => {
            let text = value.trim_end_matches(' ');
            // What is not UTF-8 in a token's field was read as one character a byte, of three bytes each.
            match text.chars().count() <= room {
                true => Ok(text.to_owned()),
                false => Err(bad(format!("`{name}` is longer than the {room} bytes that there are for it"))),
            }
        }
        Room::Slot => {
            let slot = value.parse::<u64>().ok().filter(|_| digits(&value));
            slot.map(|slot| slot.to_string()).ok_or_else(no_number)
        }
        Room::Version => {
            let (major, minor) = value.split_once('.').unwrap_or((&value, "0"));
            // As in p11-kit, 255 is none.
            let byte = |text: &str| text.parse::<u8>().ok().filter(|byte| digits(text) && *byte < u8::MAX);
            let byte = |text: &str| byte(text).ok_or_else(no_number);
            Ok(format!("{}.{}", byte(major)?, byte(minor)?))
        }
    }
}

fn absolute(name: &str, value: &str) -> Result<PathBuf, UriError> {
    if !value.starts_with('/') {
        return Err(bad(format!("`{name}` must be an absolute path")));
    }
    Ok(PathBuf::from(value))
}

fn module_name(value: String) -> Result<String, UriError> {
    if !p11kit::is_name(&value) {
        return Err(bad("`module-name` is the name of one of p11-kit's modules".to_owned()));
    }
    Ok(value)
}

/// A file by its path or a `file:` URI of this host (RFC 7512, section 2.4). Commands are refused.
fn source(value: &str) -> Result<PathBuf, UriError> {
    if value.starts_with('|') {
        return Err(bad("`pin-source` with a command is refused: name a file".to_owned()));
    }
    // Two slashes begin an authority (RFC 3986, section 3.2) after `file:` alone: a path may begin with as many as it likes.
    let path = match value.strip_prefix("file:") {
        Some(path) => path.strip_prefix("//").unwrap_or(path),
        None => value,
    };
    absolute("pin-source", path)
}

/// Whether `name` can be shown: an attribute's name by its looks, so not a PIN that went astray.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

fn unknown(name: &str) -> UriError {
    match is_name(name) {
        true => bad(format!("the attribute `{name}` is unknown here")),
        false => bad("an unknown attribute".to_owned()),
    }
}

fn twice(name: &str) -> UriError {
    bad(format!("the attribute `{name}` is given twice"))
}

fn bad(what: String) -> UriError {
    UriError::Pkcs11(format!("not a PKCS#11 URI that names a token: {what}"))
}

impl fmt::Display for Pkcs11Uri {
    /// The canonical form, which parses to the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pkcs11:")?;
        for (index, (attribute, value)) in self.wanted().enumerate() {
            let separator = if index > 0 { ";" } else { "" };
            write!(f, "{separator}{}={}", attribute.name(), utf8_percent_encode(value, ENCODED))?;
        }
        let path = |path: &Path| utf8_percent_encode(&path.to_string_lossy(), ENCODED_PATH).to_string();
        let module = match &self.module {
            ModuleRef::Proxy => None,
            ModuleRef::Path(file) => Some(format!("module-path={}", path(file))),
            ModuleRef::Name(name) => Some(format!("module-name={}", utf8_percent_encode(name, ENCODED))),
        };
        let pin_source = self.pin_source().map(|file| format!("pin-source={}", path(file)));
        for (index, query) in module.into_iter().chain(pin_source).enumerate() {
            write!(f, "{}{query}", if index > 0 { "&" } else { "?" })?;
        }
        Ok(())
    }
}

/// The URI of a token that was found, by what tells it from others: label and serial, else model and slot. A field with a
/// zero byte in it is left out: no URI can hold one.
pub fn of_token(identity: &super::TokenIdentity, slot: u64, module: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let super::TokenIdentity { label, model, serial, .. } = identity;
    let is_sayable = |text: &str| !text.contains('\0');
    let is_named = !label.is_empty() || !serial.is_empty();
    let token = if is_named && is_sayable(label) && is_sayable(serial) {
        format!("token={};serial={}", encode(label), encode(serial))
    } else if is_sayable(model) {
        format!("model={};slot-id={slot}", encode(model))
    } else {
        format!("slot-id={slot}")
    };
    match module.starts_with('/') {
        true => format!("pkcs11:{token}?module-path={}", utf8_percent_encode(module, ENCODED_PATH)),
        false => format!("pkcs11:{token}?module-name={}", encode(module)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is accepted, and its canonical form.
    #[test]
    fn good_uris() {
        let good = [
            ("pkcs11:", "pkcs11:"),
            ("pkcs11:token=payroll", "pkcs11:token=payroll"),
            ("pkcs11:token=", "pkcs11:token="),
            ("pkcs11:serial=7;token=a", "pkcs11:token=a;serial=7"),
            ("pkcs11:token=The%20Token", "pkcs11:token=The%20Token"),
            ("pkcs11:token=caf%c3%a9", "pkcs11:token=caf%C3%A9"),
            ("pkcs11:token=a%3bb", "pkcs11:token=a%3Bb"),
            ("pkcs11:token=a&b", "pkcs11:token=a%26b"),
            ("pkcs11:token=a=b", "pkcs11:token=a%3Db"),
            ("pkcs11:token=%61", "pkcs11:token=a"),
            ("pkcs11:token=(x)*[y]@!$'+,:", "pkcs11:token=%28x%29%2A%5By%5D%40%21%24%27%2B%2C%3A"),
            ("pkcs11:model=Some%20v2;manufacturer=x", "pkcs11:manufacturer=x;model=Some%20v2"),
            ("pkcs11:token=a%20%20", "pkcs11:token=a"),
            ("pkcs11:slot-id=0", "pkcs11:slot-id=0"),
            ("pkcs11:slot-id=007", "pkcs11:slot-id=7"),
            ("pkcs11:slot-id=327;slot-description=reader%201", "pkcs11:slot-description=reader%201;slot-id=327"),
            ("pkcs11:slot-manufacturer=m", "pkcs11:slot-manufacturer=m"),
            ("pkcs11:library-version=2.6;library-manufacturer=m", "pkcs11:library-manufacturer=m;library-version=2.6"),
            ("pkcs11:library-version=3;library-description=d", "pkcs11:library-description=d;library-version=3.0"),
            ("pkcs11:library-version=02.06", "pkcs11:library-version=2.6"),
            ("pkcs11:?module-path=/usr/lib/x.so", "pkcs11:?module-path=/usr/lib/x.so"),
            ("pkcs11:?module-path=%2Fusr%2Flib%2Fa%20b.so", "pkcs11:?module-path=/usr/lib/a%20b.so"),
            ("pkcs11:token=a?module-name=somehsm", "pkcs11:token=a?module-name=somehsm"),
            ("pkcs11:?module-name=a,b", "pkcs11:?module-name=a%2Cb"),
            ("pkcs11:token=a?", "pkcs11:token=a"),
            ("pkcs11:?pin-source=/etc/pin&module-path=/x.so", "pkcs11:?module-path=/x.so&pin-source=/etc/pin"),
            ("pkcs11:?pin-source=file:/etc/pin", "pkcs11:?pin-source=/etc/pin"),
            ("pkcs11:?pin-source=file:///etc/pin", "pkcs11:?pin-source=/etc/pin"),
            // Found by fuzzing: what was printed for it was refused, and a ring with it could not be read again.
            ("pkcs11:?pin-source=file:////etc/pin", "pkcs11:?pin-source=//etc/pin"),
        ];
        for (text, canonical) in good {
            let uri: Pkcs11Uri = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(uri.to_string(), canonical);
            assert_eq!(canonical.parse::<Pkcs11Uri>().unwrap(), uri, "{canonical} round-trips");
        }
    }

    /// What is refused. Every value that could be a PIN is `9876`, and no message repeats it.
    #[test]
    fn bad_uris() {
        let bad = [
            "pkcs11",
            "PKCS11:token=a",
            "pkcs11:9876",
            "pkcs11:token",
            "pkcs11:token=a;",
            "pkcs11:;token=a",
            "pkcs11:token=a;;serial=1",
            "pkcs11:token=a;token=a",
            "pkcs11:token=a;token=b",
            "pkcs11:Token=a",
            "pkcs11:=a",
            "pkcs11:9876=a",
            "pkcs11:object=key",
            "pkcs11:type=private",
            "pkcs11:id=%01",
            "pkcs11:x-vendor=1",
            "pkcs11:pin-value=9876",
            "pkcs11:token=a%",
            "pkcs11:token=a%2",
            "pkcs11:token=%zz9876",
            "pkcs11:token=%+1",
            "pkcs11:token=a b",
            "pkcs11:token=a#b",
            "pkcs11:token=a/b",
            "pkcs11:token=caf\u{e9}",
            "pkcs11:token=%ff",
            "pkcs11:token=a%00",
            "pkcs11:slot-id=",
            "pkcs11:slot-id=+1",
            "pkcs11:slot-id=0x1",
            "pkcs11:slot-id=18446744073709551616",
            "pkcs11:token=012345678901234567890123456789012",
            "pkcs11:serial=01234567890123456",
            "pkcs11:library-version=256.1",
            "pkcs11:library-version=1.2.3",
            "pkcs11:library-version=2.",
            "pkcs11:library-version=a",
            "pkcs11:?pin-value=9876",
            "pkcs11:?pin-source=/etc/pin&pin-value=9876",
            "pkcs11:?pin-source=|echo 9876",
            "pkcs11:?pin-source=%7Cecho%209876",
            "pkcs11:?pin-source=9876",
            "pkcs11:?pin-source=",
            "pkcs11:?pin-source=file:9876",
            "pkcs11:?pin-source=file://host/etc/pin9876 ",
            "pkcs11:?pin-source=/a&pin-source=/b",
            "pkcs11:?module-path=lib.so",
            "pkcs11:?module-path=",
            "pkcs11:?module-path=/a.so&module-path=/a.so",
            "pkcs11:?module-path=/a.so&module-name=b",
            "pkcs11:?module-name=",
            "pkcs11:?module-name=../evil",
            "pkcs11:?module-name=a%2Fb",
            "pkcs11:?token=a",
            "pkcs11:?pin=9876",
            "pkcs11:?9876",
        ];
        for text in bad {
            match text.parse::<Pkcs11Uri>() {
                Ok(uri) => panic!("{text} was taken for {uri}"),
                Err(error) => assert!(!error.to_string().contains("9876"), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let said = |text: &str| text.parse::<Pkcs11Uri>().unwrap_err().to_string();
        let about = "not a PKCS#11 URI that names a token: ";
        assert_eq!(said("pkcs11:objekt=a"), format!("{about}the attribute `objekt` is unknown here"));
        assert_eq!(said("pkcs11:token=%1"), format!("{about}`token` has a `%` without two hex digits"));
        assert_eq!(said("pkcs11:token=a;token=b"), format!("{about}the attribute `token` is given twice"));
        assert_eq!(
            said("pkcs11:serial=98765432109876543"),
            format!("{about}`serial` is longer than the 16 bytes that there are for it")
        );
        assert!(said("pkcs11:?pin-value=9876").ends_with("use `pin-source`"));
    }

    #[test]
    fn found_tokens_have_uris_that_name_them() {
        let token = |label: &str, serial: &str| super::super::TokenIdentity {
            label: label.to_owned(),
            manufacturer: "m".to_owned(),
            model: "a model".to_owned(),
            serial: serial.to_owned(),
        };
        let named = of_token(&token("pay roll", "77"), 4, "somehsm");
        assert_eq!(named, "pkcs11:token=pay%20roll;serial=77?module-name=somehsm");
        let blank = of_token(&token("", ""), 4, "/usr/lib/x y.so");
        assert_eq!(blank, "pkcs11:model=a%20model;slot-id=4?module-path=/usr/lib/x%20y.so");
        // Found by fuzzing: a module that fills its fields with whatever comes after a C string's end.
        let odd = of_token(&token("pay\0roll", "77"), 4, "somehsm");
        assert_eq!(odd, "pkcs11:model=a%20model;slot-id=4?module-name=somehsm");
        let odder = super::super::TokenIdentity { model: "a\0model".to_owned(), ..token("", "7\x007") };
        let odder = of_token(&odder, 4, "somehsm");
        assert_eq!(odder, "pkcs11:slot-id=4?module-name=somehsm");
        for uri in [named, blank, odd, odder] {
            assert_eq!(uri.parse::<Pkcs11Uri>().unwrap().to_string(), uri);
        }
    }
}
