//! The models that a server serves.

use super::{Client, refusal};
use hyper::StatusCode;
use serde_json::Value;
use windtunnel_base::input::{InputError, hint};

/// Where a server says it.
const PATH: &str = "/v1/models";

/// A model that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedModel {
    /// Its name.
    pub name: String,
    /// Most tokens of prompt and output, if the server says it.
    pub max_model_len: Option<u64>,
}

/// All of them, in the server's order.
pub struct ServedModels<'a> {
    client: &'a Client,
    /// The models.
    pub list: Vec<ServedModel>,
}

impl Client {
    /// Asks for the models.
    ///
    /// # Errors
    /// When the server does not say what it serves.
    pub async fn models(&self) -> Result<ServedModels<'_>, InputError> {
        let mut models = ServedModels {
            client: self,
            list: Vec::new(),
        };
        let answer = self.get(PATH).await?;
        if answer.status != StatusCode::OK {
            return Err(models.wrong(refusal(answer.status, &answer.text)));
        }
        let value: Option<Value> = serde_json::from_str(&answer.text).ok();
        let listed = value.as_ref().and_then(|v| v.get("data")?.as_array());
        let listed = listed.ok_or_else(|| {
            let what =
                "expected a list of models as OpenAI's API gives it; is this another server?";
            models.wrong(what)
        })?;
        let model = |model: &Value| {
            Some(ServedModel {
                name: model.get("id")?.as_str()?.to_owned(),
                max_model_len: model.get("max_model_len").and_then(Value::as_u64),
            })
        };
        models.list = listed.iter().filter_map(model).collect();
        Ok(models)
    }
}

impl ServedModels<'_> {
    /// What is wrong with what is served.
    pub fn wrong(&self, what: impl AsRef<str>) -> InputError {
        InputError::new(format!("{}{PATH}: {}", self.client.url(), what.as_ref()))
    }

    /// Their names.
    pub fn names(&self) -> Vec<&str> {
        self.list.iter().map(|model| model.name.as_str()).collect()
    }

    /// The model of this name.
    ///
    /// # Errors
    /// When it is not served; the message names the nearest that is.
    pub fn find(&self, asked: &str) -> Result<&ServedModel, InputError> {
        let found = self.list.iter().find(|model| model.name == asked);
        found.ok_or_else(|| {
            let names = self.names();
            let near = hint("; ", asked, names.iter().copied());
            let listed = names[..names.len().min(8)].join(", ");
            self.wrong(format!(
                "there is no model {asked:?}{near}; it serves {listed}"
            ))
        })
    }
}
