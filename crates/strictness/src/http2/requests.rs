//! Requests in HTTP/2: RFC 9113 §8.1 to §8.3, and what must not become a request of HTTP/1 (FR-11).

use super::cases::case;
use super::frame::{code, fields, flag, frame, headers, kind};
use super::{Case, Expected};

/// A request that is good.
pub(super) const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/v1/items/a"),
];

/// Another, whose body is to come.
pub(super) const POST: [(&str, &str); 4] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/v1/items"),
];

const MALFORMED: Expected = Expected::StreamError(&[code::PROTOCOL_ERROR]);
const REFUSED: Expected = Expected::Answered(&[400]);
const OK: Expected = Expected::Answered(&[200]);

/// Behind the good fields of a GET.
#[rustfmt::skip]
const FIELDS: [(&str, &str, (&str, &str)); 21] = [
    ("8.2.1-1", "a name in capitals", ("X-Test", "a")),
    ("8.2.1-2", "a name with a space", ("x test", "a")),
    ("8.2.1-3", "a name with a colon", ("x:test", "a")),
    ("8.2.1-4", "an empty name", ("", "a")),
    ("8.2.1-5", "CR in a value", ("x-test", "a\rb")),
    ("8.2.1-6", "LF in a value", ("x-test", "a\nb")),
    ("8.2.1-7", "CRLF and a field in a value", ("x-test", "a\r\ntransfer-encoding: chunked")),
    ("8.2.1-8", "NUL in a value", ("x-test", "a\0b")),
    ("8.2.1-9", "CRLF in a name", ("x\r\ny", "a")),
    ("8.2.2-1", "Connection", ("connection", "keep-alive")),
    ("8.2.2-2", "Transfer-Encoding", ("transfer-encoding", "chunked")),
    ("8.2.2-3", "Keep-Alive", ("keep-alive", "timeout=5")),
    ("8.2.2-4", "Proxy-Connection", ("proxy-connection", "close")),
    ("8.2.2-5", "Upgrade", ("upgrade", "websocket")),
    ("8.2.2-6", "TE other than trailers", ("te", "trailers, deflate")),
    ("8.3-1", "an unknown pseudo field", (":test", "a")),
    ("8.3-2", "a pseudo field of answers", (":status", "200")),
    ("8.3-3", "a second :method", (":method", "GET")),
    ("8.3-4", "a second :path", (":path", "/v1/items/b")),
    ("8.3-5", "a second :scheme", (":scheme", "https")),
    ("8.3-6", "a second :authority", (":authority", "localhost")),
];

/// Values of `:path` that are no path of HTTP/1.
#[rustfmt::skip]
const PATHS: [(&str, &str, &str); 9] = [
    ("8.3.1-1", "an empty :path", ""),
    ("8.3.1-2", "a :path without a slash", "v1/items/a"),
    ("8.3.1-3", "an absolute :path", "https://localhost/v1/items/a"),
    ("8.3.1-4", "a space in :path", "/v1/items/a HTTP/1.1"),
    ("8.3.1-5", "CRLF in :path", "/v1/items/a HTTP/1.1\r\nx: a\r\n\r\n"),
    ("8.3.1-6", "NUL in :path", "/v1/items/a\0"),
    ("8.3.1-7", "a fragment in :path", "/v1/items/a#b"),
    ("8.3.1-8", "dot segments in :path", "/v1/../v1/items/a"),
    ("8.3.1-9", "a double slash in :path", "//evil.example/v1/items/a"),
];

#[rustfmt::skip]
pub(super) fn cases() -> Vec<Case> {
    let get = |list: &[(&str, &str)]| headers(1, true, list);
    let with = |more: &[(&str, &str)]| get(&[GET.as_slice(), more].concat());
    let instead = |name: &str, value: &str| {
        let list: Vec<_> = GET.map(|(known, old)| (known, if known == name { value } else { old })).into();
        get(&list)
    };
    let without = |name: &str| {
        let list: Vec<_> = GET.into_iter().filter(|(known, _)| *known != name).collect();
        get(&list)
    };
    let mut cases = vec![
        case("8.1-1", "a good request", get(&GET), OK),
        case("8.3-7", "a pseudo field behind another", get(&[("x-test", "a"), GET[0], GET[1], GET[2], GET[3]]), MALFORMED),
        case("8.3.1-10", "no :method", without(":method"), MALFORMED),
        case("8.3.1-11", "no :scheme", without(":scheme"), MALFORMED),
        case("8.3.1-12", "no :path", without(":path"), MALFORMED),
        case("8.3.1-13", "no :authority and no Host", without(":authority"), Expected::StreamError(&[code::PROTOCOL_ERROR])),
        case("8.3.1-14", "Host other than :authority", with(&[("host", "evil.example")]), REFUSED),
        case("8.3.1-15", "two Hosts", with(&[("host", "localhost"), ("host", "localhost")]), REFUSED),
        case("8.3.1-16", "a user in :authority", instead(":authority", "user@localhost"), MALFORMED),
        case("8.3.1-17", "Host that is :authority", with(&[("host", "localhost")]), OK),
        case("8.3.1-18", "a :method that is no token", instead(":method", "GET /evil HTTP/1.1\r\nx:"), MALFORMED),
        case("8.2.2-7", "TE: trailers", with(&[("te", "trailers")]), OK),
        case("8.2.3-1", "cookies in two fields", with(&[("cookie", "a=b"), ("cookie", "c=d")]), OK),
        case("8.2-1", "a name with an underscore", with(&[("x_test", "a")]), Expected::Answered(&[200, 400])),
        case("8.5-1", "CONNECT", get(&[(":method", "CONNECT"), (":authority", "localhost:443")]), MALFORMED),
        case("8.5-2", "CONNECT for a WebSocket that nobody offered", get(&[(":method", "CONNECT"), (":protocol", "websocket"), GET[1], GET[2], GET[3]]), MALFORMED),
    ];
    cases.extend(FIELDS.map(|(section, name, field)| case(section, name, with(&[field]), MALFORMED)));
    cases.extend(PATHS.map(|(section, name, path)| case(section, name, instead(":path", path), MALFORMED)));
    cases.extend(bodies());
    cases
}

#[rustfmt::skip]
fn bodies() -> Vec<Case> {
    let post = |more: &[(&str, &str)], ends: bool| headers(1, ends, &[POST.as_slice(), more].concat());
    let data = |flags: u8, text: &str| frame(kind::DATA, flags, 1, text.as_bytes());
    let end = flag::END_STREAM;
    let length = |value: &'static str| [("content-length", value)];
    let trailers = |list: &[(&str, &str)], flags: u8| frame(kind::HEADERS, flags, 1, &fields(list));
    let get_body = [headers(1, false, &GET), data(end, "abc")].concat();
    vec![
        case("8.1-2", "a body", [post(&[], false), data(end, "abc")].concat(), OK),
        case("8.1-3", "trailers without END_STREAM", [post(&[], false), data(0, "abc"), trailers(&[("x-test", "a")], flag::END_HEADERS)].concat(), MALFORMED),
        case("8.1-4", "a pseudo field in trailers", [post(&[], false), data(0, "abc"), trailers(&[(":method", "GET")], 5)].concat(), MALFORMED),
        case("8.1-5", "trailers", [post(&[], false), data(0, "abc"), trailers(&[("x-test", "a")], 5)].concat(), OK),
        case("8.1.1-1", "more DATA than its length", [post(&length("1"), false), data(end, "abc")].concat(), MALFORMED),
        case("8.1.1-2", "less DATA than its length", [post(&length("9"), false), data(end, "abc")].concat(), MALFORMED),
        case("8.1.1-3", "more DATA than its length, in two frames", [post(&length("3"), false), data(0, "abc"), data(end, "d")].concat(), MALFORMED),
        case("8.1.1-4", "a length and no DATA", post(&length("3"), true), MALFORMED),
        case("8.1.1-5", "two lengths", [post(&[("content-length", "3"), ("content-length", "4")], false), data(end, "abc")].concat(), MALFORMED),
        case("8.1.1-6", "one length twice", [post(&[("content-length", "3"), ("content-length", "3")], false), data(end, "abc")].concat(), Expected::Answered(&[400])),
        case("8.1.1-7", "a signed length", [post(&length("+3"), false), data(end, "abc")].concat(), MALFORMED),
        case("8.1.1-8", "a list of lengths", [post(&length("3, 3"), false), data(end, "abc")].concat(), MALFORMED),
        case("8.1.1-9", "GET with DATA (FR-7)", get_body, Expected::Answered(&[200, 400])),
        case("8.1.1-10", "HEAD with a length (FR-7)", headers(1, true, &[(":method", "HEAD"), GET[1], GET[2], GET[3], ("content-length", "3")]), MALFORMED),
    ]
}
