//! URLs of servers.

/// The URL of a server without what may be left out.
///
/// # Errors
/// When it is none that can be used.
pub fn base_of(url: &str) -> Result<String, String> {
    let wrong = || format!("{url:?}: expected a URL such as http://127.0.0.1:8000");
    let parsed: axum::http::Uri = url.parse().map_err(|_| wrong())?;
    let authority = parsed.authority().ok_or_else(wrong)?;
    if parsed.scheme_str() != Some("http")
        || parsed.query().is_some()
        || authority.as_str().contains('@')
    {
        return Err(wrong());
    }
    let path = parsed.path().trim_end_matches('/');
    let path = path.strip_suffix("/v1").unwrap_or(path);
    Ok(format!("http://{authority}{path}"))
}
