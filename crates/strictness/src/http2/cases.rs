//! The connection and its frames: RFC 9113 §3.4, §4, §5.1, §5.3 and §6.

use super::frame::{PREFACE, code, field, fields, flag, frame, headers, kind, setting};
use super::requests::{GET, POST};
use super::{Case, Expected};

use Expected::{Answered, ConnectionError, StreamError, Tolerated};

const PROTOCOL: Expected = ConnectionError(&[code::PROTOCOL_ERROR]);
const SIZE: Expected = ConnectionError(&[code::FRAME_SIZE_ERROR]);
const COMPRESSION: Expected = ConnectionError(&[code::COMPRESSION_ERROR, code::PROTOCOL_ERROR]);
const CLOSED: Expected = ConnectionError(&[code::STREAM_CLOSED, code::PROTOCOL_ERROR]);
const OK: Expected = Answered(&[200]);

pub(super) const fn case(
    section: &'static str,
    name: &'static str,
    bytes: Vec<u8>,
    expected: Expected,
) -> Case {
    Case {
        section,
        name,
        bytes,
        is_bare: false,
        expected,
    }
}

fn bare(section: &'static str, name: &'static str, bytes: &[u8], expected: Expected) -> Case {
    Case {
        is_bare: true,
        ..case(section, name, bytes.to_vec(), expected)
    }
}

/// Preface, frame format, field compression, states of streams.
#[rustfmt::skip]
pub(super) fn connection() -> Vec<Case> {
    let settings = frame(kind::SETTINGS, 0, 0, &[]);
    let get = headers(1, true, &GET);
    let open = headers(1, false, &POST);
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    vec![
        bare("3.4-1", "no preface", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", PROTOCOL),
        bare("3.4-2", "a broken preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", PROTOCOL),
        bare("3.4-3", "a frame before the settings", &[PREFACE, &ping].concat(), PROTOCOL),
        bare("3.4-4", "a request before the settings", &[PREFACE, &get, &settings].concat(), PROTOCOL),
        case("4.1-1", "a frame of an unknown type", frame(0x16, 0, 0, &[0; 8]), Tolerated),
        case("4.1-2", "flags without a meaning", frame(kind::PING, 0x16, 0, &[0; 8]), Tolerated),
        case("4.1-3", "a reserved bit", frame(kind::PING, 0, 0x8000_0000, &[0; 8]), Tolerated),
        case("4.2-1", "DATA of 16,384 bytes", [headers(1, false, &[POST.as_slice(), &[("content-length", "16384")]].concat()), frame(kind::DATA, flag::END_STREAM, 1, &[b'a'; 16_384])].concat(), Answered(&[200, 413])),
        case("4.2-2", "DATA above the largest frame", [open.clone(), frame(kind::DATA, flag::END_STREAM, 1, &[b'a'; 16_385])].concat(), StreamError(&[code::FRAME_SIZE_ERROR])),
        case("4.2-3", "HEADERS above the largest frame", headers(1, true, &[GET.as_slice(), &[("x", &"a".repeat(16_385))]].concat()), SIZE),
        case("4.3-1", "an index that nobody defined", frame(kind::HEADERS, 5, 1, &[0xff, 0x7f]), COMPRESSION),
        case("4.3-2", "PRIORITY between HEADERS and CONTINUATION", [frame(kind::HEADERS, flag::END_STREAM, 1, &fields(&GET)), frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 255]), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[])].concat(), PROTOCOL),
        case("4.3-3", "HEADERS of another stream in between", [frame(kind::HEADERS, flag::END_STREAM, 1, &fields(&GET)), headers(3, true, &GET)].concat(), PROTOCOL),
        case("4.3-4", "a string that ends early", frame(kind::HEADERS, 5, 1, &[0, 5, b'a']), COMPRESSION),
        case("4.3-5", "a table above the agreed size", frame(kind::HEADERS, 5, 1, &[&[0x3f, 0xe2, 0xff, 0x03][..], &fields(&GET)].concat()), COMPRESSION),
        case("4.3-6", "Huffman code with wrong padding", frame(kind::HEADERS, 5, 1, &[&fields(&GET)[..], &[0, 1, b'x', 0x81, 0x00]].concat()), ConnectionError(&[code::COMPRESSION_ERROR, code::PROTOCOL_ERROR])),
        case("5.1-1", "DATA on an idle stream", frame(kind::DATA, flag::END_STREAM, 1, b"a"), PROTOCOL),
        case("5.1-2", "RST_STREAM on an idle stream", frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]), PROTOCOL),
        case("5.1-3", "WINDOW_UPDATE on an idle stream", frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100]), PROTOCOL),
        case("5.1-4", "CONTINUATION on an idle stream", frame(kind::CONTINUATION, flag::END_HEADERS, 1, &fields(&GET)), PROTOCOL),
        case("5.1-5", "DATA behind END_STREAM", [get.clone(), frame(kind::DATA, flag::END_STREAM, 1, b"a")].concat(), StreamError(&[code::STREAM_CLOSED])),
        case("5.1-6", "HEADERS behind END_STREAM", [get.clone(), headers(1, true, &GET)].concat(), StreamError(&[code::STREAM_CLOSED, code::PROTOCOL_ERROR])),
        case("5.1-7", "CONTINUATION behind END_STREAM", [get.clone(), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &fields(&GET))].concat(), CLOSED),
        case("5.1-8", "DATA behind RST_STREAM", [open.clone(), frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]), frame(kind::DATA, flag::END_STREAM, 1, b"a")].concat(), Tolerated),
        case("5.1.1-1", "a stream with an even number", headers(2, true, &GET), PROTOCOL),
        case("5.1.1-2", "a number below an earlier one", [headers(5, true, &GET), headers(3, true, &GET)].concat(), CLOSED),
        case("5.1.1-3", "a stream with the number zero", headers(0, true, &GET), PROTOCOL),
        case("5.3-1", "PRIORITY on an idle stream", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 255]), Tolerated),
        case("5.3-2", "PRIORITY on itself", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 255]), Tolerated),
        case("5.5-1", "an unknown frame in a field list", [frame(kind::HEADERS, flag::END_STREAM, 1, &fields(&GET)), frame(0x16, 0, 1, &[0; 8]), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[])].concat(), PROTOCOL),
    ]
}

/// Types of frames, one after the other.
#[rustfmt::skip]
pub(super) fn frames() -> Vec<Case> {
    let get = headers(1, true, &GET);
    let open = headers(1, false, &POST);
    let padded = |padding: u8, rest: &[u8]| [&[padding][..], rest].concat();
    let mut cases = vec![
        case("6.1-1", "DATA on stream 0", frame(kind::DATA, flag::END_STREAM, 0, b"a"), PROTOCOL),
        case("6.1-2", "DATA with more padding than payload", [open.clone(), frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &padded(9, b"abc"))].concat(), PROTOCOL),
        case("6.1-3", "DATA with padding", [open.clone(), frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &padded(2, b"abc\0\0"))].concat(), OK),
        case("6.2-1", "HEADERS without END_HEADERS, then another request", [frame(kind::HEADERS, flag::END_STREAM, 1, &fields(&GET)), frame(kind::DATA, 0, 1, b"a")].concat(), PROTOCOL),
        case("6.2-2", "HEADERS with more padding than payload", frame(kind::HEADERS, 13, 1, &padded(200, &field("a", "b"))), PROTOCOL),
        case("6.2-3", "HEADERS with padding", frame(kind::HEADERS, 13, 1, &[&padded(2, &fields(&GET))[..], &[0, 0]].concat()), OK),
        case("6.2-4", "HEADERS with a priority", frame(kind::HEADERS, 5 | flag::PRIORITY, 1, &[&[0, 0, 0, 0, 255][..], &fields(&GET)].concat()), OK),
        case("6.3-1", "PRIORITY on stream 0", frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 1, 255]), PROTOCOL),
        case("6.3-2", "PRIORITY of four bytes", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1]), StreamError(&[code::FRAME_SIZE_ERROR])),
        case("6.4-1", "RST_STREAM on stream 0", frame(kind::RST_STREAM, 0, 0, &[0, 0, 0, 8]), PROTOCOL),
        case("6.4-2", "RST_STREAM of three bytes", [open.clone(), frame(kind::RST_STREAM, 0, 1, &[0, 0, 8])].concat(), SIZE),
        case("6.5-1", "SETTINGS with ACK and a payload", frame(kind::SETTINGS, flag::ACK, 0, &setting(1, 0)), SIZE),
        case("6.5-2", "SETTINGS on a stream", frame(kind::SETTINGS, 0, 1, &setting(3, 100)), PROTOCOL),
        case("6.5-3", "SETTINGS of five bytes", frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0]), SIZE),
        case("6.5.2-1", "ENABLE_PUSH of 2", frame(kind::SETTINGS, 0, 0, &setting(2, 2)), PROTOCOL),
        case("6.5.2-2", "INITIAL_WINDOW_SIZE above 2^31-1", frame(kind::SETTINGS, 0, 0, &setting(4, 0x8000_0000)), ConnectionError(&[code::FLOW_CONTROL_ERROR])),
        case("6.5.2-3", "MAX_FRAME_SIZE below 16,384", frame(kind::SETTINGS, 0, 0, &setting(5, 16_383)), PROTOCOL),
        case("6.5.2-4", "MAX_FRAME_SIZE above 2^24-1", frame(kind::SETTINGS, 0, 0, &setting(5, 0x0100_0000)), PROTOCOL),
        case("6.5.2-5", "an unknown setting", frame(kind::SETTINGS, 0, 0, &setting(0xff, 1)), Tolerated),
        case("6.5.3-1", "a setting that comes twice", frame(kind::SETTINGS, 0, 0, &[setting(4, 100), setting(4, 1)].concat()), Tolerated),
        case("6.6-1", "PUSH_PROMISE of a client", [get.clone(), frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[&[0, 0, 0, 2][..], &fields(&GET)].concat())].concat(), PROTOCOL),
        case("6.7-1", "PING", frame(kind::PING, 0, 0, &[1; 8]), Tolerated),
        case("6.7-2", "PING with ACK", frame(kind::PING, flag::ACK, 0, &[1; 8]), Tolerated),
        case("6.7-3", "PING on a stream", frame(kind::PING, 0, 1, &[1; 8]), PROTOCOL),
        case("6.7-4", "PING of six bytes", frame(kind::PING, 0, 0, &[1; 6]), SIZE),
        case("6.8-1", "GOAWAY on a stream", frame(kind::GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        case("6.9-1", "a window of zero more", frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), PROTOCOL),
        case("6.9-2", "a window of zero more for a stream", [open.clone(), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(), StreamError(&[code::PROTOCOL_ERROR])),
        case("6.9-3", "WINDOW_UPDATE of three bytes", frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1]), SIZE),
        case("6.9.1-1", "a window above 2^31-1", frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), ConnectionError(&[code::FLOW_CONTROL_ERROR])),
        case("6.9.1-2", "a window of a stream above 2^31-1", [open.clone(), frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])].concat(), StreamError(&[code::FLOW_CONTROL_ERROR])),
        case("6.9.2-1", "a window that settings make negative", [frame(kind::SETTINGS, 0, 0, &setting(4, 0)), get.clone()].concat(), OK),
        case("6.10-1", "CONTINUATION on stream 0", [frame(kind::HEADERS, flag::END_STREAM, 1, &fields(&GET)), frame(kind::CONTINUATION, flag::END_HEADERS, 0, &[])].concat(), PROTOCOL),
        case("6.10-2", "CONTINUATION behind END_HEADERS", [open, frame(kind::CONTINUATION, flag::END_HEADERS, 1, &field("a", "b"))].concat(), PROTOCOL),
        case("6.10-3", "CONTINUATION of another stream", [frame(kind::HEADERS, flag::END_STREAM, 1, &fields(&GET)), frame(kind::CONTINUATION, flag::END_HEADERS, 3, &[])].concat(), PROTOCOL),
        case("6.10-4", "CONTINUATION behind DATA", [get, frame(kind::DATA, 0, 1, b"a"), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[])].concat(), CLOSED),
    ];
    let list = fields(&GET);
    let (first, second) = list.split_at(list.len() / 2);
    let parts = [frame(kind::HEADERS, flag::END_STREAM, 1, first), frame(kind::CONTINUATION, 0, 1, second), frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[])];
    cases.push(case("6.10-5", "a field list in three frames", parts.concat(), OK));
    cases
}
