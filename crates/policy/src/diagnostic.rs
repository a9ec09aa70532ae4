//! One finding about a policy file: where it is, what is wrong, why it matters and how to mend it.

use crate::{compile::OVERLAYS, secret, source::SourceFile, suggest, text::hidden};
use serde::Serialize;

/// How bad a finding is. Any error stops compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy does not compile.
    Error,
    /// The policy compiles, and someone should look.
    Warning,
}

/// A finding with its exact position. A code never changes its meaning between versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable code, `P1001` and up; listed in `docs/policy-language.md`.
    pub code: &'static str,
    /// Whether the policy still compiles.
    pub severity: Severity,
    /// Name of the file as given in [`crate::SourceFile`]; empty when the finding is about no file.
    pub file: String,
    /// Line, from 1; 0 when the finding is about the whole file.
    pub line: u32,
    /// Column in characters, from 1; 0 when the finding is about the whole file.
    pub column: u32,
    /// How many characters of that line the finding covers.
    pub length: u32,
    /// What is wrong, in one line.
    pub message: String,
    /// What would happen if this were let through.
    pub why: String,
    /// What to write instead.
    pub fix: Option<String>,
    /// A second place that belongs to the finding, such as the first definition of a duplicate.
    pub related: Option<Related>,
}

/// A second place that belongs to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is there.
    pub message: String,
}

/// A place in the bundle: file by its index, line and column from 1, length in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) file: usize,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

impl Span {
    /// A file as a whole.
    pub(crate) const fn whole(file: usize) -> Self {
        Self {
            file,
            line: 0,
            column: 0,
            length: 0,
        }
    }

    /// The bundle as a whole.
    pub(crate) const fn bundle() -> Self {
        Self::whole(usize::MAX)
    }
}

/// A place as the outside sees it: a file by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) length: u32,
}

impl Place {
    pub(crate) fn of(at: Span, files: &[SourceFile]) -> Self {
        Self {
            file: files
                .get(at.file)
                .map(|file| file.name.clone())
                .unwrap_or_default(),
            line: at.line,
            column: at.column,
            length: at.length,
        }
    }
}
/// Findings that are told one by one; whoever has more mends these first.
const MOST_FINDINGS: usize = 200;

/// Collects findings while the compiler goes on, so that one run reports all of them.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    /// How many are not in the list; the last of them is kept for whoever is writing it.
    untold: usize,
    last_untold: Option<Finding>,
}

/// A finding under construction.
#[derive(Debug)]
pub(crate) struct Finding {
    code: &'static str,
    at: Span,
    message: String,
    why: String,
    fix: Option<String>,
    related: Option<(Span, String)>,
}

impl Finding {
    /// Says what would happen if this were let through.
    pub(crate) fn why(&mut self, why: impl Into<String>) -> &mut Self {
        self.why = why.into();
        self
    }

    /// Says what to write instead.
    pub(crate) fn fix(&mut self, fix: impl Into<String>) -> &mut Self {
        self.fix = Some(fix.into());
        self
    }

    /// Names a second place.
    pub(crate) fn related(&mut self, at: Span, message: impl Into<String>) -> &mut Self {
        self.related = Some((at, message.into()));
        self
    }

    /// The finding for the caller: without the secrets that stand where it is about.
    fn told(self, files: &[SourceFile]) -> Diagnostic {
        let secrets = |at: Span| {
            files
                .get(at.file)
                .map(|file| secret::of_line(&file.text, at.line, at.column))
        };
        let own = secrets(self.at).unwrap_or_default();
        let related = self.related.as_ref().and_then(|(at, _)| secrets(*at));
        let all = [own.clone(), related.unwrap_or_default()].concat();
        let told = |text: &str| shown(&secret::left_out(text, &all));
        let name = |at: Span| {
            files
                .get(at.file)
                .map(|file| file.name.clone())
                .unwrap_or_default()
        };
        Diagnostic {
            code: self.code,
            severity: Severity::Error,
            file: name(self.at),
            line: self.at.line,
            column: self.at.column,
            length: self.at.length,
            message: told(&self.message),
            why: told(&self.why),
            fix: match self.fix.as_deref().map(told) {
                Some(fix) if own.is_empty() || fix == secret::BY_REFERENCE => Some(fix),
                Some(fix) => Some(format!("{fix}; {}", secret::BY_REFERENCE)),
                None if own.is_empty() => None,
                None => Some(secret::BY_REFERENCE.to_owned()),
            },
            related: self.related.map(|(at, message)| Related {
                file: name(at),
                line: at.line,
                column: at.column,
                message: told(&message),
            }),
        }
    }
}

impl Findings {
    /// Adds an error; the answer takes its `why` and `fix`.
    pub(crate) fn error(&mut self, code: &'static str, at: Span, message: impl Into<String>) -> &mut Finding {
        let finding = Finding {
            code,
            at,
            message: message.into(),
            why: String::new(),
            fix: None,
            related: None,
        };
        if self.is_full() {
            self.untold = self.untold.saturating_add(1);
            self.last_untold.insert(finding)
        } else {
            self.list.push_mut(finding)
        }
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.list.len().saturating_add(self.untold)
    }

    /// Takes back all but the first `count`.
    pub(crate) fn forget_from(&mut self, count: usize) {
        self.untold = self.untold.min(count.saturating_sub(self.list.len()));
        self.list.truncate(count);
    }

    /// Whether further findings are only counted: what makes them helpful need not be worked out.
    pub(crate) const fn is_full(&self) -> bool {
        self.list.len() >= MOST_FINDINGS
    }

    /// What to write instead of a word that is none of the candidates.
    pub(crate) fn suggest<'c>(&self, written: &str, candidates: impl Iterator<Item = &'c str>) -> String {
        // A finding that is only counted is worth no search.
        if self.is_full() {
            return String::new();
        }
        suggest::fix(written, &candidates.collect::<Vec<_>>())
    }

    /// The findings for the caller, by file, line and column, each once.
    pub(crate) fn into_diagnostics(self, files: &[SourceFile]) -> Vec<Diagnostic> {
        let mut diagnostics: Vec<Diagnostic> =
            self.list.into_iter().map(|finding| finding.told(files)).collect();
        diagnostics.sort_by_key(|finding| {
            // An overlay is wrong by itself, or for what the base says: the base goes first.
            let is_overlay = finding.file.starts_with(OVERLAYS);
            let place = (finding.line, finding.column);
            (is_overlay, finding.file.clone(), place, finding.code)
        });
        diagnostics.dedup();
        if self.untold > 0 {
            diagnostics.push(Diagnostic {
                code: code::MORE_FINDINGS,
                severity: Severity::Error,
                file: String::new(),
                line: 0,
                column: 0,
                length: 0,
                message: format!("and {} more", self.untold),
                why: "a list this long has few causes, or is about the wrong folder".to_owned(),
                fix: Some("mend the first ones, then check again".to_owned()),
                related: None,
            });
        }
        diagnostics
    }
}

/// Longest message, in characters; the values that are quoted in it can be as long as a file.
const LONGEST: usize = 400;
const LONGEST_END: usize = 120;

/// Text with a policy's words in it, fit for any reader: what hides or drives a terminal is replaced, the middle of
/// what is too long left out.
fn shown(text: &str) -> String {
    let length = text.chars().count();
    let shown = text.chars().map(legible);
    if length <= LONGEST {
        return shown.collect();
    }
    let (begin, end) = (
        LONGEST.saturating_sub(LONGEST_END),
        length.saturating_sub(LONGEST_END),
    );
    shown
        .clone()
        .take(begin)
        .chain(['…'])
        .chain(shown.skip(end))
        .collect()
}

/// A policy file is not trusted to hold text that is safe for a terminal.
pub(crate) fn legible(letter: char) -> char {
    match letter {
        '\t' => ' ',
        letter if letter == '\n' || hidden(letter).is_some() => '\u{fffd}',
        letter => letter,
    }
}

/// Every code, each with one meaning for ever.
pub(crate) mod code {
    /// P10xx: the text itself.
    pub(crate) const FILE_TOO_LARGE: &str = "P1001";
    pub(crate) const NOT_YAML: &str = "P1002";
    pub(crate) const DUPLICATE_KEY: &str = "P1003";
    pub(crate) const UNKNOWN_KEY: &str = "P1004";
    pub(crate) const MISSING_KEY: &str = "P1005";
    pub(crate) const WRONG_TYPE: &str = "P1006";
    pub(crate) const NOT_IN_LANGUAGE: &str = "P1007";
    pub(crate) const BAD_NAME: &str = "P1008";
    pub(crate) const DEFINED_TWICE: &str = "P1009";
    pub(crate) const BAD_VERSION: &str = "P1010";
    pub(crate) const NOT_UTF8: &str = "P1011";
    pub(crate) const HIDDEN_CHARACTER: &str = "P1012";
    pub(crate) const NOT_A_POLICY: &str = "P1013";
    pub(crate) const BUNDLE_TOO_LARGE: &str = "P1014";
    pub(crate) const MORE_FINDINGS: &str = "P1015";

    /// P20xx: single values.
    pub(crate) const BAD_DURATION: &str = "P2001";
    pub(crate) const BAD_SIZE: &str = "P2002";
    pub(crate) const BAD_RATE: &str = "P2003";
    pub(crate) const BAD_NUMBER: &str = "P2004";
    pub(crate) const NOT_A_CHOICE: &str = "P2005";
    pub(crate) const BAD_ADDRESS: &str = "P2006";
    pub(crate) const BAD_HOST: &str = "P2007";
    pub(crate) const BAD_ORIGIN: &str = "P2008";
    pub(crate) const BAD_HEADER: &str = "P2009";
    pub(crate) const BAD_PATH: &str = "P2010";
    pub(crate) const BAD_RATE_KEY: &str = "P2011";
    pub(crate) const BAD_LIST: &str = "P2012";
    pub(crate) const BAD_TEXT: &str = "P2013";
    pub(crate) const BAD_NETWORK: &str = "P2014";

    /// P30xx: how the parts fit together.
    pub(crate) const UNDEFINED_NAME: &str = "P3001";
    pub(crate) const NO_AUTH: &str = "P3002";
    pub(crate) const NO_BECAUSE: &str = "P3003";
    pub(crate) const NO_EFFECT: &str = "P3004";
    pub(crate) const SAME_ROUTE: &str = "P3005";
    pub(crate) const LOOSER_THAN_FLOOR: &str = "P3006";
    pub(crate) const NO_TARGET: &str = "P3007";
    pub(crate) const KEY_NOT_AVAILABLE: &str = "P3008";
    pub(crate) const DROPS_FLOOR_HEADER: &str = "P3009";
    pub(crate) const CREDENTIALS_FOR_ANYONE: &str = "P3010";
    pub(crate) const UNUSED: &str = "P3011";
    pub(crate) const NO_SCOPES: &str = "P3012";
    pub(crate) const TIMEOUT_ORDER: &str = "P3013";
    pub(crate) const AMBIGUOUS_ROUTES: &str = "P3014";
    pub(crate) const KEYS_OF_ANOTHER: &str = "P3020";
    pub(crate) const WEAKENS_FLOOR_HEADER: &str = "P3021";
    pub(crate) const BODY_TOO_LARGE_TO_COUNT: &str = "P3022";
    pub(crate) const TOO_INTERTWINED: &str = "P3023";
    pub(crate) const SUNSET_FIRST: &str = "P3024";
    pub(crate) const WRONG_CACHE_KEY: &str = "P3035";
    pub(crate) const COMPRESSES_SECRETS: &str = "P3036";
    pub(crate) const TLS_DOES_NOT_FIT: &str = "P3045";
    pub(crate) const NOT_OF_PORTICO: &str = "P3050";
    pub(crate) const TRUSTS_EVERYONE: &str = "P3060";
    pub(crate) const NO_LOCKOUT: &str = "P3070";
    pub(crate) const NOT_AN_API_DOCUMENT: &str = "P3030";
    pub(crate) const NOT_IN_API_DOCUMENT: &str = "P3031";
    pub(crate) const CANNOT_BE_ENFORCED: &str = "P3032";
    pub(crate) const API_DOCUMENT_TOO_LARGE: &str = "P3033";
    pub(crate) const BODY_TOO_LARGE_TO_CHECK: &str = "P3034";

    /// P40xx: environments.
    pub(crate) const UNKNOWN_ENVIRONMENT: &str = "P4001";
    pub(crate) const RELAXED_IN_PRODUCTION: &str = "P4002";
    pub(crate) const RELAXED_WITHOUT_REASON: &str = "P4003";
    pub(crate) const FAILURE_LIMIT_RELAXED: &str = "P4004";
    pub(crate) const DEVELOPMENT_ONLY: &str = "P4005";
    pub(crate) const OVERLAY_NAME: &str = "P4006";

    /// P50xx: cases, which never stop a policy.
    pub(crate) const EXPECTS_NOTHING: &str = "P5001";
    pub(crate) const NO_REQUEST: &str = "P5002";
    pub(crate) const EXPECTS_BOTH: &str = "P5003";
    pub(crate) const IMPOSSIBLE_SIZE: &str = "P5004";
    pub(crate) const NO_PERMIT_CASE: &str = "P5005";
    pub(crate) const NO_DENY_CASE: &str = "P5006";
    pub(crate) const NO_SCOPE_CASE: &str = "P5007";

    /// P60xx: waivers.
    pub(crate) const NOT_WAIVABLE: &str = "P6001";
    pub(crate) const BAD_DATE: &str = "P6002";
    pub(crate) const WAIVES_NOTHING: &str = "P6003";
    pub(crate) const WAIVER_EXPIRED: &str = "P6004";
    pub(crate) const WAIVER_EXPIRES_SOON: &str = "P6005";
    pub(crate) const PAST_SUNSET: &str = "P6006";
}

/// What a code finds, in the words of the reference; `None` when there is no such code.
pub(crate) fn title(code: &str) -> Option<&'static str> {
    let row = TITLES.iter().find(|(known, _)| *known == code)?;
    Some(row.1)
}

/// The table of codes in `docs/policy-language.md`.
const TITLES: &[(&str, &str)] = &[
    ("P1001", "file too large"),
    ("P1002", "not valid YAML"),
    ("P1003", "key written twice"),
    ("P1004", "unknown key"),
    ("P1005", "missing key or section"),
    ("P1006", "value of the wrong kind"),
    ("P1007", "YAML that is not part of the language"),
    ("P1008", "not a name"),
    ("P1009", "defined twice"),
    ("P1010", "unknown version of the language"),
    ("P1011", "not UTF-8"),
    ("P1012", "character that hides, or reads other than it is"),
    ("P1013", "no readable policy file, or a link out of the folder"),
    ("P1014", "bundle too large, or folders too deep"),
    ("P1015", "more findings than are told"),
    ("P2001", "not a span of time, or out of range"),
    ("P2002", "not a size, or too large"),
    ("P2003", "not a rate"),
    ("P2004", "not a whole number in its range"),
    ("P2005", "not one of the words allowed"),
    ("P2006", "not an address"),
    ("P2007", "not a host"),
    ("P2008", "not an origin"),
    ("P2009", "not a header field, or not one for a profile"),
    ("P2010", "not a path template"),
    ("P2011", "not a key of a limit"),
    ("P2012", "empty list, or the same item twice"),
    ("P2013", "text in the wrong form"),
    ("P2014", "not an address or a network"),
    ("P3001", "a name that nothing defines"),
    ("P3002", "route without `auth`"),
    ("P3003", "`auth: none` without `because`"),
    ("P3004", "key without effect"),
    ("P3005", "two routes for the same requests"),
    ("P3006", "looser than the floor or the upstream"),
    ("P3007", "route that leads nowhere, or to two places"),
    ("P3008", "a limit counts by something the request does not have"),
    ("P3009", "header profile forgets a header of the floor"),
    ("P3010", "credentials for any origin"),
    ("P3011", "definition that nothing uses"),
    ("P3012", "route without `scopes`"),
    ("P3013", "`connect` or `read` longer than `total`"),
    ("P3014", "two routes that some request fits equally well"),
    ("P3020", "two issuers with the same keys"),
    ("P3021", "header profile weakens a header of the floor"),
    ("P3022", "body too large to count by"),
    ("P3023", "paths that meet in too many ways"),
    ("P3024", "sunset before the deprecation"),
    ("P3035", "answers kept for the wrong clients"),
    ("P3036", "compression of answers that hold secrets"),
    ("P3045", "`https://` without `tls`, or the other way round"),
    ("P3050", "a form of claims that tokens of Portico do not have"),
    ("P3060", "everybody is believed about the address of clients"),
    ("P3070", "numbers of `lockout` that make no sense"),
    ("P3030", "not an OpenAPI document"),
    ("P3031", "a route that the OpenAPI document does not describe"),
    ("P3032", "part of the OpenAPI document cannot be enforced"),
    ("P3033", "OpenAPI document too large, or leads to itself"),
    ("P3034", "body too large to check"),
    ("P4001", "no such environment"),
    ("P4002", "looser than the base outside development and test"),
    ("P4003", "looser than the base without `because`"),
    ("P4004", "limit on failures made looser"),
    ("P4005", "setting that only development and test may have"),
    ("P4006", "overlay under another name"),
    ("P5001", "case that expects nothing"),
    ("P5002", "case without a method or a path"),
    ("P5003", "expectations that exclude each other"),
    ("P5004", "case with an impossible size"),
    ("P5005", "route that no case permits"),
    ("P5006", "route that no case denies"),
    ("P5007", "scope that no case denies the lack of"),
    ("P6001", "a rule that cannot be waived"),
    ("P6002", "not a date"),
    ("P6003", "waiver that waives nothing"),
    ("P6004", "waiver that has expired, told by `policy check`"),
    ("P6005", "waiver that expires within 14 days, a warning"),
    ("P6006", "route past its sunset, a warning of `policy check`"),
];
