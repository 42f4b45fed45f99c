//! HTTP messages for lambdas that take them whole: manifest key `http = "message"`.
//!
//! A request becomes an HTTP/1.1 message: its method, path and query behind the lambda's name, its headers, its body. A reply has to
//! be an HTTP/1.1 response. It comes from a tenant and goes to browsers that trust whoever answers at this address, so it is parsed
//! strictly, taken apart and put together anew:
//!
//! - Its length is what arrived. A `Content-Length` that says something else, or any `Transfer-Encoding`, is an error and no response.
//! - What speaks for a connection, or for all that this host serves, is not the lambda's to say, and is left out.
//! - `Content-Security-Policy: sandbox` puts its pages into an origin of their own, though they come from the control plane's address:
//!   their scripts cannot read what that answers. What they could still make a browser send, such as a form, is refused by
//!   `http::connection` where it would change something.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::http::header::{
    self, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    TRANSFER_ENCODING,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response, StatusCode};

use super::content_type;
use crate::control::topology::HttpMode;

/// Most bytes of a request line and headers that reach a lambda, and of a status line and headers that come back.
pub const HEAD_BYTES: usize = 16 << 10;
/// Most headers of a reply.
const HEADERS: usize = 64;
/// Said of every reply: its pages are in an origin of their own.
const SANDBOX: &str = "sandbox allow-scripts allow-forms allow-popups allow-downloads allow-modals";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Headers of one connection; the next has its own.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// Headers of a request that are not for lambdas, or that are said anew.
///
/// Cookies are those of the whole host: other lambdas', or of what else answers at this name on another port.
const NOT_FOR_LAMBDAS: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::COOKIE,
    CONTENT_LENGTH,
    HeaderName::from_static("x-callback-url"),
    HeaderName::from_static("x-call-id"),
    HeaderName::from_static("x-start-time"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-uri"),
];
/// Headers of a response that speak for the whole host, which others share.
const OF_THE_HOST: [HeaderName; 7] = [
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::ALT_SVC,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("nel"),
];

/// Whom a request came from, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody on this machine, over the control socket.
    Local,
    /// Somebody on the network, over TLS.
    Network(IpAddr),
}

/// A request's head is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("request line and headers have {0} bytes: at most {HEAD_BYTES} reach a lambda")]
pub struct HeadTooLong(
    /// How long it is.
    pub usize,
);

/// Why a reply is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The parser's word.
    #[error("{0}")]
    Head(httparse::Error),
    /// It does not begin with a status line.
    #[error("no status line of HTTP/1.1")]
    StatusLine,
    /// No blank line in time.
    #[error("its headers do not end within {HEAD_BYTES} bytes")]
    Endless,
    /// A line feed without its carriage return.
    #[error("a line of its head does not end with CR LF")]
    LineEnd,
    /// No final status.
    #[error("status {0}")]
    Status(u16),
    /// A header that cannot be.
    #[error("a header is malformed")]
    Header,
    /// It would say where it ends in a way of its own.
    #[error("Transfer-Encoding: its length is that of the reply")]
    TransferEncoding,
    /// Its length is another one.
    #[error("Content-Length is not its body's length of {0} bytes")]
    Length(usize),
    /// A body where none can be.
    #[error("status {0} with a body")]
    Body(u16),
}

/// A request as the message that a lambda gets. `stamps` are headers of the platform's own.
///
/// # Errors
/// Its head is too long.
pub fn request(
    head: &Parts,
    peer: Option<Peer>,
    stamps: &[(HeaderName, HeaderValue)],
    body: &[u8],
) -> Result<Bytes, HeadTooLong> {
    let mut message = Vec::with_capacity(1024 + body.len());
    let (_, path) = split(head.uri.path());
    for part in [head.method.as_str(), " ", path] {
        message.extend_from_slice(part.as_bytes());
    }
    if let Some(query) = head.uri.query() {
        message.push(b'?');
        message.extend_from_slice(query.as_bytes());
    }
    message.extend_from_slice(b" HTTP/1.1\r\n");
    let mut line = |name: &str, value: &[u8]| {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            message.extend_from_slice(part);
        }
    };
    let dropped = named_by_connection(&head.headers);
    for (name, value) in &head.headers {
        let is_ours = NOT_FOR_LAMBDAS.contains(name) || *name == FORWARDED_FOR;
        if !is_ours && !HOP_BY_HOP.contains(name) && !dropped.contains(name) {
            line(name.as_str(), value.as_bytes());
        }
    }
    for (name, value) in stamps {
        line(name.as_str(), value.as_bytes());
    }
    if let Some(host) = head.headers.get(HOST) {
        line("x-forwarded-host", host.as_bytes());
    }
    line("x-forwarded-uri", head.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
    let mut senders: Vec<&[u8]> =
        head.headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
    let address;
    if let Some(Peer::Network(ip)) = peer {
        address = ip.to_canonical().to_string();
        // The last one is what this appliance saw; those before it are what others said.
        senders.push(address.as_bytes());
        line("x-forwarded-proto", b"https");
    }
    if !senders.is_empty() {
        line(FORWARDED_FOR.as_str(), &senders.join(&b", "[..]));
    }
    let had_body = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| head.headers.contains_key(name));
    if had_body || !body.is_empty() {
        line("content-length", body.len().to_string().as_bytes());
    }
    message.extend_from_slice(b"\r\n");
    if message.len() > HEAD_BYTES {
        return Err(HeadTooLong(message.len()));
    }
    message.extend_from_slice(body);
    Ok(message.into())
}

/// True if a message asks for a response's head only.
#[must_use]
pub fn is_head(request: &[u8]) -> bool {
    request.starts_with(b"HEAD ")
}

/// A lambda's reply as a response, to a request that asked for its head only or for all.
///
/// # Errors
/// The lambda takes messages, and [`Malformed`] says why its reply is none.
pub fn response(mode: HttpMode, is_head: bool, reply: Bytes) -> Result<Response<Bytes>, Malformed> {
    match mode {
        HttpMode::Body => {
            let content_type = HeaderValue::from_static(content_type(&reply));
            let mut response = Response::new(reply);
            response.headers_mut().insert(CONTENT_TYPE, content_type);
            Ok(response)
        }
        HttpMode::Message => parse(&reply, is_head),
    }
}

fn parse(reply: &Bytes, is_head: bool) -> Result<Response<Bytes>, Malformed> {
    // The parser would skip empty lines before it, and take what is not HTTP/1.
    if !reply.starts_with(b"HTTP/1.") {
        return Err(Malformed::StatusLine);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    let head = &reply[..reply.len().min(HEAD_BYTES)];
    let head_bytes = match parsed.parse(head).map_err(Malformed::Head)? {
        httparse::Status::Complete(bytes) => bytes,
        httparse::Status::Partial => return Err(Malformed::Endless),
    };
    let mut ends = lines(&head[..head_bytes]);
    if !ends.all(|line| line.ends_with(b"\r")) {
        return Err(Malformed::LineEnd);
    }
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).ok().filter(|status| (200..600).contains(&status.as_u16()));
    let status = status.ok_or(Malformed::Status(code))?;
    let mut said = HeaderMap::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed::Header)?;
        let value = HeaderValue::from_bytes(header.value).map_err(|_| Malformed::Header)?;
        said.append(name, value);
    }
    if said.contains_key(TRANSFER_ENCODING) {
        return Err(Malformed::TransferEncoding);
    }
    let body = reply.slice(head_bytes..);
    let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_none && !body.is_empty() {
        return Err(Malformed::Body(code));
    }
    let length = length(&said, body.len())?;
    // Of a head alone, or of what was not modified, it is the length that the rest would have.
    let may_differ = body.is_empty() && (is_head || status == StatusCode::NOT_MODIFIED);
    if length.is_some_and(|length| length != body.len() as u64) && !may_differ {
        return Err(Malformed::Length(body.len()));
    }
    let dropped = named_by_connection(&said);
    for name in HOP_BY_HOP.iter().chain(&OF_THE_HOST).chain(&dropped).chain([&CONTENT_LENGTH]) {
        said.remove(name);
    }
    said.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX));
    if is_head && !has_none {
        let length = length.unwrap_or(body.len() as u64);
        said.insert(CONTENT_LENGTH, length.into());
    }
    let mut response = Response::new(if is_head { Bytes::new() } else { body });
    *response.status_mut() = status;
    *response.headers_mut() = said;
    Ok(response)
}

/// Lines without their line feeds.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

/// What `Content-Length` says; all of them, if there are several.
fn length(headers: &HeaderMap, body_bytes: usize) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let said: u64 = digits.and_then(|text| text.parse().ok()).ok_or(Malformed::Length(body_bytes))?;
        if length.replace(said).is_some_and(|before| before != said) {
            return Err(Malformed::Length(body_bytes));
        }
    }
    Ok(length)
}

/// Headers that `Connection` says are of this connection only.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

/// A path as `/function/NAME` and what is behind it, which is never empty.
fn split(path: &str) -> (&str, &str) {
    match path.match_indices('/').nth(2) {
        Some((at, _)) => path.split_at(at),
        None => (path, "/"),
    }
}

#[cfg(test)]
mod tests;
