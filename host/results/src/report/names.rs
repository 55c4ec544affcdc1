//! What reports call things.

/// `instance_<k>`.
#[must_use]
pub fn instance_name(k: u32) -> String {
    format!("instance_{k}")
}
