//! The key that is shown to a live server.

use windtunnel_base::input::InputError;

/// The environment variable that holds a server's key.
const KEY: &str = "WINDTUNNEL_API_KEY";

/// The key in the environment variable `name`, or in the usual one, where it may be missing.
///
/// # Errors
/// When the variable that was named is missing, or what it holds cannot be a key.
pub fn from_environment(name: Option<&str>) -> Result<Option<String>, InputError> {
    let variable = name.unwrap_or(KEY);
    match std::env::var(variable) {
        Ok(key) if is_key(&key) => Ok(Some(key)),
        Err(std::env::VarError::NotPresent) if name.is_none() => Ok(None),
        Err(std::env::VarError::NotPresent) => Err(InputError::new(format!(
            "--api-key-env: there is no environment variable {variable}"
        ))),
        _ => Err(InputError::new(format!(
            "the environment variable {variable} does not hold a key: expected visible ASCII characters"
        ))),
    }
}

/// Can a header hold it?
pub fn is_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| (33..127).contains(&b))
}
