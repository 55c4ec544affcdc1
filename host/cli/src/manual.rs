//! `windtunnel man`: manual pages, from the definitions that `--help` shows.

use super::print::say;
use clap::{Args, Command};
use clap_mangen::Man;
use std::fs;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, plain, write_whole};

/// `windtunnel man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Folder to write them to, made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes a page for the program and for each of its commands.
pub fn write(args: &ManArgs, mut command: Command) -> anyhow::Result<()> {
    let folder = &args.folder;
    fs::create_dir_all(folder).map_err(|e| InputError::in_file(folder.display(), plain(&e)))?;
    command.build();
    let pages = pages(&command, folder)?;
    say(&format!("{pages} manual pages in {}", folder.display()));
    Ok(())
}

/// Writes the pages of `command` and of the commands below; how many.
fn pages(command: &Command, folder: &Path) -> anyhow::Result<usize> {
    let page = Man::new(command.clone());
    write_whole(&folder.join(page.get_filename()), |mut out| {
        page.render(&mut out)
    })?;
    let mut written = 1;
    let shown = |below: &&Command| !below.is_hide_set() && below.get_name() != "help";
    for below in command.get_subcommands().filter(shown) {
        written += pages(below, folder)?;
    }
    Ok(written)
}
