//! Policies in compiled plugins: a shared library, written in Rust against `windtunnel-plugin-api`
//! or in any language with a C interface.
//!
//! [`Plugin::open`] checks a file before it is loaded, then the version of the contract it was
//! built for, then its layout. A plugin for another major or a newer minor version is refused; one
//! for an older minor version keeps working, because the contract only grows. A library is loaded
//! once and stays loaded: what it made may live as long as the process.
//!
//! Everything unsafe is in `raw`.

mod check;
mod manifest;
mod raw;
mod rust;

pub use manifest::{DeclaredPolicy, Language, Manifest};

use super::param::{Hook, settle};
use raw::Interface;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use windtunnel_base::input::{InputError, unknown};
use windtunnel_plugin_api::abi::SetupView;
use windtunnel_plugin_api::{
    Admission, Batching, Disaggregation, Dispatch, Priority, Router, Scale, Scheduler, Setup,
    Victim,
};

/// A library whose file is one of a plugin, not loaded yet.
struct Checked {
    /// The path that names it.
    path: PathBuf,
    real: PathBuf,
    entry: check::Entry,
    /// Names of the libraries that it needs.
    needs: Vec<String>,
}

impl Checked {
    fn read(path: &Path) -> Result<Self, InputError> {
        let refuse = |message: String| InputError::in_file(path.display(), message);
        let real = std::fs::canonicalize(path).map_err(|e| {
            refuse(format!(
                "cannot read: {}",
                windtunnel_base::input::plain(&e)
            ))
        })?;
        let (entry, needs) = check::file(&real).map_err(refuse)?;
        Ok(Self {
            path: path.to_owned(),
            real,
            entry,
            needs,
        })
    }

    fn load(self, host_version: (u32, u32)) -> Result<Arc<Plugin>, InputError> {
        let refuse = |message: String| InputError::in_file(self.path.display(), message);
        // A panic while it was locked left it as it was.
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = open.get(&self.real) {
            return Ok(Arc::clone(plugin));
        }
        let loaded = raw::load(&self.real, self.entry, host_version);
        let (interface, manifest) = loaded.map_err(refuse)?;
        manifest::check(&manifest).map_err(refuse)?;
        let plugin = Arc::new(Plugin {
            path: self.path.clone(),
            manifest,
            interface,
        });
        open.insert(self.real, Arc::clone(&plugin));
        Ok(plugin)
    }
}

/// A loaded plugin.
pub struct Plugin {
    /// The path by which it was first opened.
    path: PathBuf,
    manifest: Manifest,
    interface: Interface,
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Plugin");
        shown
            .field("path", &self.path)
            .field("manifest", &self.manifest);
        shown.finish_non_exhaustive()
    }
}

/// Plugins by their real path. They are never unloaded, so this only grows.
static OPEN: Mutex<BTreeMap<PathBuf, Arc<Plugin>>> = Mutex::new(BTreeMap::new());

/// Plugins that [`load_all`](Plugin::load_all) has loaded, by the path that names them: they are
/// found without a look at the disk.
static NAMED: Mutex<BTreeMap<PathBuf, Arc<Plugin>>> = Mutex::new(BTreeMap::new());

impl Plugin {
    /// Loads the library at `path`, once per process.
    ///
    /// # Errors
    /// A file that is missing, damaged, not a library of this machine or not a plugin; one built
    /// for another version of the contract; one that declares nonsense.
    pub fn open(path: &Path) -> Result<Arc<Self>, InputError> {
        Self::open_as(path, windtunnel_plugin_api::VERSION)
    }

    /// As [`open`](Self::open), by a host for version `host_version` of the contract. For tests
    /// of what later hosts do with today's plugins.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_as(path: &Path, host_version: (u32, u32)) -> Result<Arc<Self>, InputError> {
        let named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = named.get(path) {
            return Ok(Arc::clone(plugin));
        }
        drop(named);
        Checked::read(path)?.load(host_version)
    }

    /// Loads the libraries at `paths`. Before the first line of their code runs, all that their
    /// loading needs of the system is there, and `before` is called with the number of files: the
    /// one thing that still has to be possible is to open each once.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of `before`.
    pub fn load_all(
        paths: &[PathBuf],
        before: impl FnOnce(usize) -> std::io::Result<()>,
    ) -> Result<(), InputError> {
        let checked: Vec<Checked> = paths
            .iter()
            .map(|p| Checked::read(p))
            .collect::<Result<_, _>>()?;
        for library in checked.iter().flat_map(|c| &c.needs) {
            raw::preload(library);
        }
        // Several paths may lead to one file, which is opened once.
        let files: BTreeSet<&PathBuf> = checked.iter().map(|c| &c.real).collect();
        before(files.len())
            .map_err(|e| InputError::new(format!("the sandbox cannot be entered: {e}")))?;
        for plugin in checked {
            let path = plugin.path.clone();
            let loaded = plugin.load(windtunnel_plugin_api::VERSION)?;
            let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
            named.insert(path, loaded);
        }
        Ok(())
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The policy for `hook` called `name`, or the only one for that hook.
    ///
    /// # Errors
    /// When there is none; when no name is given and there are several.
    pub fn policy(&self, hook: Hook, name: Option<&str>) -> Result<&DeclaredPolicy, InputError> {
        self.find(hook, name).map(|(_, policy)| policy)
    }

    /// As [`policy`](Self::policy), with its position among all.
    fn find(&self, hook: Hook, name: Option<&str>) -> Result<(usize, &DeclaredPolicy), InputError> {
        let refuse = |message: String| Err(InputError::in_file(self.path.display(), message));
        let all = || self.manifest.policies.iter().enumerate();
        let fitting: Vec<(usize, &DeclaredPolicy)> =
            all().filter(|(_, p)| p.hook == hook).collect();
        let names: Vec<&str> = fitting.iter().map(|(_, p)| p.name.as_str()).collect();
        match name {
            _ if fitting.is_empty() => {
                let offers: Vec<String> = all()
                    .map(|(_, p)| format!("{} {}", p.hook, p.name))
                    .collect();
                refuse(format!(
                    "it has no {hook} policy; it offers: {}",
                    offers.join(", ")
                ))
            }
            Some(name) => match fitting.iter().find(|(_, p)| p.name == name) {
                Some(found) => Ok(*found),
                None => refuse(unknown(&format!("{hook} policy"), name, &names)),
            },
            None => match fitting[..] {
                [only] => Ok(only),
                _ => refuse(format!(
                    "it has {} {hook} policies; say which: {}:NAME with one of {}",
                    fitting.len(),
                    self.path.display(),
                    names.join(", ")
                )),
            },
        }
    }

    /// Makes a policy: finds it, settles its parameters, calls its constructor with its position
    /// and its setup.
    fn make<T>(
        &self,
        hook: Hook,
        name: Option<&str>,
        setup: &mut Setup<'_>,
        make: impl FnOnce(&Interface, u32, SetupView<'_>) -> Result<T, String>,
    ) -> Result<T, InputError> {
        let (index, policy) = self.find(hook, name)?;
        let whose = format!("{}: {hook} policy \"{}\"", self.path.display(), policy.name);
        let values: Vec<f64> = settle(&whose, &policy.params, setup.params)?
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        let mut symbol: &mut dyn FnMut(&str) -> u32 = setup.symbol;
        let view = SetupView::new(&values, setup.instances, setup.slots, &mut symbol);
        let index = u32::try_from(index).expect("few policies");
        make(&self.interface, index, view)
            .map_err(|e| InputError::new(format!("{whose} cannot be made: {e}")))
    }

    /// Makes the admission policy called `name`, or the only one. `setup.params` are the values to
    /// set; others get their defaults.
    ///
    /// # Errors
    /// As [`policy`](Self::policy); values for parameters that it does not declare or out of range;
    /// an error of its constructor.
    pub fn admission(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Admission>, InputError> {
        self.make(Hook::Admission, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::admission(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.admission(index, &setup)?),
            })
        })
    }

    /// Makes the router called `name`, or the only one.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn router(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Router>, InputError> {
        self.make(Hook::Routing, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::router(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.router(index, &setup)?),
            })
        })
    }

    /// Makes the priority policy called `name`, or the only one.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn priority(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Priority>, InputError> {
        self.make(Hook::Priority, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::priority(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.priority(index, &setup)?),
            })
        })
    }

    /// Makes the scheduler called `name`, or the only one.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn scheduler(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Scheduler>, InputError> {
        self.make(Hook::Scheduler, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::scheduler(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.scheduler(index, &setup)?),
            })
        })
    }

    /// Makes the preemption policy called `name`, or the only one.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn victim(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Victim>, InputError> {
        self.make(Hook::Preemption, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::victim(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.victim(index, &setup)?),
            })
        })
    }

    /// Makes the disaggregation policy called `name`, or the only one.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn disaggregation(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Disaggregation>, InputError> {
        let hook = Hook::Disaggregation;
        self.make(hook, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::disaggregation(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.disaggregation(index, &setup)?),
            })
        })
    }

    /// Makes the dispatch policy called `name`, or the only one.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn dispatch(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Dispatch>, InputError> {
        self.make(Hook::Dispatch, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::dispatch(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.dispatch(index, &setup)?),
            })
        })
    }

    /// Makes the scaling policy called `name`, or the only one.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn scale(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Scale>, InputError> {
        self.make(Hook::Scale, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::scale(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.scale(index, &setup)?),
            })
        })
    }

    /// Makes the batching strategy called `name`, or the only one.
    ///
    /// # Errors
    /// As [`admission`](Self::admission).
    pub fn batching(
        &self,
        name: Option<&str>,
        setup: &mut Setup<'_>,
    ) -> Result<Box<dyn Batching>, InputError> {
        self.make(Hook::Batching, name, setup, |interface, index, setup| {
            Ok(match interface {
                Interface::Rust(root) => rust::batching(*root, index, setup)?,
                Interface::C(plugin) => Box::new(plugin.batching(index, &setup)?),
            })
        })
    }
}
