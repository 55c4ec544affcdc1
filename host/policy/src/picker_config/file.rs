//! An `EndpointPickerConfig` as it is written.

use serde::Deserialize;
use serde_json::Value;
use serde_yaml::Spanned;
use std::collections::BTreeMap;

/// What tells such a file from a bundle.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Kind {
    pub(super) kind: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    pub(super) api_version: Spanned<String>,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    pub(super) feature_gates: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) plugins: Vec<Plugin>,
    #[serde(default)]
    pub(super) scheduling_profiles: Vec<Profile>,
    #[serde(default)]
    pub(super) saturation_detector: Option<Spanned<BTreeMap<String, Spanned<Value>>>>,
    #[serde(default)]
    pub(super) flow_control: Option<Value>,
    /// How the picker gets its data, which the simulation has.
    #[serde(default)]
    _data_layer: Option<Value>,
    #[serde(default, rename = "data")]
    _data: Option<Value>,
    /// How it reads requests.
    #[serde(default)]
    _parser: Option<Value>,
    #[serde(default)]
    _request_handler: Option<Value>,
    #[serde(default)]
    _metadata: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plugin {
    #[serde(default)]
    pub(super) name: Option<Spanned<String>>,
    #[serde(rename = "type")]
    pub(super) kind: Spanned<String>,
    #[serde(default)]
    pub(super) parameters: Option<BTreeMap<String, Spanned<Value>>>,
}

impl Plugin {
    /// Its name: that of its type unless it has its own.
    pub(super) fn name(&self) -> &str {
        self.name.as_ref().map_or(&self.kind.value, |n| &n.value)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) plugins: Vec<Reference>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Reference {
    pub(super) plugin_ref: Spanned<String>,
    #[serde(default)]
    pub(super) weight: Option<Spanned<f64>>,
}
