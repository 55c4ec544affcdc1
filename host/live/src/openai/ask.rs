//! What clients ask for: bodies of requests, and what vLLM refuses of them.

use super::errors::ApiError;
use crate::prompts::text::tokens;
use serde::Deserialize;
use serde_json::Value;

/// Output tokens of a completion whose client names no limit, as in the API of OpenAI.
const DEFAULT_COMPLETION: u32 = 16;

/// The fields that matter here. All others are let through and have no effect.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Body {
    /// Model or adapter.
    pub model: Option<String>,
    /// Prompt of a completion.
    pub prompt: Option<Value>,
    /// Messages of a chat.
    pub messages: Option<Vec<Value>>,
    /// Tools that the model may call: they are part of the prompt.
    pub tools: Option<Value>,
    /// Most output tokens.
    pub max_tokens: Option<i64>,
    /// The same by its newer name.
    pub max_completion_tokens: Option<i64>,
    /// Least output tokens.
    pub min_tokens: Option<i64>,
    /// Go on to the limit.
    pub ignore_eos: Option<bool>,
    /// Answer token by token.
    pub stream: Option<bool>,
    /// What a stream says beside.
    pub stream_options: Option<StreamOptions>,
    /// Answers to one prompt.
    pub n: Option<i64>,
    /// Lower is more urgent.
    pub priority: Option<i32>,
    /// Prompts with another one share no cache.
    pub cache_salt: Option<String>,
    /// Name of the request.
    pub request_id: Option<String>,
    /// What is to be embedded.
    pub input: Option<Value>,
    /// Who asks, as the API of OpenAI has it.
    pub user: Option<String>,
}

/// What a stream says beside tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamOptions {
    /// How many tokens there were, at its end.
    pub include_usage: Option<bool>,
    /// The same in every chunk.
    pub continuous_usage_stats: Option<bool>,
}

/// A request that makes sense.
#[derive(Debug)]
pub struct Asked {
    /// Tokens of the prompt.
    pub prompt: Vec<u32>,
    /// Tokens of what the last message says, to be echoed.
    pub said: Vec<u32>,
    /// Most output tokens; `None` = the client names no limit.
    pub max_tokens: Option<u32>,
    /// Most that the model's length leaves.
    pub room: u32,
    /// Least output tokens.
    pub min_tokens: u32,
    /// Does it go on to its limit?
    pub ignore_eos: bool,
}

/// Reads a body.
///
/// # Errors
/// When it is no JSON object of such fields.
pub fn read(bytes: &[u8]) -> Result<Body, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|e| ApiError::bad(format!("the body cannot be read: {e}"), None))
}

impl Body {
    /// Does the client want a stream?
    pub fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// About the tokens of the prompt, whatever it is; none where nothing is understood.
    pub fn prompt_tokens(&self) -> Vec<u32> {
        if self.messages.is_some() {
            return self
                .chat()
                .map_or_else(|_| Vec::new(), |(prompt, _)| prompt);
        }
        let text = match (&self.prompt, &self.input) {
            (None, Some(input)) => Self {
                prompt: Some(input.clone()),
                ..Self::default()
            },
            _ => return self.completion().unwrap_or_default(),
        };
        text.completion().unwrap_or_default()
    }

    /// What is asked for, of a model of so many tokens, 0 = any number.
    ///
    /// # Errors
    /// What vLLM refuses.
    pub fn asked(&self, is_chat: bool, max_model_len: u64) -> Result<Asked, ApiError> {
        let (prompt, said) = match is_chat {
            true => self.chat()?,
            false => {
                let prompt = self.completion()?;
                (prompt.clone(), prompt)
            }
        };
        if prompt.is_empty() {
            return Err(ApiError::bad(
                "The prompt is empty. (parameter=prompt)",
                Some("prompt"),
            ));
        }
        match self.n {
            None | Some(1) => {}
            Some(n) => {
                let message = format!("n is {n}; emulated servers give one answer to a prompt");
                return Err(ApiError::bad(message, Some("n")));
            }
        }
        let longest = match max_model_len {
            0 => i64::from(u32::MAX),
            limit => i64::try_from(limit).unwrap_or(i64::MAX),
        };
        let len = prompt.len() as i64;
        if len >= longest {
            let message = format!(
                "This model's maximum context length is {longest} tokens. However, the prompt has {len} tokens. \
                 Please shorten it. (parameter=input_tokens, value={len})"
            );
            return Err(ApiError::bad(message, Some("input_tokens")));
        }
        let max_tokens = self.max_completion_tokens.or(self.max_tokens);
        if let Some(most) = max_tokens {
            let wrong = |what: String| {
                let message = format!("{what} (parameter=max_tokens, value={most})");
                Err(ApiError::bad(message, Some("max_tokens")))
            };
            if most < 1 {
                return wrong(format!("max_tokens must be at least 1, got {most}."));
            }
            if most > longest {
                return wrong(format!(
                    "max_tokens={most} cannot be greater than max_model_len={longest}. Please request fewer output tokens."
                ));
            }
            if most > longest - len {
                return wrong(format!(
                    "This model's maximum context length is {longest} tokens. However, you requested {most} output \
                     tokens and your prompt has {len} tokens."
                ));
            }
        }
        let room = u32::try_from(longest - len).unwrap_or(u32::MAX);
        let limit = max_tokens.and_then(|most| u32::try_from(most).ok());
        let limit = limit.or((!is_chat).then_some(DEFAULT_COMPLETION.min(room)));
        let least = self.min_tokens.unwrap_or(0);
        if least < 0 || limit.is_some_and(|most| least > most.into()) {
            let message = format!(
                "min_tokens must be 0 or more and at most max_tokens, got {least}. (parameter=min_tokens, value={least})"
            );
            return Err(ApiError::bad(message, Some("min_tokens")));
        }
        Ok(Asked {
            prompt,
            said,
            max_tokens: limit,
            room,
            min_tokens: least as u32,
            ignore_eos: self.ignore_eos.unwrap_or(false),
        })
    }

    /// The prompt of a completion: a text, its tokens, or a list of one of these.
    fn completion(&self) -> Result<Vec<u32>, ApiError> {
        let prompt = match &self.prompt {
            Some(Value::Array(list))
                if matches!(list[..], [Value::String(_) | Value::Array(_)]) =>
            {
                list.first()
            }
            other => other.as_ref(),
        };
        match prompt {
            Some(Value::String(text)) => Ok(tokens(text)),
            Some(Value::Array(list)) => {
                let number = |value: &Value| {
                    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
                    number.ok_or_else(|| {
                        let message = format!(
                            "prompt: expected a text, or the numbers of its tokens, found {value}"
                        );
                        ApiError::bad(message, Some("prompt"))
                    })
                };
                list.iter().map(number).collect()
            }
            _ => Err(ApiError::bad(
                "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)",
                Some("prompt"),
            )),
        }
    }

    /// The prompt of a chat, and what its last message says.
    fn chat(&self) -> Result<(Vec<u32>, Vec<u32>), ApiError> {
        let Some(messages) = self.messages.as_ref().filter(|all| !all.is_empty()) else {
            return Err(ApiError::bad(
                "messages must be a list with something in it",
                Some("messages"),
            ));
        };
        let mut text = String::new();
        if let Some(tools) = self.tools.as_ref().filter(|tools| !tools.is_null()) {
            text.push_str(&format!("tools: {tools}\n"));
        }
        let mut last = String::new();
        for message in messages {
            let Some(role) = message.get("role").and_then(Value::as_str) else {
                let message = format!("messages: expected a role in each, found {message}");
                return Err(ApiError::bad(message, Some("messages")));
            };
            last = said(message);
            text.push_str(&format!("{role}:{last}\n"));
        }
        text.push_str("assistant:");
        Ok((tokens(&text), tokens(&last)))
    }
}

/// What a message says: its text, the texts of its parts, and the calls of tools in it.
fn said(message: &Value) -> String {
    let mut all = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().map(|part| match part.get("text") {
                Some(Value::String(text)) => text.clone(),
                // An image or a sound: what it is known by stands for it.
                _ => part.to_string(),
            });
            texts.collect()
        }
        _ => String::new(),
    };
    for key in ["tool_calls", "tool_call_id"] {
        if let Some(value) = message.get(key).filter(|value| !value.is_null()) {
            all.push_str(&value.to_string());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(body: Value, is_chat: bool) -> Result<Asked, String> {
        let body = read(body.to_string().as_bytes()).map_err(|e| e.body().to_string())?;
        body.asked(is_chat, 100)
            .map_err(|e| e.body()["error"]["message"].to_string())
    }

    #[test]
    fn the_next_turn_of_a_chat_begins_with_the_one_before_and_its_answer() {
        let user = json!({"role": "user", "content": "Hello there"});
        let first = asked(json!({"messages": [user]}), true).unwrap();
        let said = json!({"role": "assistant", "content": " the queue"});
        let next = json!({"role": "user", "content": [{"type": "text", "text": "more"}]});
        let second = asked(json!({"messages": [user, said, next]}), true).unwrap();
        let mut before = first.prompt.clone();
        before.extend(tokens(" the queue"));
        assert_eq!(second.prompt[..before.len()], before);
        assert_eq!(second.said, tokens("more"));
    }

    #[test]
    fn prompts_are_texts_or_tokens() {
        assert_eq!(
            asked(json!({"prompt": [3, 4]}), false).unwrap().prompt,
            [3, 4]
        );
        assert_eq!(
            asked(json!({"prompt": [[3, 4]]}), false).unwrap().prompt,
            [3, 4]
        );
        assert_eq!(
            asked(json!({"prompt": ["a b"]}), false)
                .unwrap()
                .prompt
                .len(),
            2
        );
        assert_eq!(
            asked(json!({"prompt": "a b"}), false).unwrap().max_tokens,
            Some(16)
        );
        for wrong in [
            json!({}),
            json!({"prompt": [1.5]}),
            json!({"prompt": ["a", "b"]}),
        ] {
            assert!(asked(wrong, false).is_err());
        }
    }

    #[test]
    fn what_vllm_refuses_is_refused() {
        for (body, part) in [
            (json!({"prompt": "a", "max_tokens": 0}), "at least 1, got 0"),
            (
                json!({"prompt": "a", "max_tokens": 101}),
                "greater than max_model_len=100",
            ),
            (
                json!({"prompt": "a", "max_tokens": 100}),
                "requested 100 output tokens",
            ),
            (
                json!({"prompt": vec![1; 100], "max_tokens": 1}),
                "the prompt has 100 tokens",
            ),
            (
                json!({"prompt": "a", "max_tokens": 5, "min_tokens": 6}),
                "min_tokens",
            ),
            (json!({"prompt": "a", "n": 2}), "n is 2"),
        ] {
            let error = asked(body, false).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
