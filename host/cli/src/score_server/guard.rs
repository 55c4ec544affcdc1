//! Who may ask: looked at before a request is read any further.
//!
//! A page in a browser of this machine can send requests here, too. It can do so under a name of
//! its own that leads to this address (DNS rebinding): the header Host tells. And it can do so from
//! elsewhere (cross-site): the headers Origin and Sec-Fetch-Site tell, and so does a body that a
//! form could send, as forms know no JSON.

use super::api::{HttpError, LONGEST_BODY};
use super::connections::Connection;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use windtunnel_base::input::{InputError, read_text};

/// The environment variable that holds a token, where no file is named.
pub const TOKEN_VARIABLE: &str = "WINDTUNNEL_TOKEN";
/// Shortest token, bytes.
const SHORTEST_TOKEN: usize = 16;

/// What a request must show.
pub struct Guard {
    address: SocketAddr,
    /// Names that were allowed besides, in lower case.
    hosts: Vec<String>,
    /// The hash of the token: hashes are compared in constant time.
    token: Option<blake3::Hash>,
}

/// A name of a machine as it is compared: without the dot that may end it, in lower case.
fn plain_name(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.to_ascii_lowercase()
}

/// The address that a host is, if it is no name: `127.0.0.1`, `[::1]`.
fn ip(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let ip: IpAddr = inner.unwrap_or(host).parse().ok()?;
    Some(ip.to_canonical())
}

/// The names that `--allow-host` gives.
///
/// # Errors
/// One that is no name of a machine.
pub fn host_names(given: &[String]) -> Result<Vec<String>, InputError> {
    let name = |text: &String| {
        let authority = text.parse::<Authority>().ok();
        let whole = authority.filter(|a| a.as_str() == a.host() && !a.host().is_empty());
        let bare = text.parse::<IpAddr>().ok();
        match (whole, bare) {
            (None, None) => Err(InputError::new(format!(
                "--allow-host is {text:?}; expected a name such as scores.example.org, without a port"
            ))),
            _ => Ok(plain_name(text)),
        }
    };
    given.iter().map(name).collect()
}

/// The token in a file, or in the environment variable [`TOKEN_VARIABLE`].
///
/// # Errors
/// When the file cannot be read, or the token is too short or none that a header can hold.
pub fn token(file: Option<&Path>) -> Result<Option<String>, InputError> {
    let (place, text) = match file {
        Some(path) => (path.display().to_string(), read_text(path)?),
        None => match std::env::var_os(TOKEN_VARIABLE) {
            None => return Ok(None),
            Some(text) => (
                TOKEN_VARIABLE.to_owned(),
                text.to_string_lossy().into_owned(),
            ),
        },
    };
    let token = text.trim();
    if token.len() < SHORTEST_TOKEN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        let message = format!(
            "a token has at least {SHORTEST_TOKEN} characters of ASCII and no spaces; found {}",
            token.chars().count()
        );
        return Err(InputError::in_file(place, message));
    }
    Ok(Some(token.to_owned()))
}

fn refused(status: StatusCode, message: impl Into<String>) -> HttpError {
    HttpError::new(status, message)
}

/// The value of a header that may be there once.
fn once(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, HttpError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    let text = first.map(|value| value.to_str().map(str::to_owned));
    match (text, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text)),
        _ => Err(refused(
            StatusCode::BAD_REQUEST,
            format!("the header {name} stands there twice or is no text"),
        )),
    }
}

impl Guard {
    /// A guard of the server at `address`, which goes by `hosts` besides.
    pub fn new(address: SocketAddr, hosts: Vec<String>, token: Option<&str>) -> Self {
        let token = token.map(|token| blake3::hash(token.as_bytes()));
        Self {
            address,
            hosts,
            token,
        }
    }

    /// Must requests show a token?
    pub fn asks_for_token(&self) -> bool {
        self.token.is_some()
    }

    /// Is this a name of the server?
    fn is_here(&self, host: &str) -> bool {
        let name = plain_name(host);
        let named =
            |known: &String| *known == name || ip(known).is_some_and(|k| ip(host) == Some(k));
        if self.hosts.iter().any(named) {
            return true;
        }
        let here = self.address.ip().to_canonical();
        match ip(host) {
            // An address is no name that could lead elsewhere.
            Some(ip) => {
                ip == here || here.is_unspecified() || (ip.is_loopback() && here.is_loopback())
            }
            None => name == "localhost" && (here.is_loopback() || here.is_unspecified()),
        }
    }

    fn check_host(&self, request: &Request) -> Result<Authority, HttpError> {
        let told = once(request.headers(), &header::HOST)?;
        let told: Option<Authority> = told.and_then(|host| host.parse().ok());
        let Some(host) = told else {
            let message = "the header Host names no server";
            return Err(refused(StatusCode::BAD_REQUEST, message));
        };
        // A request to a proxy names the server twice.
        for authority in [Some(&host), request.uri().authority()]
            .into_iter()
            .flatten()
        {
            if authority.as_str().contains('@') || !self.is_here(authority.host()) {
                let message = format!(
                    "this server does not go by the name {:?}; start it with --allow-host if it should",
                    authority.host()
                );
                return Err(refused(StatusCode::FORBIDDEN, message));
            }
        }
        Ok(host)
    }

    fn check_origin(&self, headers: &HeaderMap, host: &Authority) -> Result<(), HttpError> {
        let site = once(headers, &HeaderName::from_static("sec-fetch-site"))?;
        let elsewhere = site.is_some_and(|site| !["same-origin", "none"].contains(&site.as_str()));
        let origin = once(headers, &header::ORIGIN)?;
        let is_own = |origin: &str| {
            let rest = origin.split_once("://");
            let rest = rest.filter(|(scheme, _)| ["http", "https"].contains(scheme));
            let from = rest.and_then(|(_, rest)| rest.parse::<Authority>().ok());
            from.is_some_and(|from| {
                let same = from.as_str().eq_ignore_ascii_case(host.as_str());
                let name = plain_name(from.host());
                let allowed = self.hosts.contains(&name);
                !from.as_str().contains('@') && (same || allowed)
            })
        };
        let own = origin.as_deref().map(is_own);
        if own == Some(false) || (elsewhere && own != Some(true)) {
            let message = "requests from pages of other sites are refused";
            return Err(refused(StatusCode::FORBIDDEN, message));
        }
        Ok(())
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), HttpError> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = once(headers, &header::AUTHORIZATION)?;
        let given = given.as_deref().and_then(|given| given.split_once(' '));
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let same = given.is_some_and(|(_, given)| blake3::hash(given.trim().as_bytes()) == *token);
        if same {
            return Ok(());
        }
        let message = "a token is needed: Authorization: Bearer TOKEN";
        Err(refused(StatusCode::UNAUTHORIZED, message))
    }

    fn check(&self, request: &Request) -> Result<(), HttpError> {
        let host = self.check_host(request)?;
        let headers = request.headers();
        self.check_origin(headers, &host)?;
        self.check_token(headers)?;
        if request.method() != Method::POST {
            return Ok(());
        }
        let kind = once(headers, &header::CONTENT_TYPE)?;
        // Simple clients say nothing. A page in a browser can leave the kind out, too, but not
        // where it comes from.
        let by_page = [&header::ORIGIN, &HeaderName::from_static("sec-fetch-site")];
        if kind.is_none() && !by_page.iter().any(|name| headers.contains_key(*name)) {
            return Ok(());
        }
        let kind = kind.unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        let message = format!("the header Content-Type is {kind:?}; expected application/json");
        Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
    }
}

/// Lets a request through once it is there as a whole, if it may ask at all.
pub async fn let_through(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(error) = guard.check(&request) {
        let mut answer = error.into_response();
        if answer.status() == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            answer
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        return answer;
    }
    let (head, body) = request.into_parts();
    let too_long = || {
        let message = format!("the body is longer than {LONGEST_BODY} bytes");
        refused(StatusCode::PAYLOAD_TOO_LARGE, message).into_response()
    };
    // With a Content-Length the body need not be read.
    let length = head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|n| n.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|n| n > LONGEST_BODY) {
        return too_long();
    }
    let Ok(body) = axum::body::to_bytes(body, LONGEST_BODY).await else {
        return too_long();
    };
    let connection = head.extensions.get::<Arc<Connection>>().cloned();
    let _served = connection.as_ref().map(|connection| connection.serve());
    next.run(Request::from_parts(head, Body::from(body))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(guard: &Guard, method: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri("/score");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        guard
            .check(&request)
            .map_or_else(|e| e.into_response().status().as_u16(), |()| 200)
    }

    fn guard(address: &str, hosts: &[&str]) -> Guard {
        let hosts: Vec<String> = hosts.iter().map(|h| (*h).to_owned()).collect();
        Guard::new(
            address.parse().expect("an address"),
            host_names(&hosts).expect("names"),
            None,
        )
    }

    #[test]
    fn the_server_goes_by_its_address_and_by_names_of_this_machine() {
        let here = guard("127.0.0.1:8080", &["Scores.example.org"]);
        for host in [
            "127.0.0.1:8080",
            "127.0.0.1",
            "localhost:8080",
            "LOCALHOST.",
            "[::1]:9",
            "127.1.2.3",
            "scores.example.org",
            "SCORES.example.org.:443",
        ] {
            assert_eq!(status(&here, "GET", &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "192.0.2.1:8080",
            "evil.localhost",
            "127.0.0.1@evil.example",
            "evil@127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0.0.0.0:8080",
        ] {
            assert_eq!(status(&here, "GET", &[("host", host)]), 403, "{host}");
        }
        for headers in [
            &[][..],
            &[("host", "")],
            &[("host", "a b")],
            &[("host", "localhost"), ("host", "localhost")],
        ] {
            assert_eq!(status(&here, "GET", headers), 400, "{headers:?}");
        }
        let everywhere = guard("0.0.0.0:8080", &[]);
        for (host, expected) in [
            ("192.0.2.1:8080", 200),
            ("localhost", 200),
            ("evil.example", 403),
        ] {
            assert_eq!(
                status(&everywhere, "GET", &[("host", host)]),
                expected,
                "{host}"
            );
        }
        let outside = guard("192.0.2.7:8080", &[]);
        for (host, expected) in [("192.0.2.7", 200), ("localhost", 403), ("127.0.0.1", 403)] {
            assert_eq!(
                status(&outside, "GET", &[("host", host)]),
                expected,
                "{host}"
            );
        }
        for wrong in ["", "a:80", "http://a", "a/b", "a b", "u@a"] {
            assert!(host_names(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_sites_are_refused() {
        let here = guard("127.0.0.1:8080", &["ui.example"]);
        let host = ("host", "localhost:8080");
        for (header, expected) in [
            (("origin", "http://localhost:8080"), 200),
            (("origin", "https://ui.example"), 200),
            (("origin", "http://localhost:3000"), 403),
            (("origin", "http://127.0.0.1:8080"), 403),
            (("origin", "http://evil.example"), 403),
            (("origin", "null"), 403),
            (("origin", ""), 403),
            (("origin", "file://"), 403),
            (("origin", "http://localhost:8080.evil.example"), 403),
            (("sec-fetch-site", "cross-site"), 403),
            (("sec-fetch-site", "same-site"), 403),
            (("sec-fetch-site", "same-origin"), 200),
            (("sec-fetch-site", "none"), 200),
        ] {
            assert_eq!(
                status(&here, "GET", &[host, header]),
                expected,
                "{header:?}"
            );
        }
    }

    #[test]
    fn bodies_are_json_and_tokens_are_asked_for() {
        let mut here = guard("127.0.0.1:8080", &[]);
        let host = ("host", "localhost:8080");
        for (kind, expected) in [
            ("application/json", 200),
            ("Application/JSON; charset=utf-8", 200),
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            ("text/plain; application/json", 415),
            ("", 415),
        ] {
            let headers = [host, ("content-type", kind)];
            assert_eq!(status(&here, "POST", &headers), expected, "{kind}");
        }
        assert_eq!(status(&here, "POST", &[host]), 200, "no page can send this");
        for from in [
            ("origin", "http://localhost:8080"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(status(&here, "POST", &[host, from]), 415, "{from:?}");
        }
        here.token = Some(blake3::hash(b"a-token-of-16-bytes"));
        assert_eq!(status(&here, "GET", &[host]), 401);
        for (given, expected) in [
            ("Bearer a-token-of-16-bytes", 200),
            ("bearer  a-token-of-16-bytes", 200),
            ("Bearer a-token-of-16-byte", 401),
            ("Bearer", 401),
            ("Bearer ", 401),
            ("Basic a-token-of-16-bytes", 401),
            ("a-token-of-16-bytes", 401),
        ] {
            let headers = [host, ("authorization", given)];
            assert_eq!(status(&here, "GET", &headers), expected, "{given}");
        }
    }
}
