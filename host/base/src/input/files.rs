//! Writing files whole or not at all.

use super::error::{InputError, plain};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Longest chain of symbolic links that is followed.
const MOST_LINKS: usize = 40;

/// Files that are written completely, each into a temporary file beside its target, and then take
/// their places together.
///
/// Dropped without [`commit`](Self::commit), they leave nothing behind.
#[derive(Debug, Default)]
pub struct Staging {
    ready: Vec<Ready>,
}

/// A complete file that waits for its place.
#[derive(Debug)]
struct Ready {
    file: NamedTempFile,
    target: PathBuf,
    /// The path as given, for messages.
    given: PathBuf,
}

impl Staging {
    /// Writes a file. A symbolic link is followed; a file that exists keeps its permissions and a
    /// new one gets the usual ones. What is no regular file (a device, a named pipe, standard
    /// output) is written to at once.
    ///
    /// # Errors
    /// When `fill` fails or the file cannot be written.
    pub fn write(
        &mut self,
        path: &Path,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), InputError> {
        self.try_write(path, fill).map_err(|e| refused(path, &e))
    }

    fn try_write(
        &mut self,
        path: &Path,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if let Some(mut stream) = stream(path)? {
            let mut out = BufWriter::new(&mut stream);
            fill(&mut out)?;
            return out.flush();
        }
        let target = follow(path)?;
        let mut file = beside(&target)?;
        let mut out = BufWriter::new(file.as_file_mut());
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        self.ready.push(Ready {
            file,
            target,
            given: path.to_owned(),
        });
        Ok(())
    }

    /// Puts all files in their places.
    ///
    /// # Errors
    /// When one cannot take its place.
    pub fn commit(self) -> Result<(), InputError> {
        let folders = self.ready.iter().map(|r| folder_of(&r.target).to_owned());
        let folders: BTreeSet<PathBuf> = folders.collect();
        folders.iter().for_each(|folder| sweep_leftovers(folder));
        for ready in self.ready {
            ready
                .file
                .persist(&ready.target)
                .map_err(|e| refused(&ready.given, &e.error))?;
        }
        Ok(())
    }
}

/// Writes one file whole or not at all, as [`Staging::write`] does.
///
/// # Errors
/// When `fill` fails or the file cannot be written; nothing is left behind then.
pub fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), InputError> {
    let mut staging = Staging::default();
    staging.write(path, fill)?;
    staging.commit()
}

/// Writes one file whole or not at all. What is at its place is replaced, be it a link: nothing
/// elsewhere is written. For files that this program names.
///
/// # Errors
/// As [`write_whole`].
pub fn replace_whole(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), InputError> {
    let write = || -> io::Result<()> {
        let mut file = temporary(folder_of(path), 0o666)?;
        let mut out = BufWriter::new(file.as_file_mut());
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| refused(path, &e))
}

/// What temporary files and folders beside their targets begin with.
const TEMPORARY: &str = ".windtunnel-";
/// Age from which a temporary file is one of a run that was ended, seconds.
const LEFT_OVER: u64 = 24 * 60 * 60;

/// Removes temporary files that runs have left in `folder` when they were ended. Failures are not
/// told: nothing depends on it.
pub fn sweep_leftovers(folder: &Path) {
    let now = std::time::SystemTime::now();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        // Of the entry itself, where it is a link.
        let Ok(found) = entry.metadata() else {
            continue;
        };
        let age = found
            .modified()
            .ok()
            .and_then(|t| now.duration_since(t).ok());
        if age.is_some_and(|age| age.as_secs() >= LEFT_OVER) {
            let _ = match found.is_dir() {
                true => fs::remove_dir_all(entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }
}

/// A temporary file in `folder`, with these permissions less the umask, as every new file.
fn temporary(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    builder.tempfile_in(folder)
}

/// Makes a folder with these files (path below it, text), whole or not at all. A folder that is
/// there must be empty; texts that begin with `#!` can be executed.
///
/// # Errors
/// When something is there, or the folder cannot be written; nothing is left behind then.
pub fn write_folder(
    folder: &Path,
    files: &[(impl AsRef<Path>, impl AsRef<str>)],
) -> Result<(), InputError> {
    let refuse = |why: &str| InputError::in_file(folder.display(), format!("cannot write: {why}"));
    let io = |e: io::Error| refused(folder, &e);
    let there = folder.symlink_metadata().is_ok();
    if there {
        if !folder.is_dir() {
            return Err(refuse("it is there already, and no folder"));
        }
        if fs::read_dir(folder).map_err(io)?.next().is_some() {
            return Err(refuse("the folder is not empty; choose another"));
        }
    }
    let parent = folder_of(folder);
    if !parent.is_dir() {
        return Err(refuse(&format!("there is no folder {}", parent.display())));
    }
    // Made beside its place, so that it can be moved there; taken down again on any error.
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempdir_in(parent)
        .map_err(io)?;
    let made = temporary.path().join("made");
    fs::create_dir(&made).map_err(io)?;
    for (path, text) in files {
        let file = made.join(path);
        fs::create_dir_all(folder_of(&file)).map_err(io)?;
        fs::write(&file, text.as_ref()).map_err(io)?;
        #[cfg(unix)]
        if text.as_ref().starts_with("#!") {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).map_err(io)?;
        }
    }
    if there {
        fs::remove_dir(folder).map_err(io)?;
    }
    fs::rename(&made, folder).map_err(io)
}

/// The file that writing to `path` changes, however it is spelled; for telling whether two paths
/// are the same.
///
/// # Errors
/// When its folder does not exist.
pub fn identity(path: &Path) -> io::Result<PathBuf> {
    let path = follow(path)?;
    let folder = fs::canonicalize(folder_of(&path))?;
    Ok(path
        .file_name()
        .map_or_else(|| folder.clone(), |name| folder.join(name)))
}

/// The folder that holds `path`.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn refused(path: &Path, error: &io::Error) -> InputError {
    InputError::in_file(path.display(), format!("cannot write: {}", plain(error)))
}

/// What is written to without a temporary file: anything but regular files and files that do not
/// exist yet.
fn stream(path: &Path) -> io::Result<Option<Box<dyn Write>>> {
    // By name: opened anew, a redirected standard output would be overwritten from its beginning.
    if ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"]
        .iter()
        .any(|p| path == Path::new(p))
    {
        return Ok(Some(Box::new(io::stdout())));
    }
    if ["/dev/stderr", "/dev/fd/2", "/proc/self/fd/2"]
        .iter()
        .any(|p| path == Path::new(p))
    {
        return Ok(Some(Box::new(io::stderr())));
    }
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => {
            Ok(Some(Box::new(OpenOptions::new().write(true).open(path)?)))
        }
        _ => Ok(None),
    }
}

/// Where a path leads when it is a symbolic link, be there a file or not.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = folder_of(&path).join(next),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// A temporary file beside `target`, with the permissions that the target has or would get.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let existing: Option<File> = match OpenOptions::new().write(true).open(target) {
        Ok(file) => Some(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let file = temporary(folder_of(target), 0o666)?;
    if let Some(existing) = existing {
        file.as_file()
            .set_permissions(existing.metadata()?.permissions())?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_is_made_where_nothing_is() {
        let dir = tempfile::tempdir().unwrap();
        let files = [("a.txt", "a"), ("b/c.sh", "#!/bin/sh\n")];
        let made = dir.path().join("made");
        write_folder(&made, &files).unwrap();
        assert_eq!(names(&made), ["a.txt", "b"]);
        assert_eq!(fs::read_to_string(made.join("b/c.sh")).unwrap(), files[1].1);
        let refused = |folder: &Path| {
            write_folder(folder, &files)
                .unwrap_err()
                .message()
                .to_owned()
        };
        insta::assert_snapshot!(refused(&made), @"cannot write: the folder is not empty; choose another");
        insta::assert_snapshot!(refused(&made.join("a.txt")), @"cannot write: it is there already, and no folder");
        assert!(refused(&made.join("x/y")).contains("there is no folder"));
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        write_folder(&empty, &files).unwrap();
        assert_eq!(names(dir.path()), ["empty", "made"]);
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_spares_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.json");
        let half = |w: &mut dyn Write| {
            w.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        };
        write_whole(&path, half).unwrap_err();
        assert!(names(dir.path()).is_empty());
        write_whole(&path, |w| w.write_all(b"{}")).unwrap();
        let error = write_whole(&path, half).unwrap_err().to_string();
        assert!(
            error.ends_with("out.json: cannot write: disk full"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        let error = write_whole(&dir.path().join("none/x"), |_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no such file or folder"), "{error}");
        let error = write_whole(dir.path(), |_| Ok(())).unwrap_err().to_string();
        assert!(error.ends_with("cannot write: it is a folder"), "{error}");
        let error = write_whole(&path.join("x"), |_| Ok(()))
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("cannot write: part of the path is not a folder"),
            "{error}"
        );
    }

    #[test]
    fn files_that_belong_together_appear_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut staging = Staging::default();
        staging
            .write(&dir.path().join("a"), |w| w.write_all(b"a"))
            .unwrap();
        staging
            .write(&dir.path().join("b"), |_| Err(io::Error::other("no")))
            .unwrap_err();
        drop(staging);
        assert!(names(dir.path()).is_empty());
        let mut staging = Staging::default();
        for name in ["a", "b"] {
            staging
                .write(&dir.path().join(name), |w| w.write_all(b"x"))
                .unwrap();
            assert!(!dir.path().join(name).exists());
        }
        staging.commit().unwrap();
        assert_eq!(names(dir.path()), ["a", "b"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_replaced_where_the_name_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("precious"), "precious").unwrap();
        std::os::unix::fs::symlink("precious", at("cached")).unwrap();
        replace_whole(&at("cached"), |w| w.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(at("precious")).unwrap(), "precious");
        assert_eq!(fs::read_to_string(at("cached")).unwrap(), "new");
        assert!(!fs::symlink_metadata(at("cached")).unwrap().is_symlink());
        assert_eq!(names(dir.path()), ["cached", "precious"]);
    }

    #[test]
    fn what_ended_runs_have_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let put = |name: &str, days: u64| {
            let file = File::create(at(name)).unwrap();
            let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 90_000);
            file.set_modified(then).unwrap();
        };
        put(".windtunnel-old", 1);
        put(".windtunnel-new", 0);
        put("windtunnel-old", 9);
        put(".other", 9);
        write_whole(&at("out"), |w| w.write_all(b"x")).unwrap();
        assert_eq!(
            names(dir.path()),
            [".other", ".windtunnel-new", "out", "windtunnel-old"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_the_usual_ones_or_stay() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let (ours, usual) = (dir.path().join("ours"), dir.path().join("usual"));
        fs::write(&usual, "").unwrap();
        write_whole(&ours, |_| Ok(())).unwrap();
        assert_eq!(mode(&ours), mode(&usual));
        fs::set_permissions(&ours, fs::Permissions::from_mode(0o604)).unwrap();
        write_whole(&ours, |w| w.write_all(b"x")).unwrap();
        assert_eq!(mode(&ours), 0o604);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_stay_links() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("real")).unwrap();
        symlink("real/file", at("link")).unwrap();
        symlink("link", at("link-to-link")).unwrap();
        write_whole(&at("link-to-link"), |w| w.write_all(b"1")).unwrap();
        assert_eq!(fs::read_to_string(at("real/file")).unwrap(), "1");
        write_whole(&at("link"), |w| w.write_all(b"2")).unwrap();
        assert_eq!(fs::read_to_string(at("real/file")).unwrap(), "2");
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(
            identity(&at("link")).unwrap(),
            identity(&at("real/../real/file")).unwrap()
        );
        symlink("loop", at("loop")).unwrap();
        write_whole(&at("loop"), |_| Ok(())).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_pipes_are_written_to_and_stay() {
        use std::os::unix::fs::FileTypeExt;
        write_whole(Path::new("/dev/null"), |w| w.write_all(b"gone")).unwrap();
        assert!(
            fs::metadata("/dev/null")
                .unwrap()
                .file_type()
                .is_char_device()
        );
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        if !made.is_ok_and(|s| s.success()) {
            return; // no such command on this system
        }
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write_whole(&pipe, |w| w.write_all(b"through")).unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }
}
