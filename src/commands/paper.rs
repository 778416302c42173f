//! `strongroom completions` and `strongroom man`: what packages ship.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use strongroom::durable::{Directory, FileError};

use crate::cli::Cli;
use crate::report::Stop;
use crate::terminal::Terminal;

pub fn completions(shell: Shell, terminal: &Terminal) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "strongroom", &mut script);
    terminal.write(&script)
}

/// A page for the program and for each command that is shown.
pub fn man(directory: &Path) -> Result<(), Stop> {
    let failed = |source: FileError| Stop::Write { path: directory.display().to_string(), source };
    // Packagers' directories may well be links.
    let real = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let target = Directory::open(&real).map_err(failed)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    render(command, &mut pages).map_err(Stop::Output)?;
    pages.iter().try_for_each(|(name, page)| target.replace_public(name, page)).map_err(failed)
}

fn render(command: Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for shown in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        render(shown.clone(), pages)?;
    }
    let page = Man::new(command);
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push((page.get_filename(), text));
    Ok(())
}
