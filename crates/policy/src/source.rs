//! What a caller gives to the compiler, and the request headers no client may set.

/// Largest policy file, in bytes.
pub const MAX_FILE_BYTES: usize = 256 * 1024;

/// Largest OpenAPI document, in bytes: it says more than what is enforced, to people.
pub const MAX_API_DOCUMENT_BYTES: usize = 1024 * 1024;

/// Largest bundle: all files together, in bytes.
pub const MAX_BUNDLE_BYTES: usize = 2 * 1024 * 1024;

/// One file of the policy folder, read by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// Path relative to the policy folder, with `/` between parts: `routes/transfers.yaml`. Empty for the folder itself.
    pub name: String,
    /// The whole text of the file; when there is a `refusal`, as much of it as can be shown.
    pub text: String,
    /// Why there is no text to compile. One such file makes the whole bundle wrong.
    pub refusal: Option<Refusal>,
}

/// What is wrong with something in the policy folder before its text is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Its bytes are not UTF-8; with the encoding that it probably has, and the first place that shows it.
    NotUtf8(Encoding, u32, u32),
    /// It is larger than [`SourceFile::most_bytes`].
    TooLarge,
    /// It is neither a policy file nor one of the kinds that are left out.
    WrongName,
    /// It has the name of a policy file and is something else: `a folder`, `a pipe`.
    NotAFile(&'static str),
    /// It cannot be read, for this reason: `permission denied`.
    Unreadable(String),
    /// A folder too far below the policy folder.
    TooDeep,
    /// The policy folder holds more files and folders than this: it is probably the wrong one.
    TooMany(usize),
    /// Its files together are larger than [`MAX_BUNDLE_BYTES`].
    TooManyBytes,
}

/// What the bytes of a file probably are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-16 with the low byte first, as Windows calls "Unicode".
    Utf16LittleEndian,
    /// UTF-16 with the high byte first.
    Utf16BigEndian,
    /// UTF-32 with the low byte first.
    Utf32LittleEndian,
    /// UTF-32 with the high byte first.
    Utf32BigEndian,
    /// One byte for each character, as before Unicode.
    Latin1,
    /// No text at all.
    Binary,
}

impl SourceFile {
    /// A file whose text is known.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
            refusal: None,
        }
    }

    /// Whether a file is an OpenAPI document, by its name.
    #[must_use]
    pub fn is_api_document(name: &str) -> bool {
        name.ends_with(crate::openapi::ENDING)
    }

    /// How large a file of this name may be, in bytes.
    #[must_use]
    pub fn most_bytes(name: &str) -> usize {
        if Self::is_api_document(name) {
            MAX_API_DOCUMENT_BYTES
        } else {
            MAX_FILE_BYTES
        }
    }

    /// A file as it was read. More than [`SourceFile::most_bytes`] need not be read: that much says that it is too large.
    #[must_use]
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        let name = name.into();
        if bytes.len() > Self::most_bytes(&name) {
            return Self::refused(name, Refusal::TooLarge);
        }
        let encoding = utf32(bytes).or_else(|| utf16(bytes));
        match (encoding, std::str::from_utf8(bytes)) {
            (None, Ok(text)) => Self::new(name, text),
            (Some(encoding), _) => Self {
                name,
                text: from_wide(bytes, encoding),
                refusal: Some(Refusal::NotUtf8(encoding, 1, 1)),
            },
            (None, Err(error)) => {
                let (good, bad) = bytes.split_at_checked(error.valid_up_to()).unwrap_or_default();
                let line = good
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count()
                    .saturating_add(1);
                let column = good.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
                let column = String::from_utf8_lossy(column).chars().count().saturating_add(1);
                let place = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                Self {
                    name,
                    text: String::from_utf8_lossy(bytes).into_owned(),
                    refusal: Some(Refusal::NotUtf8(one_byte(bytes, bad), place(line), place(column))),
                }
            }
        }
    }

    /// Something that cannot be read as a policy.
    #[must_use]
    pub fn refused(name: impl Into<String>, refusal: Refusal) -> Self {
        Self {
            name: name.into(),
            text: String::new(),
            refusal: Some(refusal),
        }
    }
}

/// UTF-32 shows as UTF-16 does; its mark begins with that of UTF-16, so it is looked for first.
fn utf32(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0xFF, 0xFE, 0, 0, ..] => Some(Encoding::Utf32LittleEndian),
        [0, 0, 0xFE, 0xFF, ..] => Some(Encoding::Utf32BigEndian),
        [first, 0, 0, 0, ..] if *first > 0 => Some(Encoding::Utf32LittleEndian),
        [0, 0, 0, first, ..] if *first > 0 => Some(Encoding::Utf32BigEndian),
        _ => None,
    }
}

/// UTF-16 shows by its byte order mark, or by the empty half of its first characters: a policy begins with ASCII.
fn utf16(bytes: &[u8]) -> Option<Encoding> {
    match bytes {
        [0xFF, 0xFE, ..] => Some(Encoding::Utf16LittleEndian),
        [0xFE, 0xFF, ..] => Some(Encoding::Utf16BigEndian),
        [first, 0, second, 0, ..] if *first > 0 && *second > 0 => Some(Encoding::Utf16LittleEndian),
        [0, first, 0, second, ..] if *first > 0 && *second > 0 => Some(Encoding::Utf16BigEndian),
        _ => None,
    }
}

/// The text of wide characters, for the piece of it that a finding shows.
fn from_wide(bytes: &[u8], encoding: Encoding) -> String {
    let is_high_first = matches!(encoding, Encoding::Utf16BigEndian | Encoding::Utf32BigEndian);
    if matches!(encoding, Encoding::Utf32LittleEndian | Encoding::Utf32BigEndian) {
        let letter = |unit: &[u8; 4]| {
            let order = if is_high_first {
                u32::from_be_bytes
            } else {
                u32::from_le_bytes
            };
            char::from_u32(order(*unit)).unwrap_or(char::REPLACEMENT_CHARACTER)
        };
        return bytes.as_chunks::<4>().0.iter().map(letter).collect();
    }
    let order = if is_high_first {
        u16::from_be_bytes
    } else {
        u16::from_le_bytes
    };
    let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|unit| order(*unit)).collect();
    String::from_utf16_lossy(&units)
}

/// Text of one byte for each character has no control characters, and none where Latin-1 has none.
fn one_byte(bytes: &[u8], bad: &[u8]) -> Encoding {
    let is_control = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
    let is_letter = bad.first().is_some_and(|byte| *byte >= 0x80);
    if is_letter && !bytes.iter().any(is_control) {
        Encoding::Latin1
    } else {
        Encoding::Binary
    }
}

/// Request headers that the gateway removes before it forwards, in lower case: method, host and path overrides
/// (PA-7), addresses a client claims for itself (AD-1), and identity that only the gateway may state (AD-7), under every name
/// that some server believes. `Proxy` becomes `HTTP_PROXY` of a CGI program; who has sent `Early-Data` (RFC 8470 §5.1) is a
/// proxy in front, and there is none.
pub const INBOUND_HEADERS_REMOVED: [&str; 38] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-envoy-original-path",
    "x-host",
    "x-original-host",
    "proxy",
    "early-data",
    "forwarded",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "fastly-client-ip",
    "x-envoy-external-address",
    "x-original-forwarded-for",
    "x-client-cert",
    "ssl-client-cert",
    "x-ssl-client-cert",
    "x-arr-clientcert",
    "remote-user",
    "x-remote-user",
    "x-auth-subject",
    "x-auth-session",
    "x-auth-tenant",
    "x-auth-scopes",
];
