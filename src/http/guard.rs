//! Who may ask: the checks before every route, and the headers on every answer.
//!
//! In this order: a `Host` that cannot be rebound; for anything but GET and HEAD an `Origin` of
//! our own; the token, where one is set. Nothing here changes anything, whatever the method: the
//! check of `Origin` stands for the day that something does.

use std::net::IpAddr;

use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64ct::{Base64, Encoding};
use subtle::ConstantTimeEq;

use super::listener::Scope;
use super::routes::{App, error};
use crate::config::access::{Door, Token};
use crate::socket::Peer;

/// On every answer. Scripts and styles are files of their own, so the policy needs no exception;
/// one request a connection is what `listener` counts on.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONNECTION, "close"),
];

/// What a local probe may ask without the token: they say "ok", or why not.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Refuses, or lets pass; puts [`HEADERS`] on every answer.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let refused = refusal(&request, app.scope, &app.door.borrow());
    let mut response = match refused {
        Some(response) => response,
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn refusal(request: &Request, scope: Scope, door: &Door) -> Option<Response> {
    let headers = request.headers();
    if !host_allowed(headers, scope, door) {
        return Some(error(
            StatusCode::FORBIDDEN,
            "foreign Host; open this page as localhost, by the address in [http] listen, or by a \
             name in its certificate",
        ));
    }
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if !reads && !origin_allowed(headers, scope, door) {
        return Some(error(StatusCode::FORBIDDEN, "foreign Origin"));
    }
    let token = door.token.as_ref()?;
    let local = request.extensions().get::<ConnectInfo<Peer>>().is_some_and(|c| c.0 == Peer::Local);
    let probe = local && PROBES.contains(&request.uri().path());
    if probe || authorized(headers, token) {
        return None;
    }
    let mut response = error(
        StatusCode::UNAUTHORIZED,
        "the token is needed: Authorization: Bearer TOKEN, or the token as password (any user name)",
    );
    // A browser asks for a password, which it keeps until it is closed.
    let challenge = HeaderValue::from_static("Basic realm=\"weir\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    Some(response)
}

/// True for exactly one `Authorization` with the token, as bearer or as password. The time it
/// takes does not tell how much of a guess is right.
fn authorized(headers: &HeaderMap, token: &Token) -> bool {
    let Some(value) = only(headers, header::AUTHORIZATION) else { return false };
    let Some((scheme, rest)) = value.split_once(' ') else { return false };
    let given = if scheme.eq_ignore_ascii_case("bearer") {
        rest.as_bytes().to_vec()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let Ok(decoded) = Base64::decode_vec(rest.trim()) else { return false };
        match decoded.iter().position(|byte| *byte == b':') {
            Some(colon) => decoded[colon + 1..].to_vec(),
            None => return false,
        }
    } else {
        return false;
    };
    given.as_slice().ct_eq(token.reveal().as_bytes()).into()
}

/// The value of a header that must be there exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// True for one `Host` that is `localhost`, a loopback address, the address that weir was told to
/// listen on (any address where that is unspecified), or with TLS a name in its certificate.
/// Rebinding needs a name that another page has too, and none of those is.
fn host_allowed(headers: &HeaderMap, scope: Scope, door: &Door) -> bool {
    only(headers, header::HOST).is_some_and(|host| authority_allowed(host, scope, door))
}

/// True without `Origin` (no browser), or with one of this page.
fn origin_allowed(headers: &HeaderMap, scope: Scope, door: &Door) -> bool {
    if !headers.contains_key(header::ORIGIN) {
        return headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    }
    let scheme = if door.tls.is_some() { "https://" } else { "http://" };
    let ours = only(headers, header::HOST);
    only(headers, header::ORIGIN)
        .and_then(|origin| origin.strip_prefix(scheme))
        .is_some_and(|origin| authority_allowed(origin, scope, door) && Some(origin) == ours)
}

fn authority_allowed(authority: &str, scope: Scope, door: &Door) -> bool {
    let (name, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => match rest.strip_prefix(':') {
            Some(port) => (name, Some(port)),
            None if rest.is_empty() => (name, None),
            None => return false,
        },
        None => match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        },
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    let certified =
        |name: &str| door.tls.as_ref().is_some_and(|server| server.certificate.is_for(name));
    match (name.parse::<IpAddr>(), scope) {
        (Ok(ip), Scope::Ip(listening)) => {
            ip.is_loopback() || ip == listening || listening.is_unspecified()
        }
        (Ok(ip), Scope::Unix) => ip.is_loopback(),
        (Err(_), _) => name.eq_ignore_ascii_case("localhost") || certified(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(host: &str, scope: Scope) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        host_allowed(&headers, scope, &Door::default())
    }

    fn on(address: &str) -> Scope {
        Scope::Ip(address.parse().unwrap())
    }

    #[test]
    fn only_hosts_that_cannot_be_rebound_pass() {
        for host in [
            "localhost",
            "LocalHost:9377",
            "127.0.0.1",
            "127.0.0.1:9377",
            "127.8.8.8:1",
            "[::1]",
            "[::1]:9377",
        ] {
            assert!(allowed(host, on("127.0.0.1")), "{host}");
            assert!(allowed(host, Scope::Unix), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9377",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example#localhost",
            "localhost:9377@evil.example",
            "192.168.1.7",
            "0.0.0.0",
            "[::1]x",
            "[::1",
            "::1",
            "localhost:",
            "localhost:99999",
            "",
        ] {
            assert!(!allowed(host, on("127.0.0.1")), "{host}");
            assert!(!allowed(host, Scope::Unix), "{host}");
        }
        assert!(allowed("192.168.1.7:9377", on("192.168.1.7")));
        assert!(!allowed("192.168.1.8:9377", on("192.168.1.7")));
        assert!(allowed("192.168.1.8:9377", on("0.0.0.0")));
        assert!(!allowed("evil.example", on("0.0.0.0")));
    }

    #[test]
    fn none_or_several_hosts_are_refused() {
        let mut headers = HeaderMap::new();
        let door = Door::default();
        let check = |headers: &HeaderMap| host_allowed(headers, on("127.0.0.1"), &door);
        assert!(!check(&headers));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(check(&headers));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert!(!check(&headers));
    }

    #[test]
    fn only_our_own_origin_may_do_more_than_read() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:9377"));
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_static(value));
            }
            origin_allowed(&headers, on("127.0.0.1"), &Door::default())
        };
        assert!(check(&[]), "no browser");
        assert!(check(&[("origin", "http://localhost:9377")]));
        assert!(check(&[("sec-fetch-site", "same-origin")]));
        for pairs in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "https://localhost:9377")],
            &[("origin", "http://localhost:8080")],
            &[("origin", "http://127.0.0.1:9377")],
            &[("origin", "null")],
            &[("origin", "http://localhost:9377"), ("origin", "http://evil.example")],
            &[("sec-fetch-site", "cross-site")],
        ] {
            assert!(!check(pairs), "{pairs:?}");
        }
    }

    #[test]
    fn only_probes_of_this_machine_pass_without_the_token() {
        let token = Some(Token::new("0123456789abcdef".to_owned()));
        let door = Door { tls: None, token };
        let asked = |path: &str, peer: Peer| {
            let mut request = Request::new(axum::body::Body::empty());
            *request.uri_mut() = path.parse().unwrap();
            request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
            request.extensions_mut().insert(ConnectInfo(peer));
            refusal(&request, on("0.0.0.0"), &door).map(|response| response.status().as_u16())
        };
        assert_eq!(asked("/healthz", Peer::Local), None);
        assert_eq!(asked("/readyz", Peer::Local), None);
        let remote = Peer::Remote("192.0.2.7".parse().unwrap());
        assert_eq!(asked("/healthz", remote), Some(401));
        assert_eq!(asked("/api/status", Peer::Local), Some(401));
        assert_eq!(asked("/healthz/../api/status", Peer::Local), Some(401));
    }

    #[test]
    fn the_token_opens_as_bearer_and_as_password() {
        let token = Token::new("0123456789abcdef".to_owned());
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            authorized(&headers, &token)
        };
        let basic = |text: &str| format!("Basic {}", Base64::encode_string(text.as_bytes()));
        assert!(check(&["Bearer 0123456789abcdef"]));
        assert!(check(&["bearer 0123456789abcdef"]));
        assert!(check(&[&basic("anybody:0123456789abcdef")]));
        assert!(check(&[&basic(":0123456789abcdef")]));
        for wrong in [
            "Bearer 0123456789abcdeX",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer",
            "Bearer ",
            "0123456789abcdef",
            "Digest 0123456789abcdef",
            "Basic !!!",
            &basic("0123456789abcdef"),
            &basic("0123456789abcdef:"),
        ] {
            assert!(!check(&[wrong]), "{wrong}");
        }
        assert!(!check(&[]));
        assert!(!check(&["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"]), "twice");
    }
}
