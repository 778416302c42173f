//! p11-kit's module configurations (pkcs11.conf(5)): which modules a system has, and where their files are.

use std::collections::BTreeMap;
use std::env;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::device::{DeviceError, Fault};

/// Where packages and the administrator put `NAME.module` files; a later directory's file replaces an earlier one's.
const CONFIGURATIONS: [&str; 2] = ["/usr/share/p11-kit/modules", "/etc/pkcs11/modules"];
/// Where libraries are; on multi-arch systems there is one more level, named after the machine.
const LIBRARIES: [&str; 2] = ["/usr/lib64", "/usr/lib"];

/// What a module's configuration says of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Configuration {
    /// The `module:` line: a file.
    pub module: String,
    /// The `x-init-reserved:` line: what C_Initialize is given. NSS is told by it where its database is.
    pub init: Option<String>,
}

/// A module's library, and what its C_Initialize is given.
#[derive(Debug)]
pub struct Library {
    pub file: PathBuf,
    pub init: Option<CString>,
}

impl From<PathBuf> for Library {
    fn from(file: PathBuf) -> Self {
        Self { file, init: None }
    }
}

/// All configured modules by name. Modules without a file of their own (`remote:`) are left out, and those whose names p11-kit
/// warns of: no URI could name them.
pub fn modules() -> BTreeMap<String, Configuration> {
    let mut found = BTreeMap::new();
    for directory in CONFIGURATIONS.iter().map(PathBuf::from).chain(users_own()) {
        for file in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = file.file_stem().and_then(|name| name.to_str()).filter(|name| is_name(name));
            if let (Some(name), true) = (name, file.extension().is_some_and(|extension| extension == "module"))
                && let Ok(text) = fs::read_to_string(&file)
            {
                // A file without the line takes the module out again.
                match configuration(&text) {
                    Some(configuration) => found.insert(name.to_owned(), configuration),
                    None => found.remove(name),
                };
            }
        }
    }
    found
}

/// Whether p11-kit takes this for the name of a module (pkcs11.conf(5)): letters, digits, underscores, commas, dashes and
/// dots, a letter or digit first.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_,.-".contains(&byte);
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(plain)
}

/// The module `name`: as configured, else `NAME.so` among p11-kit's modules.
pub fn module(name: &str) -> Result<Library, DeviceError> {
    let plain = || Configuration { module: format!("{name}.so"), init: None };
    let Configuration { module, init } = modules().remove(name).unwrap_or_else(plain);
    let unusable =
        |what: &str| DeviceError::from(Fault::Unreachable(format!("p11-kit knows no module `{name}` with {what}")));
    let file = resolve(&module).ok_or_else(|| unusable("a file that exists"))?;
    let init = init.map(CString::new).transpose().map_err(|_| unusable("an x-init-reserved that is text"))?;
    Ok(Library { file, init })
}

/// p11-kit's proxy module, which shows the tokens of all the others.
pub fn proxy() -> Result<PathBuf, DeviceError> {
    let missing = || Fault::Unreachable("p11-kit's proxy module is not installed; name a module in the URI".to_owned());
    in_libraries("p11-kit-proxy.so").ok_or_else(|| missing().into())
}

/// The file that a `module:` line means: relative ones lie in p11-kit's module directory.
pub fn resolve(file: &str) -> Option<PathBuf> {
    if Path::new(file).is_absolute() {
        return Some(PathBuf::from(file)).filter(|path| path.exists());
    }
    in_libraries(&format!("pkcs11/{file}"))
}

/// The first of the library directories that has `file`; this machine's own before others'.
fn in_libraries(file: &str) -> Option<PathBuf> {
    let machine = format!("{}-linux-gnu", env::consts::ARCH);
    let own = LIBRARIES.map(|base| Path::new(base).join(&machine));
    let mut others: Vec<PathBuf> =
        fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    others.sort();
    own.into_iter()
        .chain(LIBRARIES.map(PathBuf::from))
        .chain(others)
        .map(|dir| dir.join(file))
        .find(|path| path.exists())
}

/// The user's own configurations, which root never reads.
fn users_own() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let config = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".config")))?;
    config.is_absolute().then(|| config.join("pkcs11/modules"))
}

fn configuration(text: &str) -> Option<Configuration> {
    let module = module_line(text)?.to_owned();
    Some(Configuration { module, init: line(text, "x-init-reserved").map(str::to_owned) })
}

/// The value of the `module:` line of a configuration.
pub fn module_line(text: &str) -> Option<&str> {
    line(text, "module")
}

/// The value of the last line of that name. Lines are `name: value`; those that start with `#` are comments.
fn line<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut named = lines.filter_map(|line| line.split_once(':')).filter(|(start, _)| start.trim() == name);
    named.next_back().map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_module_lines() {
        assert_eq!(module_line("module: opensc-pkcs11.so\n"), Some("opensc-pkcs11.so"));
        assert_eq!(module_line("# module: no.so\n\n  module :  /a b.so  \npriority: 1"), Some("/a b.so"));
        assert_eq!(module_line("module: a.so\nmodule: b.so"), Some("b.so"));
        assert_eq!(module_line("x-init-reserved:\nmodule:C:odd.so"), Some("C:odd.so"));
        assert_eq!(module_line("module:\n"), None);
        assert_eq!(module_line("remote: |ssh host p11-kit remote x.so\nmodules: a.so\nmodule"), None);
    }

    #[test]
    fn reads_what_c_initialize_is_given() {
        let read = |text| configuration(text).map(|read| (read.module, read.init));
        let nss = "module: libsoftokn3.so\nx-init-reserved: configdir='sql:/a:b' flags=readOnly \ncritical: no";
        let init = Some("configdir='sql:/a:b' flags=readOnly".to_owned());
        assert_eq!(read(nss), Some(("libsoftokn3.so".to_owned(), init)));
        assert_eq!(read("module: a.so\nx-init-reserved:\n#x-init-reserved: b"), Some(("a.so".to_owned(), None)));
        assert_eq!(read("x-init-reserved: a"), None);
    }

    #[test]
    fn names_are_those_that_p11_kit_permits() {
        for good in ["softhsm2", "Some_HSM-3.1", "a,b"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".hidden", "-x", "a b", "../a", "caf\u{e9}", "a\n"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn finds_files_of_modules() {
        assert_eq!(resolve("/nowhere/at-all.so"), None);
        assert_eq!(resolve("no-such-module-anywhere.so"), None);
        assert_eq!(resolve("/etc/passwd"), Some(PathBuf::from("/etc/passwd")));
        assert!(matches!(module("no-such-module").unwrap_err().fault, Fault::Unreachable(_)));
    }
}
