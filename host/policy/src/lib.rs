//! Policies: what fills the hooks of the plugin contract.
//!
//! Built-in policies ([`builtin`]), scripts ([`lua`]), compiled plugins ([`native`]) and those of a
//! calling program ([`Custom`]) go through the same traits and see the same views. A
//! [`PolicyLoader`] finds the policy that a text names; a [`PolicySpec`] says which policies a run
//! uses, with values for their parameters; a [`Builder`] makes them.

mod build;
pub mod builtin;
pub mod bundle;
mod choice;
mod custom;
mod external;
mod facts;
mod loader;
pub mod lua;
pub mod native;
pub mod param;
mod picker_config;
mod reference;
pub mod registry;
pub mod shipped;
mod spec;
pub mod tuned;

pub use build::Builder;
pub use choice::Choice;
pub use custom::Custom;
pub use external::{External, PluginPolicy};
pub use facts::Facts;
pub use loader::{ChooseValues, PolicyLoader};
pub use param::{Hook, Param};
pub use reference::Reference;
pub use spec::PolicySpec;
