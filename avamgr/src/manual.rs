//! Manual pages and completion scripts of our programs, made from their command lines.

use std::io::{self, Write as _};
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

/// Writes the manual pages of these programs into a directory.
///
/// # Errors
/// When they cannot be written; the error names the directory.
pub fn write_pages(programs: impl IntoIterator<Item = Command>, directory: &Path) -> io::Result<()> {
    let cannot = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot write manual pages to {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(cannot)?;
    programs.into_iter().try_for_each(|program| clap_mangen::generate_to(program, directory)).map_err(cannot)
}

/// Prints the completion script of a program.
///
/// # Errors
/// When nobody reads it.
pub fn print_completion(mut program: Command, shell: Shell) -> io::Result<()> {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut script);
    io::stdout().lock().write_all(&script)
}
