//! Bodies of requests to an OpenAI-compatible server: their prompt, and how long the answer may be.

use serde_json::Value;

/// A prompt as a body has it.
#[derive(Debug, PartialEq)]
pub(super) enum Prompt {
    /// Text; of a chat all messages with their roles.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// The prompt of a body, and how many parts of it are no text.
pub(super) fn prompt(body: &Value) -> Option<(Prompt, u64)> {
    let mut other = 0;
    if let Some(messages) = body.get("messages").or_else(|| body.get("input"))
        && let Some(list) = messages.as_array()
    {
        let mut text = String::new();
        // Chat templates put system messages and tools first.
        if let Some(tools) = body.get("tools").filter(|t| !t.is_null()) {
            text.push_str(&tools.to_string());
        }
        for message in list {
            let role = message.get("role").and_then(Value::as_str).unwrap_or("");
            text.push_str(role);
            text.push('\n');
            content(
                message.get("content").unwrap_or(message),
                &mut text,
                &mut other,
            );
            if let Some(calls) = message.get("tool_calls").filter(|c| !c.is_null()) {
                text.push_str(&calls.to_string());
            }
            text.push('\n');
        }
        return Some((Prompt::Text(text), other));
    }
    let prompt = ["prompt", "input", "text", "text_input", "input_ids"];
    match prompt.iter().find_map(|key| body.get(*key))? {
        Value::String(text) => Some((Prompt::Text(text.clone()), other)),
        Value::Array(list) if list.iter().all(Value::is_u64) => {
            let ids = list.iter().filter_map(Value::as_u64);
            let ids: Result<Vec<u32>, _> = ids.map(u32::try_from).collect();
            ids.ok().map(|ids| (Prompt::Ids(ids), other))
        }
        Value::Array(list) => {
            let mut text = String::new();
            list.iter()
                .for_each(|part| content(part, &mut text, &mut other));
            Some((Prompt::Text(text), other))
        }
        _ => None,
    }
}

/// The text of a message's content: a string, or parts of which some are no text.
fn content(value: &Value, text: &mut String, other: &mut u64) {
    match value {
        Value::String(s) => text.push_str(s),
        Value::Array(parts) => parts.iter().for_each(|part| content(part, text, other)),
        Value::Object(part) => match part.get("text").and_then(Value::as_str) {
            Some(s) => text.push_str(s),
            None => *other += u64::from(part.contains_key("type")),
        },
        _ => {}
    }
}

/// Most tokens of the answer, as the body limits it.
pub(super) fn max_tokens(body: &Value) -> Option<f64> {
    let keys = [
        "max_completion_tokens",
        "max_tokens",
        "max_output_tokens",
        "max_new_tokens",
    ];
    let found = |from: &Value| {
        keys.iter()
            .find_map(|k| from.get(*k).and_then(Value::as_f64))
    };
    found(body).or_else(|| body.get("sampling_params").and_then(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prompts_are_found_wherever_a_body_has_them() {
        let chat = json!({"messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {}}]},
        ], "max_tokens": 5});
        let text = Prompt::Text("system\nBe brief.\nuser\nHi\n".into());
        assert_eq!(prompt(&chat), Some((text, 1)));
        assert_eq!(max_tokens(&chat), Some(5.0));
        let ids = json!({"prompt": [1, 2], "sampling_params": {"max_new_tokens": 7}});
        assert_eq!(prompt(&ids), Some((Prompt::Ids(vec![1, 2]), 0)));
        assert_eq!(max_tokens(&ids), Some(7.0));
        let text = json!({"prompt": "a", "max_tokens": null});
        assert_eq!(prompt(&text), Some((Prompt::Text("a".into()), 0)));
        assert_eq!(max_tokens(&text), None);
        assert_eq!(prompt(&json!({"model": "m"})), None);
    }
}
