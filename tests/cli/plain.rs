//! Takes out of a text what is different in each run: paths, ports, ids, times, hashes, versions.

/// Texts of this run, and what stands for each; longer ones first where one holds another.
pub struct Names(pub Vec<(String, &'static str)>);

/// Shapes: `x` is a lower-case hexadecimal digit, `d` a digit, `~` some digits and dots, the rest itself. Neither end may be
/// in the middle of a word. Longer ones first.
const SHAPES: &[(&str, &str)] = &[
    ("SHA256:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "SHA256:HASH"),
    ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "KEY"),
    ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "UUID"),
    ("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "FULL-ID"),
    ("xxxx-xxxx-xxxx-xxxx", "ID"),
    ("dddd-dd-ddTdd:dd:ddZ", "TIME"),
    ("firmware ~", "firmware VERSION"),
    ("revision ~", "revision VERSION"),
    ("SoftHSM), version ~", "SoftHSM), version VERSION"),
    ("serial xxxxxxxxxxxxxxxx", "serial SERIAL"),
    ("serial=xxxxxxxxxxxxxxxx", "serial=SERIAL"),
    ("slot ~", "slot SLOT"),
];

/// What stands before this host's name wherever Strongroom says it.
const BEFORE_HOST: &[&str] = &[" on ", " is ", "if ", "[", "\"master\":\"", "\"made_on\":\""];

impl Names {
    pub fn plain(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, placeholder) in &self.0 {
            text = text.replace(name, placeholder);
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        for before in BEFORE_HOST {
            text = replace_word(&text, &format!("{before}{host}"), &format!("{before}HOST"));
        }
        let mut plain = String::with_capacity(text.len());
        let mut rest = &text[..];
        let mut last = ' ';
        'text: while let Some(next) = rest.chars().next() {
            if !last.is_ascii_alphanumeric() {
                for (shape, placeholder) in SHAPES {
                    if let Some(len) = fits(shape, rest) {
                        plain.push_str(placeholder);
                        rest = &rest[len..];
                        last = 'x';
                        continue 'text;
                    }
                }
            }
            plain.push(next);
            last = next;
            rest = &rest[next.len_utf8()..];
        }
        plain
    }
}

/// How much of the beginning of `text` has the shape.
fn fits(shape: &str, text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut len = 0;
    for sign in shape.bytes() {
        let here = |at: usize| bytes.get(at).copied().unwrap_or(b' ');
        let fits = match sign {
            b'x' => here(len).is_ascii_digit() || (b'a'..=b'f').contains(&here(len)),
            b'd' => here(len).is_ascii_digit(),
            b'~' => {
                while here(len + 1).is_ascii_digit() || (here(len + 1) == b'.' && here(len + 2).is_ascii_digit()) {
                    len += 1;
                }
                here(len).is_ascii_digit()
            }
            sign => here(len) == sign,
        };
        if !fits {
            return None;
        }
        len += 1;
    }
    let after = bytes.get(len).copied().unwrap_or(b' ');
    (!after.is_ascii_alphanumeric()).then_some(len)
}

fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, found) = rest.split_at(at);
        let after = &found[word.len()..];
        replaced.push_str(before);
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_');
        replaced.push_str(if whole { by } else { word });
        rest = after;
    }
    replaced + rest
}

#[test]
fn takes_out_what_differs_and_nothing_else() {
    let names = Names(vec![("/tmp/w".to_owned(), "DIR")]);
    let id = "82ac-8968-99bb-ff03";
    let uuid = "3071d876-2963-48b8-ae40-a60cb3360483";
    let text = format!("/tmp/w/b1 of {uuid}, ({id}) at 2026-11-23T02:43:43Z, firmware 8217.4131.22; {id}0 stays");
    assert_eq!(names.plain(&text), format!("DIR/b1 of UUID, (ID) at TIME, firmware VERSION; {id}0 stays"));
    let hash = "0123456789abcdef".repeat(4);
    assert_eq!(
        names.plain(&format!("SHA256:{hash} {hash}\nslot 17, serial {}", &hash[..16])),
        "SHA256:HASH KEY\nslot SLOT, serial SERIAL"
    );
}
