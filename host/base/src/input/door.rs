//! How files are opened that people, or files of other people, name: regular files, and nothing
//! that waits, has no end, or does something when it is opened.

use super::error::{InputError, plain, size};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest script that is read, bytes.
pub const LARGEST_SCRIPT: u64 = 256 << 10;
/// Largest bundle, suite or spec that is read, bytes.
pub const LARGEST_SPEC: u64 = 16 << 20;

/// Opens a regular file. A link to one is followed.
///
/// # Errors
/// When it cannot be opened; when it is something else, such as a named pipe or a device.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a device can do something by itself, so it is looked at first.
    refuse_others(&std::fs::metadata(path)?)?;
    opened(path, 0)
}

/// The same; a link is refused. For files that this program itself has written.
///
/// # Errors
/// As [`open_regular`]; when it is a symbolic link.
pub fn open_own(path: &Path) -> io::Result<File> {
    let found = std::fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Err(io::Error::other("it is a symbolic link"));
    }
    refuse_others(&found)?;
    #[cfg(unix)]
    let flags = rustix::fs::OFlags::NOFOLLOW.bits();
    #[cfg(not(unix))]
    let flags = 0;
    opened(path, flags)
}

/// A regular file, or what is open in this process already: standard input and other descriptors
/// that its caller has passed, whatever they are.
pub(super) fn open_given(path: &Path) -> io::Result<File> {
    if is_descriptor(path) {
        return File::open(path);
    }
    open_regular(path)
}

/// Whether the path is the name of a descriptor of this process.
fn is_descriptor(path: &Path) -> bool {
    let folder = path.parent();
    let numbered = ["/dev/fd", "/proc/self/fd", "/proc/thread-self/fd"];
    path == Path::new("/dev/stdin") || numbered.iter().any(|f| folder == Some(Path::new(f)))
}

fn opened(path: &Path, flags: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // What has taken the place of the file in the meantime is not waited for.
        let never_wait = OFlags::NONBLOCK | OFlags::NOCTTY;
        options.custom_flags((flags | never_wait.bits()) as i32);
    }
    #[cfg(not(unix))]
    let _ = flags;
    let file = options.open(path)?;
    refuse_others(&file.metadata()?)?;
    Ok(file)
}

fn refuse_others(found: &Metadata) -> io::Result<()> {
    if found.is_file() {
        return Ok(());
    }
    if found.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let what = other_kind(found);
    Err(io::Error::other(format!(
        "it is {what}; expected a regular file"
    )))
}

#[cfg(unix)]
fn other_kind(found: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = found.file_type();
    match kind {
        k if k.is_fifo() => "a named pipe",
        k if k.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(not(unix))]
fn other_kind(_: &Metadata) -> &'static str {
    "a device"
}

/// The bytes of a regular file.
///
/// # Errors
/// When it cannot be read, is something else, or has more than `most` bytes.
pub fn read_bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(open_regular(path)?, most)
}

/// The bytes of a regular file that this program itself has written; see [`open_own`].
///
/// # Errors
/// As [`read_bytes`]; when it is a symbolic link.
pub fn read_own(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(open_own(path)?, most)
}

fn whole(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let most = size(most);
        return Err(io::Error::other(format!("it is larger than {most}")));
    }
    Ok(bytes)
}

/// Refuses a file that does not lie in `folder` or below, links resolved. For files that are named
/// by a file of somebody else: it names what belongs to it, not what else its reader may read.
///
/// # Errors
/// When it lies elsewhere, or is not there.
pub fn inside(folder: &Path, path: &Path) -> Result<(), InputError> {
    let real = |path: &Path| -> Result<PathBuf, InputError> {
        std::fs::canonicalize(path)
            .map_err(|e| InputError::in_file(path.display(), format!("cannot read: {}", plain(&e))))
    };
    if real(path)?.starts_with(real(folder)?) {
        return Ok(());
    }
    Err(InputError::in_file(
        path.display(),
        format!(
            "cannot read: it lies outside the folder {}, of which the file is that names it",
            folder.display()
        ),
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::input::{read_text, read_text_up_to};
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_but_regular_files_is_opened_and_what_it_is_gets_told() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let told = |path: &Path| read_text(path).unwrap_err().message().to_owned();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        symlink("pipe", at("link")).unwrap();
        for (path, what) in [
            (at("pipe"), "a named pipe"),
            (at("link"), "a named pipe"),
            (at("socket"), "a socket"),
            ("/dev/zero".into(), "a device"),
        ] {
            let expected = format!("cannot read: it is {what}; expected a regular file");
            assert_eq!(told(&path), expected);
            assert!(read_bytes(&path, 9).is_err() && open_own(&path).is_err());
        }
        assert!(told(dir.path()).contains("it is a folder"));
    }

    #[test]
    fn what_is_larger_than_its_kind_may_be_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "12345678").unwrap();
        assert_eq!(read_bytes(&path, 8).unwrap().len(), 8);
        assert_eq!(
            read_bytes(&path, 7).unwrap_err().to_string(),
            "it is larger than 7 bytes"
        );
        assert_eq!(read_text_up_to(&path, 8).unwrap(), "12345678");
        let message = read_text_up_to(&path, 7).unwrap_err();
        assert_eq!(message.message(), "cannot read: it is larger than 7 bytes");
    }

    #[test]
    fn files_named_by_files_lie_in_the_folder_of_these_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("a")).unwrap();
        std::fs::create_dir(at("ab")).unwrap();
        for file in ["outside", "ab/near", "a/in"] {
            std::fs::write(at(file), "x").unwrap();
        }
        symlink("in", at("a/good")).unwrap();
        symlink("../outside", at("a/bad")).unwrap();
        symlink("../ab", at("a/folder")).unwrap();
        let a = at("a");
        for good in ["in", "good", "../a/in"] {
            inside(&a, &a.join(good)).unwrap();
        }
        for bad in [
            "bad",
            "../outside",
            "folder/near",
            "/etc/passwd",
            "../ab/near",
        ] {
            let error = inside(&a, &a.join(bad)).unwrap_err();
            assert!(
                error.message().contains("it lies outside the folder"),
                "{bad}"
            );
        }
        let gone = inside(&a, &a.join("gone")).unwrap_err();
        assert_eq!(gone.message(), "cannot read: no such file or folder");
        assert!(open_own(&a.join("good")).is_err() && open_own(&a.join("in")).is_ok());
        assert!(read_own(&a.join("good"), 9).is_err());
    }
}
