//! PKCS#11 URIs: what Strongroom makes of each, next to what p11-kit's own parser does (`p11_kit_uri_parse`, in the library
//! that all of p11-kit's modules are loaded through). Where the two differ, Strongroom is the stricter one, and the table
//! says why.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_ulong, c_void};
use std::ptr;

use strongroom::device::{DeviceUri, Kind};

/// What the two say of a URI.
enum Row {
    /// Both take it, for the same; Strongroom prints it so.
    Both(&'static str),
    /// Both refuse it.
    Neither,
    /// p11-kit takes it, and Strongroom does not, because.
    OnlyP11Kit(&'static str),
    /// p11-kit takes it for a URI that no token can match, and Strongroom refuses it at once, because.
    NoToken(&'static str),
    /// Both take it, and Strongroom, which prints it so, asks for more than p11-kit does, because.
    Narrower(&'static str, &'static str),
}
use Row::{Both, Narrower, Neither, NoToken, OnlyP11Kit};

const OBJECT: &str = "it names an object, and a device is a token";
const UNENCODED: &str = "RFC 7512 has it percent-encoded there; unencoded, it is a mistake or the shell's";
const TWICE: &str = "p11-kit takes the last one, and forgets what else was asked for";
const PIN: &str = "a PIN in a URI ends in the ring and in process listings";
const UNKNOWN: &str = "what is not understood is not passed over: it could be a misspelt attribute";
const EMPTY: &str = "an attribute got lost; behind it, p11-kit takes the rest for something else";
const BLANKS: &str = "p11-kit takes blanks out, and finds the token `ab` for `a b`";
const FILE: &str = "p11-kit leaves it to whoever reads it what this is: here it is an absolute path, or nothing";
const LONG: &str = "no token has room for it";

/// By what they are about. Each `9876` could be a PIN.
const TABLE: &[(&str, Row)] = &[
    // The scheme.
    ("pkcs11:", Both("pkcs11:")),
    ("pkcs11", Neither),
    ("http:token=a", Neither),
    ("PKCS11:token=a", OnlyP11Kit("one spelling is enough, in rings and in scripts")),
    ("Pkcs11:token=a", OnlyP11Kit("the same")),
    // Which token: text.
    ("pkcs11:token=payroll", Both("pkcs11:token=payroll")),
    ("pkcs11:token=", Both("pkcs11:token=")),
    ("pkcs11:serial=7;token=a", Both("pkcs11:token=a;serial=7")),
    ("pkcs11:model=Some%20v2;manufacturer=x", Both("pkcs11:manufacturer=x;model=Some%20v2")),
    (
        "pkcs11:manufacturer=Snake%20Oil,%20Inc.;model=1.0;serial=1234",
        Both("pkcs11:manufacturer=Snake%20Oil%2C%20Inc.;model=1.0;serial=1234"),
    ),
    (
        "pkcs11:slot-description=reader%201;slot-manufacturer=m",
        Both("pkcs11:slot-description=reader%201;slot-manufacturer=m"),
    ),
    (
        "pkcs11:library-manufacturer=m;library-description=d",
        Both("pkcs11:library-description=d;library-manufacturer=m"),
    ),
    ("pkcs11:token=a%20", Both("pkcs11:token=a")),
    ("pkcs11:token=%20a", Both("pkcs11:token=%20a")),
    ("pkcs11:token=01234567890123456789012345678901", Both("pkcs11:token=01234567890123456789012345678901")),
    ("pkcs11:token=012345678901234567890123456789012", NoToken(LONG)),
    ("pkcs11:manufacturer=012345678901234567890123456789012", NoToken(LONG)),
    ("pkcs11:model=0123456789012345", Both("pkcs11:model=0123456789012345")),
    ("pkcs11:model=01234567890123456", NoToken(LONG)),
    ("pkcs11:serial=0123456789012345", Both("pkcs11:serial=0123456789012345")),
    ("pkcs11:serial=01234567890123456", NoToken(LONG)),
    ("pkcs11:library-manufacturer=012345678901234567890123456789012", NoToken(LONG)),
    ("pkcs11:slot-description=01234567890123456789012345678901234567890123456789012345678901234", NoToken(LONG)),
    // Encoding.
    ("pkcs11:token=The%20Token", Both("pkcs11:token=The%20Token")),
    ("pkcs11:token=caf%c3%a9", Both("pkcs11:token=caf%C3%A9")),
    ("pkcs11:token=%61", Both("pkcs11:token=a")),
    ("pkcs11:token=a%3bb", Both("pkcs11:token=a%3Bb")),
    ("pkcs11:token=%3B%3F%26%23%25", Both("pkcs11:token=%3B%3F%26%23%25")),
    ("pkcs11:token=a%0A", Both("pkcs11:token=a%0A")),
    ("pkcs11:token=a~b-c.d_e", Both("pkcs11:token=a~b-c.d_e")),
    ("pkcs11:token=a&b", Both("pkcs11:token=a%26b")),
    ("pkcs11:token=a=b", Both("pkcs11:token=a%3Db")),
    ("pkcs11:token=(x)*[y]@!$'+,:", Both("pkcs11:token=%28x%29%2A%5By%5D%40%21%24%27%2B%2C%3A")),
    ("pkcs11:token=a&module-path=/x.so", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=a%", Neither),
    ("pkcs11:token=a%2", Neither),
    ("pkcs11:token=%zz9876", Neither),
    ("pkcs11:token=%+1", Neither),
    ("pkcs11:token=%ff", OnlyP11Kit("labels are UTF-8 (PKCS#11 3.1, section 3.2)")),
    ("pkcs11:token=a%00", OnlyP11Kit("no field of a token holds a zero byte")),
    ("pkcs11:token=a b", OnlyP11Kit(BLANKS)),
    ("pkcs11:token= a", OnlyP11Kit(BLANKS)),
    ("pkcs11: token=a", OnlyP11Kit(BLANKS)),
    ("pkcs11:token=a#b", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=a/b", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=a|b", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=a\"b", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=a\\b", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=a<b>", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=a{b}^", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=caf\u{e9}", OnlyP11Kit(UNENCODED)),
    // Numbers.
    ("pkcs11:slot-id=0", Both("pkcs11:slot-id=0")),
    ("pkcs11:slot-id=327", Both("pkcs11:slot-id=327")),
    ("pkcs11:slot-id=4294967296", Both("pkcs11:slot-id=4294967296")),
    ("pkcs11:slot-id=007", Both("pkcs11:slot-id=7")),
    (
        "pkcs11:slot-id=18446744073709551615",
        Narrower(
            "pkcs11:slot-id=18446744073709551615",
            "p11-kit takes that number for none, and asks for no slot at all",
        ),
    ),
    ("pkcs11:slot-id=18446744073709551616", OnlyP11Kit("p11-kit counts past the end, and takes it for slot 0")),
    ("pkcs11:slot-id=", OnlyP11Kit("p11-kit takes it for slot 0")),
    ("pkcs11:slot-id=+1", Neither),
    ("pkcs11:slot-id=-1", Neither),
    ("pkcs11:slot-id=0x1", Neither),
    ("pkcs11:slot-id=1%20", Neither),
    ("pkcs11:library-version=2.6", Both("pkcs11:library-version=2.6")),
    ("pkcs11:library-version=2.40", Both("pkcs11:library-version=2.40")),
    ("pkcs11:library-version=02.06", Both("pkcs11:library-version=2.6")),
    ("pkcs11:library-version=3", Both("pkcs11:library-version=3.0")),
    ("pkcs11:library-version=254.254", Both("pkcs11:library-version=254.254")),
    ("pkcs11:library-version=255.0", Neither),
    ("pkcs11:library-version=256.1", Neither),
    ("pkcs11:library-version=1.256", Neither),
    ("pkcs11:library-version=2.", Neither),
    ("pkcs11:library-version=.2", Neither),
    ("pkcs11:library-version=1.2.3", Neither),
    ("pkcs11:library-version=a", Neither),
    ("pkcs11:library-version=", Neither),
    // How attributes stand together.
    ("pkcs11:token", Neither),
    ("pkcs11:9876", Neither),
    ("pkcs11:=a", Neither),
    ("pkcs11:token=a;token=a", OnlyP11Kit(TWICE)),
    ("pkcs11:token=a;token=b", OnlyP11Kit(TWICE)),
    ("pkcs11:token=a;", OnlyP11Kit(EMPTY)),
    ("pkcs11:;token=a", OnlyP11Kit(EMPTY)),
    ("pkcs11:token=a;;serial=1", OnlyP11Kit(EMPTY)),
    ("pkcs11:Token=a", NoToken(UNKNOWN)),
    ("pkcs11:9876=a", NoToken(UNKNOWN)),
    ("pkcs11:x-vendor=1", NoToken(UNKNOWN)),
    ("pkcs11:module-path=/x.so", NoToken("it stands before the `?`, where it asks something of the token")),
    // Objects.
    ("pkcs11:object=key", OnlyP11Kit(OBJECT)),
    ("pkcs11:type=private", OnlyP11Kit(OBJECT)),
    ("pkcs11:type=nonsense", NoToken(OBJECT)),
    ("pkcs11:id=%01", OnlyP11Kit(OBJECT)),
    // The module.
    ("pkcs11:?module-path=/usr/lib/x.so", Both("pkcs11:?module-path=/usr/lib/x.so")),
    ("pkcs11:?module-path=%2Fusr%2Flib%2Fa%20b.so", Both("pkcs11:?module-path=/usr/lib/a%20b.so")),
    ("pkcs11:token=a?module-name=somehsm", Both("pkcs11:token=a?module-name=somehsm")),
    ("pkcs11:?module-name=a,b", Both("pkcs11:?module-name=a%2Cb")),
    ("pkcs11:token=a?", Both("pkcs11:token=a")),
    ("pkcs11:?module-path=lib.so", OnlyP11Kit("which file that is depends on where the program runs")),
    ("pkcs11:?module-path=", OnlyP11Kit("it names no file")),
    ("pkcs11:?module-path=/a.so&module-path=/a.so", OnlyP11Kit(TWICE)),
    ("pkcs11:?module-path=/a.so&module-name=b", OnlyP11Kit("the two may be two modules")),
    ("pkcs11:?module-name=", OnlyP11Kit("it names no module")),
    ("pkcs11:?module-name=../evil", OnlyP11Kit("p11-kit's modules have plain names: pkcs11.conf(5)")),
    ("pkcs11:?module-name=a/b", OnlyP11Kit("the same")),
    ("pkcs11:token=a?module-path=/x.so;pin-source=/y", OnlyP11Kit(UNENCODED)),
    ("pkcs11:token=a?module-path=/x.so&", OnlyP11Kit(EMPTY)),
    ("pkcs11:token=a?&module-path=/x.so", Neither),
    ("pkcs11:?9876", Neither),
    ("pkcs11:?token=a", OnlyP11Kit("it stands behind the `?`, where p11-kit asks nothing of the token by it")),
    ("pkcs11:?x-vendor=1", OnlyP11Kit(UNKNOWN)),
    ("pkcs11:?pin=9876", OnlyP11Kit(UNKNOWN)),
    // The PIN.
    ("pkcs11:?pin-source=/etc/pin&module-path=/x.so", Both("pkcs11:?module-path=/x.so&pin-source=/etc/pin")),
    ("pkcs11:?pin-source=file:/etc/pin", Both("pkcs11:?pin-source=/etc/pin")),
    ("pkcs11:?pin-source=file:///etc/pin", Both("pkcs11:?pin-source=/etc/pin")),
    ("pkcs11:?pin-source=file:////etc/pin", Both("pkcs11:?pin-source=//etc/pin")),
    ("pkcs11:?pin-source=file://host/etc/pin", OnlyP11Kit("a file of another host")),
    (
        "pkcs11:?pin-source=|echo%209876",
        OnlyP11Kit("it is a command, and whoever writes the ring could run it as root"),
    ),
    ("pkcs11:?pin-source=9876", OnlyP11Kit(FILE)),
    ("pkcs11:?pin-source=", OnlyP11Kit(FILE)),
    ("pkcs11:?pin-source=/a&pin-source=/b", OnlyP11Kit(TWICE)),
    ("pkcs11:?pin-value=9876", OnlyP11Kit(PIN)),
    ("pkcs11:?pin-source=/etc/pin&pin-value=9876", OnlyP11Kit(PIN)),
    ("pkcs11:pin-value=9876", OnlyP11Kit(PIN)),
    ("pkcs11:pin-source=/etc/pin", OnlyP11Kit("drafts of RFC 7512 had it before the `?`")),
    ("pkcs11:pinfile=/etc/pin", OnlyP11Kit("the same, by the name that it had there")),
];

/// The functions of libp11-kit's uri.h that are needed, and its library, which stays loaded.
struct P11Kit(*mut c_void);

/// `P11_KIT_URI_FOR_ANY`
const ANY: c_uint = 0xffff;

impl P11Kit {
    fn load() -> Self {
        // SAFETY: a library that any process may load, by a name that ends in a zero byte.
        let library = unsafe { libc::dlopen(c"libp11-kit.so.0".as_ptr(), libc::RTLD_NOW) };
        assert!(!library.is_null(), "libp11-kit.so.0 can't be loaded: run ci/setup");
        Self(library)
    }

    fn function(&self, name: &CStr) -> *mut c_void {
        // SAFETY: the library is loaded, and the name ends in a zero byte.
        let function = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!function.is_null(), "{name:?} is missing");
        function
    }

    /// What it makes of a URI; none where it refuses it.
    fn read(&self, text: &str) -> Option<Meaning> {
        let text = CString::new(text).expect("no zero byte");
        // SAFETY: the signatures are those of p11-kit/uri.h. Strings that it gives live as long as the URI, but for the
        // formatted one, which is the caller's.
        unsafe {
            let new: extern "C" fn() -> *mut c_void = std::mem::transmute(self.function(c"p11_kit_uri_new"));
            let free: extern "C" fn(*mut c_void) = std::mem::transmute(self.function(c"p11_kit_uri_free"));
            let parse: extern "C" fn(*const c_char, c_uint, *mut c_void) -> c_int =
                std::mem::transmute(self.function(c"p11_kit_uri_parse"));
            let format: extern "C" fn(*mut c_void, c_uint, *mut *mut c_char) -> c_int =
                std::mem::transmute(self.function(c"p11_kit_uri_format"));
            let unrecognized: extern "C" fn(*mut c_void) -> c_int =
                std::mem::transmute(self.function(c"p11_kit_uri_any_unrecognized"));
            let slot: extern "C" fn(*mut c_void) -> c_ulong =
                std::mem::transmute(self.function(c"p11_kit_uri_get_slot_id"));
            let text_of = |name: &CStr| {
                let get: extern "C" fn(*mut c_void) -> *const c_char = std::mem::transmute(self.function(name));
                move |uri| string(get(uri))
            };

            let uri = new();
            let meaning = (parse(text.as_ptr(), ANY, uri) == 0).then(|| {
                let mut formatted = ptr::null_mut();
                assert_eq!(format(uri, ANY, &mut formatted), 0, "{text:?}");
                let path = string(formatted).expect("a URI");
                libc::free(formatted.cast());
                Meaning {
                    no_token: unrecognized(uri) != 0,
                    token: path.split('?').next().expect("one part at least").to_owned(),
                    slot: slot(uri),
                    module_path: text_of(c"p11_kit_uri_get_module_path")(uri),
                    module_name: text_of(c"p11_kit_uri_get_module_name")(uri),
                    pin_source: text_of(c"p11_kit_uri_get_pin_source")(uri),
                    pin_value: text_of(c"p11_kit_uri_get_pin_value")(uri),
                }
            });
            free(uri);
            meaning
        }
    }
}

/// SAFETY: `text` is null, or a C string that lives for the call.
unsafe fn string(text: *const c_char) -> Option<String> {
    // SAFETY: as promised.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().expect("UTF-8").to_owned())
}

/// A URI as p11-kit understands it.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    /// There is something in it that p11-kit does not know: then it matches nothing.
    no_token: bool,
    /// What is asked of the token, in p11-kit's own order and encoding.
    token: String,
    slot: c_ulong,
    module_path: Option<String>,
    module_name: Option<String>,
    /// As it stands there: what it is the reader has to know.
    pin_source: Option<String>,
    pin_value: Option<String>,
}

impl Meaning {
    /// The same with the file that RFC 7512, section 2.4, has `pin-source` mean.
    fn with_file(mut self) -> Self {
        let plain = self.pin_source.take().map(|source| match source.strip_prefix("file:") {
            Some(path) => path.strip_prefix("//").unwrap_or(path).to_owned(),
            None => source,
        });
        Self { pin_source: plain, ..self }
    }
}

#[test]
fn uris_mean_what_p11_kit_takes_them_for_or_are_refused() {
    let p11_kit = P11Kit::load();
    for (text, row) in TABLE {
        let ours: Result<DeviceUri, _> = text.parse();
        let theirs = p11_kit.read(text);
        let printed = ours.as_ref().map(ToString::to_string).map_err(ToString::to_string);
        let why = match row {
            Both(_) | Neither => "they are of one mind",
            OnlyP11Kit(why) | NoToken(why) | Narrower(_, why) => why,
        };
        let context = format!("{text}\n  strongroom: {printed:?}\n  p11-kit: {theirs:?}\n  in the table: {why}");
        match row {
            Both(canonical) => {
                assert_eq!(printed.as_deref(), Ok(*canonical), "{context}");
                // What we print, p11-kit takes for what it took the original for; and each prints what it reads.
                let again = p11_kit.read(canonical).map(Meaning::with_file);
                assert_eq!(theirs.map(Meaning::with_file), again, "{context}");
                assert!(again.is_some_and(|meaning| !meaning.no_token), "{context}");
            }
            Neither => assert!(ours.is_err() && theirs.is_none(), "{context}"),
            OnlyP11Kit(_) => {
                assert!(ours.is_err() && theirs.is_some_and(|meaning| !meaning.no_token), "{context}");
            }
            NoToken(_) => assert!(ours.is_err() && theirs.is_some_and(|meaning| meaning.no_token), "{context}"),
            Narrower(canonical, _) => {
                assert_eq!(printed.as_deref(), Ok(*canonical), "{context}");
                let asks_for_less = theirs.is_some_and(|meaning| !meaning.no_token && meaning.token.len() < text.len());
                assert!(asks_for_less, "{context}");
            }
        }
        if let Ok(uri) = ours {
            assert_eq!(uri.kind(), Kind::Pkcs11);
            assert_eq!(uri.to_string().parse(), Ok(uri), "{context}");
        }
    }
    assert!(TABLE.len() >= 60, "{}", TABLE.len());
}

/// One that is no URI at all, and one that differs in a letter, are told from the others.
#[test]
fn p11_kit_does_not_take_everything_for_the_same() {
    let p11_kit = P11Kit::load();
    assert_eq!(p11_kit.read("pkcs11:token=%"), None);
    assert_ne!(p11_kit.read("pkcs11:token=a"), p11_kit.read("pkcs11:token=b"));
    assert_ne!(p11_kit.read("pkcs11:?module-path=/a"), p11_kit.read("pkcs11:?module-path=/b"));
    assert_ne!(p11_kit.read("pkcs11:?pin-source=/a"), p11_kit.read("pkcs11:?pin-source=file:/a"));
}
