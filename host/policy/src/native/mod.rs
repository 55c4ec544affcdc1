//! Policies in compiled plugins: a shared library, written in Rust against `windtunnel-plugin-api`
//! or in anything that speaks C.
//!
//! [`Library::open`] checks a file before it is loaded, then the version of the contract it was
//! built for, then its layout. A plugin for another major or a newer minor version is refused; one
//! for an older minor version keeps working, because the contract only grows. A library is loaded
//! once and stays loaded: what it made may live as long as the process.
//!
//! Everything unsafe is in `raw`.

mod check;
mod raw;
mod rust;

use super::param::{Hook, Param, settle};
use raw::Loaded;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use windtunnel_base::input::{InputError, unknown};
use windtunnel_plugin_api::abi::SetupView;
use windtunnel_plugin_api::{Admission, Priority, Router, Scheduler, Setup, Victim};

/// The language of a plugin's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Through `export_plugin!`.
    Rust,
    /// Through `windtunnel_plugin.h`.
    C,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "Rust",
            Self::C => "C",
        })
    }
}

/// A policy that a library offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The hook it fills.
    pub hook: Hook,
    /// Its name, unique among those of its hook.
    pub name: String,
    /// What it does.
    pub doc: String,
    /// Its parameters.
    pub params: Vec<Param>,
}

/// What a library is.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// Version of the contract it was built for: (major, minor).
    pub api: (u32, u32),
    /// The language of its interface.
    pub kind: Kind,
    /// Its policies, in order of declaration.
    pub policies: Vec<Offer>,
}

/// A loaded plugin.
pub struct Library {
    /// As it was named when it was first opened.
    path: PathBuf,
    info: Info,
    loaded: Loaded,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Library");
        shown.field("path", &self.path).field("info", &self.info);
        shown.finish_non_exhaustive()
    }
}

/// Libraries by their real path. They are never unloaded, so this only grows.
static OPEN: Mutex<BTreeMap<PathBuf, Arc<Library>>> = Mutex::new(BTreeMap::new());

impl Library {
    /// Loads the library at `path`, once per process.
    ///
    /// # Errors
    /// A file that is missing, damaged, not a library of this machine or not a plugin; one built
    /// for another version of the contract; one that declares nonsense.
    pub fn open(path: &Path) -> Result<Arc<Self>, InputError> {
        Self::open_as(path, windtunnel_plugin_api::VERSION)
    }

    /// As [`open`](Self::open), by a host that speaks version `speaks` of the contract. For tests
    /// of what later hosts do with today's plugins.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[doc(hidden)]
    pub fn open_as(path: &Path, speaks: (u32, u32)) -> Result<Arc<Self>, InputError> {
        let refuse = |message: String| InputError::in_file(path.display(), message);
        let real = std::fs::canonicalize(path).map_err(|e| {
            refuse(format!(
                "cannot read: {}",
                windtunnel_base::input::plain(&e)
            ))
        })?;
        // A panic while it was locked left it as it was.
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = open.get(&real) {
            return Ok(Arc::clone(library));
        }
        let found = check::file(&real).map_err(refuse)?;
        let (loaded, info) = raw::load(&real, found, speaks).map_err(refuse)?;
        sound(&info).map_err(refuse)?;
        let library = Arc::new(Self {
            path: path.to_owned(),
            info,
            loaded,
        });
        open.insert(real, Arc::clone(&library));
        Ok(library)
    }

    /// What it is and what it offers.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The policy for `hook` called `name`, or the only one for that hook.
    ///
    /// # Errors
    /// When there is none; when no name is given and there are several.
    pub fn policy(&self, hook: Hook, name: Option<&str>) -> Result<&Offer, InputError> {
        self.find(hook, name).map(|(_, offer)| offer)
    }

    /// As [`policy`](Self::policy), with its position among all.
    fn find(&self, hook: Hook, name: Option<&str>) -> Result<(usize, &Offer), InputError> {
        let refuse = |message: String| Err(InputError::in_file(self.path.display(), message));
        let all = || self.info.policies.iter().enumerate();
        let fitting: Vec<(usize, &Offer)> = all().filter(|(_, p)| p.hook == hook).collect();
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
        make: impl FnOnce(&Loaded, u32, SetupView<'_>) -> Result<T, String>,
    ) -> Result<T, InputError> {
        let (index, offer) = self.find(hook, name)?;
        let whose = format!("{}: {hook} policy \"{}\"", self.path.display(), offer.name);
        let values: Vec<f64> = settle(&whose, &offer.params, setup.params)?
            .into_iter()
            .map(|(_, value)| value)
            .collect();
        let mut symbol: &mut dyn FnMut(&str) -> u32 = setup.symbol;
        let view = SetupView::new(&values, setup.instances, setup.slots, &mut symbol);
        let index = u32::try_from(index).expect("few policies");
        make(&self.loaded, index, view)
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
        self.make(Hook::Admission, name, setup, |loaded, index, setup| {
            Ok(match loaded {
                Loaded::Rust(root) => rust::admission(*root, index, setup)?,
                Loaded::C(plugin) => Box::new(plugin.admission(index, &setup)?),
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
        self.make(Hook::Routing, name, setup, |loaded, index, setup| {
            Ok(match loaded {
                Loaded::Rust(root) => rust::router(*root, index, setup)?,
                Loaded::C(plugin) => Box::new(plugin.router(index, &setup)?),
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
        self.make(Hook::Priority, name, setup, |loaded, index, setup| {
            Ok(match loaded {
                Loaded::Rust(root) => rust::priority(*root, index, setup)?,
                Loaded::C(plugin) => Box::new(plugin.priority(index, &setup)?),
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
        self.make(Hook::Scheduler, name, setup, |loaded, index, setup| {
            Ok(match loaded {
                Loaded::Rust(root) => rust::scheduler(*root, index, setup)?,
                Loaded::C(plugin) => Box::new(plugin.scheduler(index, &setup)?),
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
        self.make(Hook::Preemption, name, setup, |loaded, index, setup| {
            Ok(match loaded {
                Loaded::Rust(root) => rust::victim(*root, index, setup)?,
                Loaded::C(plugin) => Box::new(plugin.victim(index, &setup)?),
            })
        })
    }
}

/// How a plugin for version `plugin` of the contract is loaded by a host that speaks `host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// The same version: layouts must be equal, and are compared.
    Same,
    /// An older one: what was appended since is absent. The layouts of old versions are held by a
    /// test.
    Older,
}

/// # Errors
/// Another major version, or a newer minor one.
fn fit(plugin: (u32, u32), host: (u32, u32)) -> Result<Fit, String> {
    let (built, speaks) = (
        format!("{}.{}", plugin.0, plugin.1),
        format!("{}.{}", host.0, host.1),
    );
    if plugin.0 != host.0 {
        return Err(format!(
            "it was built for plugin-api {built}, this windtunnel speaks {speaks}: rebuild it against {}.x",
            host.0
        ));
    }
    match plugin.1.cmp(&host.1) {
        std::cmp::Ordering::Less => Ok(Fit::Older),
        std::cmp::Ordering::Equal => Ok(Fit::Same),
        std::cmp::Ordering::Greater => Err(format!(
            "it was built for plugin-api {built}, this windtunnel speaks {speaks}: update windtunnel, or rebuild it against {speaks}"
        )),
    }
}

/// Checks what a plugin declares.
fn sound(info: &Info) -> Result<(), String> {
    if info.policies.is_empty() {
        return Err("it offers no policies".into());
    }
    for (i, offer) in info.policies.iter().enumerate() {
        let whose = format!("{} policy \"{}\"", offer.hook, offer.name);
        if offer.name.is_empty() {
            return Err(format!("a {} policy has no name", offer.hook));
        }
        if info.policies[..i]
            .iter()
            .any(|o| (o.hook, &o.name) == (offer.hook, &offer.name))
        {
            return Err(format!("it offers {whose} twice"));
        }
        for (k, param) in offer.params.iter().enumerate() {
            if offer.params[..k].iter().any(|p| p.name == param.name) {
                return Err(format!(
                    "{whose} declares parameter \"{}\" twice",
                    param.name
                ));
            }
            param
                .check(param.default)
                .map_err(|e| format!("{whose}, the default: {e}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_majors_and_newer_minors_are_refused_by_both_versions() {
        assert_eq!(fit((1, 0), (1, 0)), Ok(Fit::Same));
        assert_eq!(fit((1, 0), (1, 3)), Ok(Fit::Older));
        for (plugin, advice) in [
            ((2, 0), "rebuild it against 1.x"),
            ((0, 9), "rebuild it against 1.x"),
            ((1, 1), "update windtunnel, or rebuild it against 1.0"),
        ] {
            let error = fit(plugin, (1, 0)).expect_err("refused");
            let both = format!(
                "built for plugin-api {}.{}, this windtunnel speaks 1.0: {advice}",
                plugin.0, plugin.1
            );
            assert!(error.contains(&both), "{error}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let param = |name: &str, default| Param {
            name: name.into(),
            default,
            least: 0.0,
            most: 1.0,
            whole: false,
            log: false,
            doc: String::new(),
        };
        let offer = |name: &str, params| Offer {
            hook: Hook::Routing,
            name: name.into(),
            doc: String::new(),
            params,
        };
        let error = |policies| {
            let info = Info {
                name: "p".into(),
                version: "1".into(),
                api: (1, 0),
                kind: Kind::Rust,
                policies,
            };
            sound(&info).expect_err("nonsense")
        };
        assert_eq!(error(vec![]), "it offers no policies");
        assert_eq!(
            error(vec![offer("", vec![])]),
            "a routing policy has no name"
        );
        assert_eq!(
            error(vec![offer("a", vec![]), offer("a", vec![])]),
            "it offers routing policy \"a\" twice"
        );
        assert_eq!(
            error(vec![offer("a", vec![param("x", 2.0)])]),
            "routing policy \"a\", the default: parameter \"x\" is 2; expected 0 to 1"
        );
        assert_eq!(
            error(vec![offer("a", vec![param("x", 0.0), param("x", 0.0)])]),
            "routing policy \"a\" declares parameter \"x\" twice"
        );
    }
}
