//! What in a Markdown file is to be run, in the order of the file. CONTRIBUTING.md, "How to write an example", has the rules.

use std::fs;
use std::path::PathBuf;

/// Something to do, and the line where it stands.
#[derive(Debug, PartialEq)]
pub struct Step {
    pub line: usize,
    pub act: Act,
}

#[derive(Debug, PartialEq)]
pub enum Act {
    /// `<!-- test: COMMANDS -->`: what happens to the server without the reader's doing.
    Happens(String),
    /// `<!-- types: ONE / ANOTHER -->`: what is typed unseen, from then on.
    Types(Vec<String>),
    /// A command of a `console` block, and what it is shown to say.
    Typed { command: String, says: Vec<String>, code: i32 },
    /// An `sh` or `bash` block, run as a whole, and the block after it that has its output.
    Script { script: String, says: Vec<String> },
}

/// A second-level section, or what stands before the first one (then `title` is empty).
#[derive(Debug)]
pub struct Section {
    pub title: String,
    pub steps: Vec<Step>,
}

/// The documents that are read: README.md and all in docs.
pub fn all() -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(root.join("docs")).expect("the repository has docs");
    let names = entries.map(|entry| entry.expect("a readable directory").file_name().into_string().expect("UTF-8"));
    let mut docs: Vec<String> = names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    docs.push("README.md".to_owned());
    docs.sort();
    docs
}

pub fn text(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()))
}

/// Panics, naming the line, where something looks like a command and is written in a way that is not run.
pub fn sections(name: &str, text: &str) -> Vec<Section> {
    let mut sections = vec![Section { title: String::new(), steps: Vec::new() }];
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line)).peekable();
    let (mut blank, mut list) = (true, false);
    // Whether nothing but blank lines stands since a script.
    let mut after_script = false;
    while let Some((at, line)) = lines.next() {
        let here = sections.last_mut().expect("one at least");
        // What stands before the line that ends in that way, and the rest of that line.
        let mut body = |end: &str| -> Vec<String> {
            let mut body = Vec::new();
            for (_, line) in lines.by_ref() {
                if let Some(last) = line.strip_suffix(end) {
                    body.extend((!last.is_empty()).then(|| last.to_owned()));
                    return body;
                }
                body.push(line.to_owned());
            }
            panic!("{name}:{at}: this has no end");
        };
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), steps: Vec::new() });
            after_script = false;
        } else if let Some(language) = line.trim_start().strip_prefix("```") {
            assert!(!line.starts_with(' '), "{name}:{at}: begin blocks at the margin");
            let body = body("```");
            match language {
                "console" => here.steps.extend(console(name, at, &body)),
                "sh" | "bash" => {
                    let act = Act::Script { script: body.join("\n"), says: Vec::new() };
                    here.steps.push(Step { line: at, act });
                }
                _ if after_script => match here.steps.last_mut() {
                    Some(Step { act: Act::Script { says, .. }, .. }) => *says = body,
                    _ => unreachable!("there was one"),
                },
                "" | "json" | "ini" | "yaml" | "toml" => {
                    let command = body.iter().find(|line| is_command(line));
                    assert!(command.is_none(), "{name}:{at}: nobody runs {command:?}: make it a console or sh block");
                }
                other => panic!("{name}:{at}: no block is called {other} here"),
            }
            after_script = language == "sh" || language == "bash";
        } else if let Some(comment) = line.strip_prefix("<!-- ") {
            let comment = match comment.strip_suffix(" -->") {
                Some(comment) => comment.to_owned(),
                None => format!("{comment}\n{}", body("-->").join("\n")),
            };
            let act = if let Some(commands) = comment.strip_prefix("test:") {
                Some(Act::Happens(commands.trim().to_owned()))
            } else {
                let typed = comment.strip_prefix("types:");
                let (word, _) = comment.split_once(':').unwrap_or_default();
                let known = typed.is_some() || word.is_empty() || word.contains(' ');
                assert!(known, "{name}:{at}: a comment can say test: or types:, not {word}:");
                typed.map(|typed| Act::Types(typed.split(" / ").map(|one| one.trim().to_owned()).collect()))
            };
            here.steps.extend(act.map(|act| Step { line: at, act }));
        } else {
            let indented = line.starts_with("    ") && blank && !list;
            assert!(!indented, "{name}:{at}: nobody runs an indented block: use a fenced one");
            if !line.trim().is_empty() {
                after_script = false;
                let item = line.trim_start();
                let numbered = item.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(". ");
                list = item.starts_with("- ") || numbered || (list && line.starts_with(' '));
            }
        }
        blank = line.trim().is_empty();
    }
    sections
}

/// A block as a terminal shows it: `# ` or `$ ` before a command, `\` at the end of a line that goes on.
fn console(name: &str, at: usize, body: &[String]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut open = false;
    for (offset, text) in body.iter().enumerate() {
        let line = at + 1 + offset;
        let last = steps.last_mut().map(|step| &mut step.act);
        if open {
            let Some(Act::Typed { command, .. }) = last else { unreachable!("one is open") };
            command.push('\n');
            command.push_str(text);
            open = text.ends_with('\\');
        } else if let Some(command) = text.strip_prefix("# ").or_else(|| text.strip_prefix("$ ")) {
            open = command.ends_with('\\');
            let act = Act::Typed { command: command.to_owned(), says: Vec::new(), code: 0 };
            steps.push(Step { line, act });
        } else {
            let Some(Act::Typed { says, code, .. }) = last else { panic!("{name}:{line}: output without a command") };
            match text.strip_prefix("(exit code ").and_then(|rest| rest.strip_suffix(')')) {
                Some(number) => *code = number.parse().unwrap_or_else(|_| panic!("{name}:{line}: no exit code")),
                None => says.push(text.trim_end().to_owned()),
            }
        }
    }
    for step in &mut steps {
        if let Act::Typed { says, .. } = &mut step.act {
            while says.last().is_some_and(String::is_empty) {
                says.pop();
            }
        }
    }
    steps
}

fn is_command(line: &str) -> bool {
    ["# strongroom ", "$ strongroom ", "strongroom "].iter().any(|start| line.starts_with(start))
}

/// Code in running text that is a command of ours: `strongroom VERB ...`, with the line where it stands.
pub fn spans(text: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let code = line.split('`').skip(1).step_by(2);
            spans.extend(code.filter(|code| code.starts_with("strongroom ")).map(|code| (at + 1, code.to_owned())));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Title
<!-- test: tpm_off -->
## One
- a list

    of two paragraphs
```console
# strongroom status
exit code 7 is a warning
(exit code 7)
# one \\
    two
```

## Two
```sh
echo a
echo b
```

```
a
...
```
";

    #[test]
    fn finds_all_that_is_to_be_run() {
        let sections = sections("text", TEXT);
        let titles: Vec<&str> = sections.iter().map(|section| section.title.as_str()).collect();
        assert_eq!(titles, ["", "One", "Two"]);
        assert_eq!(sections[0].steps, [Step { line: 2, act: Act::Happens("tpm_off".to_owned()) }]);
        let says = vec!["exit code 7 is a warning".to_owned()];
        let status = Act::Typed { command: "strongroom status".to_owned(), says, code: 7 };
        assert_eq!(sections[1].steps[0], Step { line: 8, act: status });
        let long = Act::Typed { command: "one \\\n    two".to_owned(), says: vec![], code: 0 };
        assert_eq!(sections[1].steps[1], Step { line: 11, act: long });
        let says = vec!["a".to_owned(), "...".to_owned()];
        let script = Act::Script { script: "echo a\necho b".to_owned(), says };
        assert_eq!(sections[2].steps, [Step { line: 16, act: script }]);
    }

    #[test]
    #[should_panic(expected = "text:3: nobody runs an indented block")]
    fn leaves_no_indented_command_out() {
        sections("text", "Do:\n\n    strongroom status\n");
    }

    #[test]
    #[should_panic(expected = "text:1: nobody runs")]
    fn leaves_no_command_in_a_block_of_another_kind_out() {
        sections("text", "```\nstrongroom status\n```\n");
    }
}
