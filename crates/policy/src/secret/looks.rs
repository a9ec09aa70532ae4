//! How secrets look: by the words around them, and by themselves.

/// Parts of a name that says that its value is a secret.
const SAYS_SECRET: [&str; 16] = [
    "secret",
    "password",
    "passwort",
    "kennwort",
    "connection_string",
    "passwd",
    "passphrase",
    "pwd",
    "private",
    "credential",
    "token",
    "apikey",
    "api_key",
    "access_key",
    "signing_key",
    "encryption_key",
];
/// The same, where they are a whole word: within others they are ordinary.
const SAYS_SECRET_ALONE: [&str; 7] = ["bearer", "dsn", "pass", "pin", "psk", "pw", "salt"];
/// Private members of a JWK (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 9] = ["k", "d", "p", "q", "dp", "dq", "qi", "oth", "kty"];
/// Keys of the language that sound like secrets, and hold words.
const OURS: [&str; 5] = ["key", "keys", "token", "tokens", "credentials"];
/// How well-known issuers begin their tokens.
const BEGINNINGS: [&str; 12] = [
    "eyJ",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "sk_live_",
    "sk_test_",
    "xox",
    "AKIA",
    "ASIA",
    "AIza",
];
const SHORTEST_TOKEN: usize = 16;

/// Whether the name of a key says that its value is a secret.
pub(crate) fn says_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    let is_ours = OURS.contains(&name.as_str());
    let is_secret = SAYS_SECRET.iter().any(|word| name.contains(word));
    let is_word = name.split('_').any(|word| SAYS_SECRET_ALONE.contains(&word));
    !is_ours && (is_secret || is_word || name.ends_with("_key") || PRIVATE_MEMBERS.contains(&name.as_str()))
}

/// The same, and the language's own keys, of which only some values are.
pub(super) fn says_secret_or_more(name: &str) -> bool {
    says_secret(name) || OURS.contains(&name)
}

/// Whether a value cannot be the secret that its key speaks of.
pub(crate) fn is_plain(name: &str, value: &str) -> bool {
    let is_network = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b".:/, ".contains(&byte));
    let is_switch = matches!(value, "true" | "false" | "yes" | "no" | "on" | "off");
    let is_word = |letter: char| letter.is_ascii_alphabetic() || "_-./: ,[]\"'{}".contains(letter);
    let is_ours = !says_secret(name)
        && (value.starts_with("file:")
            || value.starts_with("body.")
            || value
                .split(',')
                .all(|item| without_length(item).chars().all(is_word)));
    is_switch
        || (is_network && value.contains(['.', ':', '/']))
        || is_ours
        || is_span(value)
        || is_path(value)
        || is_public_url(value)
}

/// `address/48` without its length.
fn without_length(item: &str) -> &str {
    let digits =
        |end: &str| !end.is_empty() && end.len() <= 3 && end.bytes().all(|byte| byte.is_ascii_digit());
    item.trim_end_matches(']')
        .rsplit_once('/')
        .filter(|(_, end)| digits(end))
        .map_or(item, |(word, _)| word)
}

/// `15min`, `100/min`, `64KiB`, `3600`.
fn is_span(value: &str) -> bool {
    const UNITS: [&str; 10] = ["", "ms", "s", "min", "h", "d", "B", "KiB", "MiB", "m"];
    let unit = value.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '/');
    value.len() <= 12 && value.starts_with(|first: char| first.is_ascii_digit()) && UNITS.contains(&unit)
}

/// `/etc/portico/gateway.key`: where something is, not what it is.
fn is_path(value: &str) -> bool {
    let is_of_path = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/._-".contains(&byte);
    value.starts_with('/') && value.bytes().all(is_of_path) && value.split('/').all(|part| !is_token(part))
}

/// An address without user, query and fragment, no part of which is a token by itself.
fn is_public_url(value: &str) -> bool {
    let rest = value
        .strip_prefix("https://")
        .or_else(|| value.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.contains(['@', '?', '#']) && rest.split('/').all(|part| !is_token(part)))
}

/// Pieces that are secrets by their own look, wherever they stand.
pub(super) fn in_words(line: &str) -> Vec<&str> {
    let mut pieces: Vec<&str> = line
        .find("-----BEGIN ")
        .and_then(|start| line.get(start..)?.split('`').next())
        .into_iter()
        .collect();
    let is_end = |letter: char| letter.is_whitespace() || "\"'`".contains(letter);
    pieces.extend(line.split(is_end).filter_map(user));
    pieces.extend(behind_schemes(line));
    let is_between = |letter: char| !(letter.is_ascii_alphanumeric() || "_-+=.".contains(letter));
    pieces.extend(line.split(is_between).filter(|word| is_token(word)));
    let is_not_base64 = |letter: char| !(letter.is_ascii_alphanumeric() || "-_+/=".contains(letter));
    pieces.extend(line.split(is_not_base64).filter(|word| is_base64(word)));
    pieces
}

/// User and password of a URL, or of what would be one with its scheme.
fn user(word: &str) -> Option<&str> {
    let (scheme, rest) = word
        .split_once("://")
        .map_or(("", word), |(_, rest)| ("://", rest));
    let (user, _) = rest.rsplit_once('@')?;
    let (host, behind) = rest.split_once('/').unwrap_or((rest, ""));
    // `https://bank.example:443/@bob` has a port and no password.
    let has_password = user
        .split_once(':')
        .is_some_and(|(_, password)| !password.starts_with(|first: char| first.is_ascii_digit()));
    let is_user = match scheme {
        "" => user.contains(':') && !user.contains('/'),
        _ => host.contains('@') || (behind.contains('@') && has_password),
    };
    is_user.then_some(user)
}

/// What stands behind `Bearer` and `Basic`.
fn behind_schemes(line: &str) -> impl Iterator<Item = &str> {
    let is_between = |letter: char| letter.is_whitespace() || "\"'`,]}".contains(letter);
    let mut words = line.split(is_between).filter(|word| !word.is_empty()).peekable();
    let is_header = line.to_ascii_lowercase().contains("authorization");
    std::iter::from_fn(move || {
        let word = words.next()?;
        let is_scheme = ["bearer", "basic"]
            .iter()
            .any(|scheme| word.eq_ignore_ascii_case(scheme));
        let has_digit = |next: &str| next.contains(|letter: char| letter.is_ascii_digit());
        let next = words.peek().copied().filter(|_| is_scheme);
        Some(next.filter(|next| is_header || has_digit(next) || next.len() >= SHORTEST_TOKEN))
    })
    .flatten()
}

/// A word that nobody made up: it begins as tokens do, or its letters and digits follow no pattern.
fn is_token(word: &str) -> bool {
    const SHORTEST_MIXED: usize = 20;
    const SHORTEST_RUN: usize = 32;
    const LEAST: usize = 4;
    let begins = BEGINNINGS.iter().any(|beginning| word.starts_with(beginning));
    let has = |is: fn(&u8) -> bool| word.bytes().any(|byte| is(&byte));
    let is_mixed = word.len() >= SHORTEST_MIXED
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit);
    let is_run = word
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .any(|run| {
            let digits = run.bytes().filter(u8::is_ascii_digit).count();
            let letters = run.len().saturating_sub(digits);
            run.len() >= SHORTEST_RUN && digits >= LEAST && letters >= LEAST
        });
    !is_hash(word) && ((begins && word.len() >= SHORTEST_TOKEN) || is_mixed || is_run)
}

/// Long text in base64, whose `/` looks like that of a path.
fn is_base64(word: &str) -> bool {
    const SHORTEST: usize = 40;
    let has = |is: fn(&u8) -> bool| word.bytes().any(|byte| is(&byte));
    word.len() >= SHORTEST
        && !word.starts_with('/')
        && !is_hash(word)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
}

/// The hash of a script or style in a `Content-Security-Policy`, which is public.
fn is_hash(word: &str) -> bool {
    ["sha256-", "sha384-", "sha512-"]
        .iter()
        .any(|hash| word.starts_with(hash))
}
