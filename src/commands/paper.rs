//! `strongroom completions` and `strongroom man`: what packages ship.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::report::Stop;
use crate::terminal::Terminal;

pub fn completions(shell: Shell, terminal: &Terminal) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "strongroom", &mut script);
    terminal.write(&script)
}

pub fn man(directory: &Path) -> Result<(), Stop> {
    clap_mangen::generate_to(Cli::command(), directory)
        .map_err(|source| Stop::Write { path: directory.display().to_string(), source })
}
