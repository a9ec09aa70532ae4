//! The request that a curl command would send, as copied from a browser or from the documentation of an API.
//!
//! No message quotes a value of the command: one of them may be a token.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use policy::Scheme;
use reqwest::Url;

use super::request::Request;
use super::shell_words;
use crate::Unreadable;

/// An option of curl by its long and its short name, and what it does to the request.
struct Spelling(&'static str, Option<char>, Kind);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A word that changes the request, or says nothing of it.
    Flag,
    /// The same with a value.
    Value,
}

use Kind::{Flag, Value};

/// Every option that is understood. Any other could change the request in a way that would be explained wrongly.
const OPTIONS: [Spelling; 56] = [
    Spelling("url", None, Value),
    Spelling("request", Some('X'), Value),
    Spelling("header", Some('H'), Value),
    Spelling("data", Some('d'), Value),
    Spelling("data-ascii", None, Value),
    Spelling("data-binary", None, Value),
    Spelling("data-raw", None, Value),
    Spelling("json", None, Value),
    Spelling("get", Some('G'), Flag),
    Spelling("head", Some('I'), Flag),
    Spelling("user", Some('u'), Value),
    Spelling("oauth2-bearer", None, Value),
    Spelling("cookie", Some('b'), Value),
    Spelling("user-agent", Some('A'), Value),
    Spelling("referer", Some('e'), Value),
    Spelling("compressed", None, Flag),
    Spelling("path-as-is", None, Flag),
    // These change how curl works or what it shows, not what it sends.
    Spelling("silent", Some('s'), Flag),
    Spelling("show-error", Some('S'), Flag),
    Spelling("include", Some('i'), Flag),
    Spelling("show-headers", None, Flag),
    Spelling("insecure", Some('k'), Flag),
    Spelling("verbose", Some('v'), Flag),
    Spelling("fail", Some('f'), Flag),
    Spelling("fail-with-body", None, Flag),
    Spelling("location", Some('L'), Flag),
    Spelling("globoff", Some('g'), Flag),
    Spelling("no-buffer", Some('N'), Flag),
    Spelling("progress-bar", Some('#'), Flag),
    Spelling("no-progress-meter", None, Flag),
    Spelling("disable", Some('q'), Flag),
    Spelling("http1.1", None, Flag),
    Spelling("http2", None, Flag),
    Spelling("ipv4", Some('4'), Flag),
    Spelling("ipv6", Some('6'), Flag),
    Spelling("tlsv1.2", None, Flag),
    Spelling("tlsv1.3", None, Flag),
    Spelling("remote-name", Some('O'), Flag),
    Spelling("output", Some('o'), Value),
    Spelling("write-out", Some('w'), Value),
    Spelling("dump-header", Some('D'), Value),
    Spelling("cookie-jar", Some('c'), Value),
    Spelling("max-time", Some('m'), Value),
    Spelling("connect-timeout", None, Value),
    Spelling("retry", None, Value),
    Spelling("retry-delay", None, Value),
    Spelling("retry-connrefused", None, Flag),
    Spelling("max-redirs", None, Value),
    Spelling("limit-rate", None, Value),
    Spelling("cacert", None, Value),
    Spelling("capath", None, Value),
    Spelling("resolve", None, Value),
    Spelling("connect-to", None, Value),
    Spelling("tls-max", None, Value),
    Spelling("ciphers", None, Value),
    Spelling("stderr", None, Value),
];

/// Reads a command.
///
/// # Errors
/// [`Unreadable`] when a shell or curl would not take it, or an option is not understood here; the message names it.
pub(super) fn request(command: &str) -> Result<Request, Unreadable> {
    read(command).map_err(|fault| Unreadable(format!("--curl: {fault}")))
}

fn read(command: &str) -> Result<Request, String> {
    if is_for_cmd(command) {
        return Err(FOR_CMD.to_owned());
    }
    let mut words = shell_words::split(command)?.into_iter();
    let program = words.next().unwrap_or_default();
    if program != "curl" && !program.ends_with("/curl") {
        return Err("the command does not begin with `curl`".to_owned());
    }
    let mut call = Call::default();
    let mut options_ended = false;
    while let Some(word) = words.next() {
        if options_ended || !word.starts_with('-') || word == "-" {
            call.urls.push(word);
        } else if word == "--" {
            options_ended = true;
        } else if let Some(name) = word.strip_prefix("--") {
            let Spelling(name, _, kind) = spelling(|Spelling(long, ..)| *long == name)
                .ok_or_else(|| not_understood(&format!("--{}", without_value(name))))?;
            let value = match kind {
                Flag => String::new(),
                Value => words.next().ok_or_else(|| format!("--{name} lacks its value"))?,
            };
            call.option(name, value)?;
        } else {
            call.short_options(&word, &mut words)?;
        }
    }
    call.into_request()
}

const FOR_CMD: &str = "this is the copy for the Windows command prompt, whose quotes no other shell reads: take “Copy as \
                       cURL (bash)” of the browser";

/// Whether `^` quotes or continues the first line.
fn is_for_cmd(command: &str) -> bool {
    let first = command.trim_start().lines().next().unwrap_or_default().trim_end();
    first.starts_with("curl ^") || first.ends_with(" ^")
}

fn spelling(is_it: impl Fn(&Spelling) -> bool) -> Option<&'static Spelling> {
    OPTIONS.iter().find(|spelling| is_it(spelling))
}

/// curl knows no `--name=value`; what stands there may be secret.
fn without_value(name: &str) -> &str {
    name.split(['=', ' ']).next().unwrap_or_default()
}

fn not_understood(option: &str) -> String {
    if matches!(option, "--cert" | "-E") {
        return format!(
            "`{option}`: leave it out, and say with --client-certificate NAME which name the certificate holds"
        );
    }
    format!(
        "the option `{option}` is not understood, and may change the request: leave it out, or say what it does with \
         -X, -H and --data"
    )
}

/// A call of curl.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of curl that stands by itself"
)]
struct Call {
    urls: Vec<String>,
    method: Option<String>,
    headers: Vec<String>,
    data: Option<String>,
    is_head: bool,
    data_in_query: bool,
    keeps_dots: bool,
    keeps_patterns: bool,
    /// Headers that options set, unless `-H` does.
    implied: Vec<(HeaderName, String)>,
}

impl Call {
    /// `-sSX POST`, `-XPOST`.
    fn short_options(&mut self, word: &str, words: &mut impl Iterator<Item = String>) -> Result<(), String> {
        let mut letters = word.chars().skip(1);
        while let Some(letter) = letters.next() {
            let Spelling(name, _, kind) = spelling(|Spelling(_, short, _)| *short == Some(letter))
                .ok_or_else(|| not_understood(&format!("-{letter}")))?;
            if *kind == Flag {
                self.option(name, String::new())?;
                continue;
            }
            let rest: String = letters.collect();
            let value = if rest.is_empty() { words.next() } else { Some(rest) };
            return self.option(name, value.ok_or_else(|| format!("-{letter} lacks its value"))?);
        }
        Ok(())
    }

    fn option(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "url" => self.urls.push(value),
            "request" => self.method = Some(value),
            "header" => self.headers.push(not_a_file("header", value)?),
            "data-raw" => self.add_data(&value, "&"),
            "data" | "data-ascii" | "data-binary" => self.add_data(&not_a_file(name, value)?, "&"),
            "json" => {
                for header in [header::CONTENT_TYPE, header::ACCEPT] {
                    self.imply(header, "application/json".to_owned());
                }
                self.add_data(&not_a_file(name, value)?, "");
            }
            "get" => self.data_in_query = true,
            "head" => self.is_head = true,
            "path-as-is" => self.keeps_dots = true,
            "globoff" => self.keeps_patterns = true,
            "user" => self.imply(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(value))),
            "oauth2-bearer" => self.imply(header::AUTHORIZATION, format!("Bearer {value}")),
            "cookie" if value.contains('=') => self.imply(header::COOKIE, value),
            "cookie" => return Err("--cookie reads a file: write `name=value`".to_owned()),
            "user-agent" => self.imply(header::USER_AGENT, value),
            "referer" => self.imply(header::REFERER, value),
            "compressed" => self.imply(header::ACCEPT_ENCODING, "deflate, gzip, br, zstd".to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn add_data(&mut self, value: &str, separator: &str) {
        match &mut self.data {
            Some(data) => {
                data.push_str(separator);
                data.push_str(value);
            }
            None => self.data = Some(value.to_owned()),
        }
    }

    fn imply(&mut self, name: HeaderName, value: String) {
        self.implied.push((name, value));
    }

    fn into_request(mut self) -> Result<Request, String> {
        let [written] = self.urls.as_slice() else {
            if self.urls.iter().any(|url| url.starts_with('^')) {
                return Err(FOR_CMD.to_owned());
            }
            return Err(format!("one URL is needed, and there are {}", self.urls.len()));
        };
        if !self.keeps_patterns && is_pattern(written) {
            return Err(
                "the URL holds a pattern (`{a,b}` or `[1-3]`), for which curl sends several requests: write one of \
                 them, or --globoff to send it as it stands"
                    .to_owned(),
            );
        }
        // Without a scheme, curl takes http.
        let absolute = match written.contains("://") {
            true => written.clone(),
            false => format!("http://{written}"),
        };
        let url = Url::parse(&absolute).map_err(|error| format!("the URL: {error}"))?;
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err("the URL is neither http nor https".to_owned()),
        };
        if !url.username().is_empty() {
            return Err("the URL holds a user: write it as --user".to_owned());
        }
        let mut target = match self.keeps_dots {
            true => path_as_written(&absolute),
            false => url.path().to_owned(),
        };
        let data = self.data.take();
        let (query, body) = match self.data_in_query {
            true => (data, None),
            false => (None, data),
        };
        let queries: Vec<&str> = url.query().into_iter().chain(query.as_deref()).collect();
        if !queries.is_empty() {
            target = format!("{target}?{}", queries.join("&"));
        }
        let method = self.method.take().unwrap_or_else(|| {
            let implied = match (&body, self.is_head) {
                (_, true) => "HEAD",
                (Some(_), false) => "POST",
                (None, false) => "GET",
            };
            implied.to_owned()
        });
        let mut headers = self.headers(body.as_deref())?;
        let asked = headers.remove(header::HOST);
        let host = match asked.as_ref().map(HeaderValue::to_str) {
            Some(Ok(host)) => host.to_owned(),
            Some(Err(_)) => return Err("the Host header is not text".to_owned()),
            None => url.host_str().unwrap_or_default().to_owned(),
        };
        Ok(Request {
            method,
            target,
            scheme,
            host: Some(host),
            port: url.port_or_known_default(),
            headers,
            body: Some(body.unwrap_or_default().into_bytes()),
        })
    }

    /// What curl sends by itself, then what options imply, then what `-H` says, which wins.
    fn headers(&self, body: Option<&str>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static("curl"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(body) = body {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(header::CONTENT_TYPE, form);
        }
        for (name, text) in &self.implied {
            headers.insert(name, value(text, name.as_str())?);
        }
        let mut written = Vec::new();
        for line in &self.headers {
            let (name, text) = match (line.split_once(':'), line.strip_suffix(';')) {
                (Some((name, text)), _) => (name, Some(text.trim_matches([' ', '\t']))),
                // curl's way to send a header without a value.
                (None, Some(name)) => (name, None),
                (None, None) => return Err("a --header has no colon: write `Name: value`".to_owned()),
            };
            let name: HeaderName = name.trim().parse().map_err(|_| "a --header has a wrong name")?;
            if !written.contains(&name) {
                headers.remove(&name);
                written.push(name.clone());
            }
            // `Name:` without a value takes away what curl would send.
            if text != Some("") {
                headers.append(&name, value(text.unwrap_or_default(), name.as_str())?);
            }
        }
        Ok(headers)
    }
}

fn value(text: &str, name: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| format!("the value of {name} cannot be in a header"))
}

/// A value that begins with `@` is the name of a file.
fn not_a_file(option: &str, value: String) -> Result<String, String> {
    if value.starts_with('@') {
        return Err(format!(
            "--{option} reads a file: write its content, or use --data-raw"
        ));
    }
    Ok(value)
}

/// Whether curl would expand a URL. Brackets around an IPv6 address are none of its patterns.
fn is_pattern(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let after_address = match after_scheme.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(_, rest)| rest),
        None => after_scheme,
    };
    after_address.contains(['{', '}', '[', ']'])
}

/// The path of an absolute URL with its dot segments.
fn path_as_written(url: &str) -> String {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = after_scheme.split_once('/').map_or("", |(_, path)| path);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    format!("/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(command: &str) -> Request {
        request(command).unwrap_or_else(|fault| panic!("{command}: {fault}"))
    }

    fn line(command: &str) -> String {
        let request = said(command);
        let scheme = if request.scheme == Scheme::Https {
            "https"
        } else {
            "http"
        };
        format!(
            "{} {scheme} {} {}",
            request.method,
            request.host.unwrap(),
            request.target
        )
    }

    fn fault(command: &str) -> String {
        match request(command) {
            Ok(_) => panic!("{command} is read"),
            Err(fault) => fault.0,
        }
    }

    #[test]
    fn patterns_that_curl_would_expand_are_refused() {
        for pattern in ["x/{a,b}", "x/[1-3]", "x?id=[1-3]"] {
            assert!(fault(&format!("curl 'https://a.example/{pattern}'")).contains("several requests"));
        }
        assert_eq!(
            line("curl -g 'https://a.example/x?y=[1]'"),
            "GET https a.example /x?y=[1]"
        );
        assert_eq!(line("curl 'https://[::1]:8443/x'"), "GET https [::1] /x");
    }

    #[test]
    fn method_host_and_target_are_those_that_curl_sends() {
        for (command, expected) in [
            ("curl https://A.example", "GET https a.example /"),
            (
                "curl -sSik https://a.example/x?y=1#z",
                "GET https a.example /x?y=1",
            ),
            ("curl a.example/x", "GET http a.example /x"),
            (
                "/usr/bin/curl -XDELETE --url https://a.example/x",
                "DELETE https a.example /x",
            ),
            ("curl -X PUT -d a=1 https://a.example/x", "PUT https a.example /x"),
            (
                "curl -d a=1 -d b=2 https://a.example/x",
                "POST https a.example /x",
            ),
            (
                "curl -G -d a=1 --data-raw b=2 'https://a.example/x?c=3'",
                "GET https a.example /x?c=3&a=1&b=2",
            ),
            ("curl -I https://a.example/x", "HEAD https a.example /x"),
            (
                "curl -H 'Host: b.example' https://127.0.0.1:8443/x",
                "GET https b.example /x",
            ),
            ("curl https://a.example/x/../y", "GET https a.example /y"),
            (
                "curl --path-as-is https://a.example/x/../y?z",
                "GET https a.example /x/../y?z",
            ),
            (
                "curl https://a.example/%6D -o /dev/null -w '%{http_code}' --",
                "GET https a.example /%6D",
            ),
        ] {
            assert_eq!(line(command), expected, "{command}");
        }
        assert_eq!(said("curl https://[::1]:8443/").host.as_deref(), Some("[::1]"));
        assert_eq!(said("curl https://a.example:8443/").port, Some(8443));
    }

    #[test]
    fn headers_are_those_that_curl_sends() {
        let headers = said(
            "curl https://a.example -A me -b 'a=1; b=2' -e https://b.example --compressed -u ada:secret \
             -H 'X-One: 1' -H 'x-one: 2' -H 'X-Empty;' -H 'Accept:' --data x",
        )
        .headers;
        let all = |name: &str| -> Vec<&str> {
            headers
                .get_all(name)
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect()
        };
        assert_eq!(all("user-agent"), ["me"]);
        assert_eq!(all("cookie"), ["a=1; b=2"]);
        assert_eq!(all("referer"), ["https://b.example"]);
        assert_eq!(all("authorization"), ["Basic YWRhOnNlY3JldA=="]);
        assert_eq!(all("x-one"), ["1", "2"]);
        assert_eq!(all("x-empty"), [""]);
        assert_eq!(all("accept"), [""; 0]);
        assert_eq!(all("content-type"), ["application/x-www-form-urlencoded"]);
        assert_eq!(all("content-length"), ["1"]);

        let json = said(r#"curl https://a.example --json '{"a":1}' -H 'Authorization: Bearer x'"#);
        assert_eq!(json.headers["content-type"], "application/json");
        assert_eq!(json.headers["authorization"], "Bearer x");
        assert_eq!(json.body.unwrap(), br#"{"a":1}"#);
    }

    #[test]
    fn a_command_copied_from_a_browser_is_read() {
        let copied = "curl 'https://api.bank.example/api/v1/transfers' \\\n  -X 'POST' \\\n  \
            -H 'accept: application/json' \\\n  -H 'authorization: Bearer abc' \\\n  \
            --data-raw $'{\"reference\":\"it\\'s late\\u0021\"}' \\\n  --compressed --insecure\n";
        let request = said(copied);
        assert_eq!(request.method, "POST");
        assert_eq!(request.body.unwrap(), br#"{"reference":"it's late!"}"#);
        assert_eq!(request.headers["accept"], "application/json");
    }

    #[test]
    fn what_is_not_understood_is_named_and_no_value_is_told() {
        for (command, named) in [
            ("curl --proxy secret https://a.example", "`--proxy`"),
            ("curl --request=secret https://a.example", "`--request`"),
            ("curl -sT secret https://a.example", "`-T`"),
            ("curl -F a=secret https://a.example", "`-F`"),
            ("curl --next https://a.example", "`--next`"),
            ("curl -d @secret https://a.example", "--data reads a file"),
            ("curl -b secret https://a.example", "--cookie reads a file"),
            ("curl -H @secret https://a.example", "--header reads a file"),
            ("curl -H 'Bearer secret' https://a.example", "no colon"),
            ("curl -H 'Bearer secret: x' https://a.example", "wrong name"),
            ("curl -H $'a: secret\\n' https://a.example", "the value of a"),
            ("curl https://a.example https://secret.example", "one URL"),
            ("curl", "one URL"),
            ("curl ftp://secret.example", "neither http nor https"),
            ("curl https://secret@a.example", "--user"),
            ("curl https://a.example -H", "-H lacks"),
            ("curl https://a.example --header", "--header lacks"),
            ("wget https://secret.example", "begin with `curl`"),
            ("", "begin with `curl`"),
        ] {
            let fault = fault(command);
            assert!(
                fault.contains(named) && !fault.contains("secret"),
                "{command}: {fault}"
            );
        }
    }
}
