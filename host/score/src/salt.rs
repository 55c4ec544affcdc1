//! Salts from which seeds are drawn, so that nobody who knows a suite knows its traffic.
//!
//! Suites are public, and with a scenario and a seed all requests to come. So the seeds that a
//! suite states for the holdout are only names: what is run is drawn from them and from a salt that
//! no candidate and no report has. A judge keeps a salt in a file; elsewhere each machine has one
//! of its own, so that scores made there compare. Reports have its hash. Searches may draw the
//! seeds of train and val from a salt, too, which is no secret.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, plain, read_text};

/// Least length of a salt, characters: nobody finds it by trying out what gives its hash.
const SHORTEST: usize = 32;
/// Greatest length of a salt, characters.
const LONGEST: usize = 1000;
/// The salt of this machine, in the folder that the program keeps.
const FILE: &str = "holdout-salt";

/// A salt that is kept secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt {
    secret: String,
    hash: String,
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Salt({})", self.hash)
    }
}

impl Salt {
    /// The salt in a text; spaces and line ends around it do not count.
    ///
    /// # Errors
    /// When it is too short to be a secret, or too long.
    pub fn of_text(text: &str) -> Result<Self, InputError> {
        let secret = text.trim();
        if !(SHORTEST..=LONGEST).contains(&secret.chars().count()) {
            return Err(InputError::new(format!(
                "a salt of {} characters; expected {SHORTEST} to {LONGEST} random ones",
                secret.chars().count()
            )));
        }
        let hash = blake3::derive_key("windtunnel 2026 hash of a holdout salt", secret.as_bytes());
        Ok(Self {
            secret: secret.to_owned(),
            hash: blake3::Hash::from_bytes(hash).to_hex()[..32].to_owned(),
        })
    }

    /// The salt in a file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds none.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let text = read_text(path)?;
        Self::of_text(&text).map_err(|e| InputError::in_file(path.display(), e.message()))
    }

    /// The salt of this machine, in `folder`; made of random numbers when it is first asked for.
    /// Only its user may read the file.
    ///
    /// # Errors
    /// When there is no folder, or the file cannot be read or written, or others may read it.
    pub fn of_this_machine(folder: Option<&Path>) -> Result<Self, InputError> {
        let Some(folder) = folder else {
            let message = "the holdout is drawn with a salt, and there is no folder to keep one in; `holdout_salt_file` names a file";
            return Err(InputError::new(message));
        };
        let path = folder.join(FILE);
        let wrong = |e: &io::Error| InputError::in_file(path.display(), plain(e));
        if let Err(e) = std::fs::symlink_metadata(&path) {
            if e.kind() != io::ErrorKind::NotFound {
                return Err(wrong(&e));
            }
            make(folder, &path).map_err(|e| wrong(&e))?;
        }
        let text = read_private(&path).map_err(|e| wrong(&e))?;
        Self::of_text(&text).map_err(|e| InputError::in_file(path.display(), e.message()))
    }

    /// What reports say of it.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// A seed for seed `k` of a scenario.
    pub(crate) fn seed(&self, scenario: &str, first: u64, k: u32) -> u64 {
        drawn(
            "windtunnel 2026 holdout seed",
            &self.secret,
            scenario,
            first,
            k,
        )
    }
}

/// Seed `k` of a scenario for a search that draws its own.
pub(crate) fn searched(salt: &str, scenario: &str, first: u64, k: u32) -> u64 {
    drawn("windtunnel 2026 search seed", salt, scenario, first, k)
}

/// 48 bits, which every number in JSON holds.
fn drawn(what: &str, salt: &str, scenario: &str, first: u64, k: u32) -> u64 {
    let mut hasher = blake3::Hasher::new_derive_key(what);
    for part in [salt.as_bytes(), scenario.as_bytes()] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(&first.to_le_bytes());
    hasher.update(&k.to_le_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes) >> 16
}

/// Writes a new salt, unless another process has been faster.
fn make(folder: &Path, path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let hex = blake3::Hash::from_bytes(random).to_hex();
    // A temporary file is its user's alone.
    let mut file = tempfile::Builder::new()
        .prefix(".holdout-salt-")
        .tempfile_in(folder)?;
    io::Write::write_all(&mut file, format!("{hex}\n").as_bytes())?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e.error),
    }
}

/// Reads a regular file that nobody else may read.
fn read_private(path: &Path) -> io::Result<String> {
    let refused = |why: &str| io::Error::other(why.to_owned());
    let about = std::fs::symlink_metadata(path)?;
    if !about.is_file() {
        return Err(refused("is no regular file; remove it"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if about.permissions().mode() & 0o077 != 0 {
            return Err(refused(
                "others may read this salt: chmod 600, or remove it for a new one",
            ));
        }
    }
    let mut text = String::new();
    let most = 4 * LONGEST as u64;
    std::fs::File::open(path)?
        .take(most)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Where the salt of the holdout comes from.
#[derive(Clone, Debug, Default)]
pub enum SaltSource {
    /// Nobody has said: the holdout is not scored.
    #[default]
    Nowhere,
    /// A file that a judge keeps.
    File(PathBuf),
    /// This machine's, in the folder that the program keeps.
    ThisMachine(Option<PathBuf>),
}

impl SaltSource {
    /// The salt; `expected` is the hash that the suite states.
    ///
    /// # Errors
    /// When there is none, or it is another one.
    pub fn open(&self, expected: Option<&str>) -> Result<Salt, InputError> {
        let salt = match self {
            Self::Nowhere => {
                let message = "the holdout is drawn with a salt, and none is given";
                return Err(InputError::new(message));
            }
            Self::File(path) => Salt::read(path)?,
            Self::ThisMachine(folder) => {
                // A machine's own salt cannot be the judge's.
                if let Some(hash) = expected {
                    return Err(InputError::new(format!(
                        "the holdout of this suite is drawn with the salt of its judge, whose hash is {hash}: `holdout_salt_file` names its file"
                    )));
                }
                Salt::of_this_machine(folder.as_deref())?
            }
        };
        match expected {
            Some(hash) if hash != salt.hash() => Err(InputError::new(format!(
                "the salt has the hash {}; the suite states `holdout_salt_hash: {hash}`",
                salt.hash()
            ))),
            _ => Ok(salt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn seeds_hang_on_everything_and_the_hash_tells_none_of_it() {
        let salt = Salt::of_text(TEXT).unwrap();
        let other = Salt::of_text(&TEXT.replace('0', "1")).unwrap();
        let mut seeds = vec![other.seed("a", 7, 0), searched(TEXT, "a", 7, 0)];
        for (scenario, first, k) in [("a", 7, 0), ("a", 7, 1), ("a", 8, 0), ("b", 7, 0)] {
            assert_eq!(salt.seed(scenario, first, k), salt.seed(scenario, first, k));
            seeds.push(salt.seed(scenario, first, k));
        }
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 6);
        assert!(seeds.iter().all(|seed| *seed < 1 << 48));
        assert_eq!(Salt::of_text(&format!(" {TEXT}\n")).unwrap(), salt);
        assert_ne!(salt.hash(), other.hash());
        let shown = format!("{salt:?}");
        assert!(shown.contains(salt.hash()) && !shown.contains(TEXT));
        assert!(Salt::of_text("secret").is_err());
    }

    #[test]
    fn a_machine_keeps_its_salt_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("new");
        let salt = || Salt::of_this_machine(Some(&place));
        let first = salt().unwrap();
        assert_eq!(salt().unwrap(), first);
        let elsewhere = Salt::of_this_machine(Some(folder.path())).unwrap();
        assert_ne!(elsewhere, first);
        assert!(Salt::of_this_machine(None).is_err());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let file = place.join(FILE);
            let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(), 0o600);
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
            let said = salt().unwrap_err().to_string();
            assert!(said.contains("others may read"), "{said}");
            std::fs::remove_file(&file).unwrap();
            std::os::unix::fs::symlink(folder.path().join(FILE), &file).unwrap();
            let said = salt().unwrap_err().to_string();
            assert!(said.contains("no regular file"), "{said}");
        }
    }

    #[test]
    fn a_suite_that_states_a_hash_takes_that_salt_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("salt");
        std::fs::write(&file, TEXT).unwrap();
        let judge = SaltSource::File(file);
        let machine = SaltSource::ThisMachine(Some(folder.path().to_owned()));
        let hash = judge.open(None).unwrap().hash().to_owned();
        assert!(judge.open(Some(&hash)).is_ok());
        assert!(judge.open(Some("0")).is_err());
        assert!(machine.open(None).is_ok());
        let said = machine.open(Some(&hash)).unwrap_err().to_string();
        assert!(
            said.contains(&hash) && said.contains("`holdout_salt_file`"),
            "{said}"
        );
        assert!(SaltSource::Nowhere.open(None).is_err());
    }
}
