//! Typed files: what the simulator knows about models, GPUs and workload presets.
//!
//! The figures that come with it are built into the binary ([`Defaults::builtin`],
//! [`builtin::MODEL_CONFIGS`]); files of the same layout, and BLIS's own, can take their place.
//! Reading is strict: an unknown key or a figure that makes no sense is an [`InputError`] with its
//! place.

pub mod blis;
pub mod builtin;
pub mod defaults;
pub mod hardware;
pub mod model;

pub use defaults::{
    AnalyticDefault, Coefficients, Defaults, FittedDefault, FittedRow, LengthPreset, ModelEntry,
    ModelFacts, Preset,
};
pub use hardware::{Hardware, HardwareTable};
pub use model::short_name;
pub use model::{ModelArch, RopeScaling};

use serde::de::DeserializeOwned;
use windtunnel_base::input::{InputError, unknown};

/// Parses JSON strictly; errors carry line and column, an unknown key its nearest valid name.
pub fn parse_json<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, InputError> {
    if text.trim().is_empty() {
        return Err(InputError::in_file(
            name,
            "the file is empty; expected a JSON object",
        ));
    }
    serde_json::from_str(text).map_err(|e| json_error(name, &e))
}

fn json_error(name: &str, error: &serde_json::Error) -> InputError {
    let text = error.to_string();
    // serde_json appends the position to its message; ours stands in front.
    let text = text.split(" at line ").next().unwrap_or(&text);
    let message = if text.starts_with("unknown field") {
        let mut quoted = text.split('`').skip(1).step_by(2);
        let found = quoted.next().unwrap_or_default();
        let valid: Vec<&str> = quoted.filter(|k| !k.starts_with('_')).collect();
        unknown("key", found, &valid)
    } else {
        text.to_owned()
    };
    InputError::at(name, error.line() as u64, error.column() as u64, message)
}
