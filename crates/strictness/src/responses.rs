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
    /// A head has gone already: the answer is cut, so that nobody takes it for whole.
    Cut,
}

use Expected::{BadGateway, Body, Cut};

const fn case(name: &'static str, bytes: &'static [u8], expected: Expected) -> Case {
    Case {
        name,
        bytes,
        expected,
    }
}

/// Every case.
#[rustfmt::skip]
pub const CASES: [Case; 42] = [
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
