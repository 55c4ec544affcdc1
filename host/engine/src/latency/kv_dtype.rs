//! The data types of a KV cache.

use windtunnel_base::input::InputError;
use windtunnel_config::ModelArch;

/// What the checkpoint says, else 16 bits.
const AUTO: &str = "auto";

/// Data types of the KV cache by vLLM's names, with the bytes of an element.
pub const KV_CACHE_DTYPES: [(&str, Option<f64>); 7] = [
    (AUTO, None),
    ("bfloat16", Some(2.0)),
    ("float16", Some(2.0)),
    ("fp8", Some(1.0)),
    ("fp8_e4m3", Some(1.0)),
    ("fp8_e5m2", Some(1.0)),
    ("fp8_inc", Some(1.0)),
];

/// Bytes of an element of the KV cache.
///
/// # Errors
/// When the name is none of vLLM's.
pub(super) fn element_bytes(
    name: Option<&str>,
    model: Option<&ModelArch>,
) -> Result<f64, InputError> {
    let name = name.unwrap_or(AUTO);
    match KV_CACHE_DTYPES.iter().find(|(known, _)| *known == name) {
        Some((_, Some(bytes))) => Ok(*bytes),
        Some((_, None)) => Ok(model.map_or(2.0, ModelArch::kv_element_bytes)),
        None => {
            let valid = KV_CACHE_DTYPES.map(|(known, _)| known);
            Err(InputError::unknown(
                "data type of the KV cache",
                name,
                &valid,
            ))
        }
    }
}
