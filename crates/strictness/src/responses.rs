//! Answers of an upstream (RFC 9112 §6), and what may come out at the client (FR-12).

/// Bytes that an upstream sends back before it closes, and what is right to do with them.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is, in words.
    pub name: &'static str,
    /// The whole answer.
    pub bytes: &'static [u8],
    /// What is right.
    pub expected: Expected,
}

/// What may come out at the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The gateway's own 502: two readers would understand two things.
    BadGateway,
    /// 200 with exactly this body.
    Body(&'static str),
    /// Another status with this body.
    Status(u16, &'static str),
    /// This status and no body.
    Empty(u16),
    /// A head has gone already: the answer is cut, so that nobody takes it for whole.
    Cut,
}

use Expected::{BadGateway, Body, Cut, Empty, Status};

const fn case(name: &'static str, bytes: &'static [u8], expected: Expected) -> Case {
    Case {
        name,
        bytes,
        expected,
    }
}

/// Every case.
#[rustfmt::skip]
pub const CASES: [Case; 45] = [
    case("a good answer", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    case("chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", Body("ok")),
    case("until the end of the connection", b"HTTP/1.1 200 OK\r\n\r\nok", Body("ok")),
    case("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    case("no reason", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    case("103, then a good answer", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    case("100, then a good answer", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    case("trailers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: a\r\n\r\n", Body("ok")),
    case("bytes behind the answer", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Body("ok")),
    case("bytes behind the chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Body("ok")),
    case("CL.TE", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    case("TE.CL", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    case("CL.TE, a space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    case("CL.TE, a tab before the colon", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding\t: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    case("TE.CL, blanks before the colons", b"HTTP/1.1 200 OK\r\nTransfer-Encoding \t : chunked\r\nContent-Length \t : 2\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    case("a name that only begins like one", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding-X: chunked\r\n\r\nok", Body("ok")),
    case("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", BadGateway),
    case("one length twice", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    case("a list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", BadGateway),
    case("a signed length", b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", BadGateway),
    case("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", BadGateway),
    case("a length that is no number", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok", BadGateway),
    case("a huge length", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", BadGateway),
    case("chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    case("an unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\nok", BadGateway),
    case("gzip, chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    case("chunked, identity", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n", BadGateway),
    case("a folded header", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    case("a space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", Body("ok")),
    case("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", Body("ok")),
    case("a status above 599", b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok", Status(999, "ok")),
    case("two fields about the connection", b"HTTP/1.1 200 OK\r\nConnection: close, content-length\r\nKeep-Alive: timeout=9\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    case("NUL in a header", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    case("a bare CR in a header", b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    case("a header without a colon", b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    case("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", BadGateway),
    case("a status of two digits", b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    case("a status below 100", b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    case("HTTP/2 in clear", b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    case("a switch that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nok", BadGateway),
    case("nothing", b"", BadGateway),
    case("half a head", b"HTTP/1.1 200 OK\r\nContent-Le", BadGateway),
    case("half a body", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", Cut),
    case("half the chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Cut),
    case("a broken chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\nno\r\n0\r\n\r\n", Cut),
];

/// What an upstream sends on a connection that it keeps open. The next request on it gets its own answer, whatever that
/// takes; none of these bytes.
#[derive(Debug, Clone, Copy)]
pub struct KeptCase {
    /// What it is, in words.
    pub name: &'static str,
    /// What was asked.
    pub method: &'static str,
    /// Everything that the upstream sends, at once.
    pub bytes: &'static [u8],
    /// What is right for the first request.
    pub expected: Expected,
}

const fn kept(
    name: &'static str,
    method: &'static str,
    bytes: &'static [u8],
    expected: Expected,
) -> KeptCase {
    KeptCase {
        name,
        method,
        bytes,
        expected,
    }
}

/// Every case of a connection that is kept. Bytes that must never come out say `stolen`.
#[rustfmt::skip]
pub const KEPT_CASES: [KeptCase; 34] = [
    kept("a good answer", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    kept("a second answer behind it", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Body("ok")),
    kept("half a second answer behind it", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nstolen", Body("ok")),
    kept("the first letter of a second answer behind it", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokH", Body("ok")),
    kept("an empty line behind it", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n", Body("ok")),
    kept("an interim answer behind it", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 103 Early Hints\r\nLink: </stolen>\r\n\r\n", Body("ok")),
    kept("an unasked switch behind it", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nstolen", Body("ok")),
    kept("a second answer behind an empty one", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Empty(200)),
    kept("a second answer behind the chunks", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Body("ok")),
    kept("a second answer behind the trailers", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Body("ok")),
    kept("HEAD, and no body", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", Empty(200)),
    kept("HEAD, and a body all the same", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Empty(200)),
    kept("HEAD, and a body that is an answer", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Empty(200)),
    kept("HEAD, and chunks", "HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nstolen\r\n0\r\n\r\n", Empty(200)),
    kept("HEAD, and the last chunk alone", "HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Empty(200)),
    kept("204 with a length", "GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n", Empty(204)),
    kept("204 with a body", "GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\nstolen", Empty(204)),
    kept("204 with chunks", "GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nstolen\r\n0\r\n\r\n", Empty(204)),
    kept("204 with an answer as its body", "GET", b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Empty(204)),
    kept("304 with a body", "GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\nstolen", Empty(304)),
    kept("304 with chunks", "GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nstolen\r\n0\r\n\r\n", Empty(304)),
    kept("several 100s", "GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    kept("103 with a length", "GET", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 6\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    kept("103 with a coding", "GET", b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Body("ok")),
    kept("103 with a body", "GET", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 6\r\n\r\nstolenHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", BadGateway),
    kept("100 with an answer as its body", "GET", b"HTTP/1.1 100 Continue\r\nContent-Length: 38\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", Body("ok")),
    kept("an unasked switch", "GET", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", BadGateway),
    kept("an unasked switch behind 100", "GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nstolen", BadGateway),
    kept("only interim answers", "GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n", Empty(504)),
    kept("half the chunks", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Cut),
    kept("half a chunk", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nok", Cut),
    kept("a chunk that is longer than it says", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokstolen\r\n0\r\n\r\n", Cut),
    kept("a chunk that no counter holds", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n", Cut),
    kept("two framings", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", BadGateway),
];
