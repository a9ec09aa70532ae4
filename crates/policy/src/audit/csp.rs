//! Content-Security-Policy, read as directives.

use super::{AuditRule, AuditSeverity, Auditor};

const HEADER: &str = "Content-Security-Policy";

static MISSING: AuditRule = AuditRule::new(
    "A1001",
    AuditSeverity::High,
    "no Content-Security-Policy",
    "an answer that a browser takes for a page may run any script in it",
    "OWASP Secure Headers; MDN Observatory: -25",
);
static SCRIPTS: AuditRule = AuditRule::new(
    "A1002",
    AuditSeverity::High,
    "scripts or plugins from anywhere",
    "whoever gets text into a page gets their script run in it",
    "OWASP Secure Headers; MDN Observatory: -20",
);
static EVAL: AuditRule = AuditRule::new(
    "A1003",
    AuditSeverity::Medium,
    "`'unsafe-eval'` in the Content-Security-Policy",
    "text that reaches `eval` runs as a script of the page",
    "OWASP Secure Headers; MDN Observatory: -10",
);
static IN_CLEAR: AuditRule = AuditRule::new(
    "A1004",
    AuditSeverity::Medium,
    "a Content-Security-Policy that loads in clear",
    "whoever is on the path can replace what is loaded",
    "MDN Observatory: -20, images and media -10",
);
static FRAMES: AuditRule = AuditRule::new(
    "A1005",
    AuditSeverity::Medium,
    "no `frame-ancestors`, or any site in it",
    "another site can frame the page and steer clicks; `default-src` does not cover this directive",
    "OWASP Secure Headers; MDN Observatory: X-Frame-Options",
);
static BASE: AuditRule = AuditRule::new(
    "A1006",
    AuditSeverity::Low,
    "no `base-uri`, or any site in it",
    "one injected `<base>` makes every relative script come from elsewhere; `default-src` does not cover this directive",
    "OWASP Secure Headers",
);
static FORMS: AuditRule = AuditRule::new(
    "A1007",
    AuditSeverity::Low,
    "no `form-action`, or any site in it",
    "an injected form can send what is typed to anyone; `default-src` does not cover this directive",
    "OWASP Secure Headers; MDN Observatory: needed for +10",
);
static TWICE: AuditRule = AuditRule::new(
    "A1008",
    AuditSeverity::Medium,
    "a directive of the Content-Security-Policy twice",
    "browsers take the first and ignore the second (CSP 3 §2.2.1)",
    "MDN Observatory: invalid, -25",
);
static INLINE_STYLES: AuditRule = AuditRule::new(
    "A1009",
    AuditSeverity::Info,
    "inline styles in the Content-Security-Policy",
    "injected styles can hide or imitate parts of a page; they run nothing",
    "MDN Observatory: 0 instead of +5 or +10",
);

pub(super) static RULES: [&AuditRule; 9] = [
    &MISSING,
    &SCRIPTS,
    &EVAL,
    &IN_CLEAR,
    &FRAMES,
    &BASE,
    &FORMS,
    &TWICE,
    &INLINE_STYLES,
];

/// Sources that name nobody.
const BROAD: [&str; 8] = [
    "*",
    "http:",
    "https:",
    "ftp:",
    "http://*",
    "https://*",
    "http://*.*",
    "https://*.*",
];

/// A parsed policy. After a comma another policy would begin; it can only tighten the first, which is what is read.
pub(super) struct Csp {
    directives: Vec<(String, Vec<String>)>,
    pub(super) duplicate: Option<String>,
}

impl Csp {
    pub(super) fn parse(value: &str) -> Self {
        let mut csp = Self {
            directives: Vec::new(),
            duplicate: None,
        };
        let first = value.split(',').next().unwrap_or_default();
        for directive in first.split(';') {
            let mut words = directive.split_ascii_whitespace().map(str::to_ascii_lowercase);
            let Some(name) = words.next() else { continue };
            if csp.get(&name).is_some() {
                csp.duplicate.get_or_insert(name);
            } else {
                csp.directives.push((name, words.collect()));
            }
        }
        csp
    }

    pub(super) fn get(&self, directive: &str) -> Option<&[String]> {
        let found = self.directives.iter().find(|(name, _)| name == directive)?;
        Some(&found.1)
    }

    /// Sources of a fetch directive, which falls back to `default-src`; `None` means any source.
    pub(super) fn fetch(&self, directive: &str) -> Option<&[String]> {
        self.get(directive).or_else(|| self.get("default-src"))
    }

    /// Whether these sources, or their absence, let anyone in.
    pub(super) fn is_broad(sources: Option<&[String]>) -> bool {
        sources.is_none_or(|sources| sources.iter().any(|source| BROAD.contains(&source.as_str())))
    }

    /// The first source that runs injected scripts: `'unsafe-inline'` (unless a hash switches it off), `data:`, or a
    /// nonce, which is no secret in a header that is always the same.
    pub(super) fn inline_source(sources: Option<&[String]>) -> Option<&str> {
        let sources = sources?;
        let has_hash = sources.iter().any(|source| source.starts_with("'sha"));
        sources.iter().map(String::as_str).find(|source| {
            (*source == "'unsafe-inline'" && !has_hash) || *source == "data:" || source.starts_with("'nonce-")
        })
    }

    /// Whether something may be loaded in clear, and whether that is only images or media.
    pub(super) fn in_clear(&self) -> Option<(&str, bool)> {
        let is_in_clear = |source: &String| source.starts_with("http:") || source.starts_with("ftp:");
        let loading = |(name, sources): &&(String, Vec<String>)| {
            !name.starts_with("report") && sources.iter().any(is_in_clear)
        };
        let is_passive = |name: &str| matches!(name, "img-src" | "media-src");
        let found: Vec<&str> = self
            .directives
            .iter()
            .filter(loading)
            .map(|(name, _)| name.as_str())
            .collect();
        let active = found.iter().find(|name| !is_passive(name));
        active.or(found.first()).map(|name| (*name, is_passive(name)))
    }

    /// Whether scripts or styles may use `eval` and its like.
    pub(super) fn allows_eval(&self) -> bool {
        ["script-src", "style-src"].iter().any(|directive| {
            let sources = self.fetch(directive).unwrap_or_default();
            sources.iter().any(|source| source == "'unsafe-eval'")
        })
    }
}

impl Auditor<'_> {
    pub(super) fn csp(&mut self) {
        let values: Vec<(String, Option<Csp>)> = self
            .profiles
            .iter()
            .map(|used| (used.key_of(HEADER), used.value(HEADER).map(Csp::parse)))
            .collect();
        for (key, csp) in values {
            match csp {
                Some(csp) => {
                    self.csp_fetches(&key, &csp);
                    self.csp_directives(&key, &csp);
                }
                None => self.find(
                    &MISSING,
                    key,
                    "this profile sets no Content-Security-Policy",
                    "for an API: `default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`",
                ),
            }
        }
    }

    fn csp_fetches(&mut self, key: &str, csp: &Csp) {
        let (scripts, objects) = (csp.fetch("script-src"), csp.fetch("object-src"));
        if let Some(source) = Csp::inline_source(scripts) {
            let message = format!("scripts may come from {source}");
            self.find(
                &SCRIPTS,
                key,
                message,
                "name origins, `'self'` or hashes; put scripts in files",
            );
        } else if Csp::is_broad(scripts) || Csp::is_broad(objects) {
            let what = if Csp::is_broad(scripts) {
                "scripts"
            } else {
                "plugins"
            };
            self.find(
                &SCRIPTS,
                key,
                format!("{what} may come from anywhere"),
                "begin with `default-src 'none'` and allow what is needed",
            );
        }
        if csp.allows_eval() {
            self.find(&EVAL, key, "scripts may use `eval`", "remove `'unsafe-eval'`");
        }
        if let Some((directive, _)) = csp.in_clear() {
            let message = format!("`{directive}` loads in clear");
            self.find(&IN_CLEAR, key, message, "write https origins");
        }
        let styles = csp.fetch("style-src");
        if Csp::inline_source(styles).is_some() || Csp::is_broad(styles) {
            let message = "styles may be inline, or come from anywhere";
            self.find(
                &INLINE_STYLES,
                key,
                message,
                "remove `'unsafe-inline'` where the page allows it",
            );
        }
    }

    fn csp_directives(&mut self, key: &str, csp: &Csp) {
        let navigation = [
            (&FRAMES, "frame-ancestors", "any site may frame this"),
            (
                &BASE,
                "base-uri",
                "any site may become the base of relative addresses",
            ),
            (&FORMS, "form-action", "forms may be sent to any site"),
        ];
        for (rule, directive, message) in navigation {
            if Csp::is_broad(csp.get(directive)) {
                self.find(
                    rule,
                    key,
                    message,
                    format!("add `{directive} 'none'`, or `'self'`"),
                );
            }
        }
        if let Some(twice) = &csp.duplicate {
            let message = format!("`{twice}` is written twice, and the second is ignored");
            self.find(&TWICE, key, message, "merge the two");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Csp;

    #[test]
    fn directives_are_read_as_browsers_read_them() {
        let csp = Csp::parse(
            "Default-Src 'None' ;; script-src 'self'  https://a.example; SCRIPT-SRC *, default-src *",
        );
        assert_eq!(csp.get("default-src"), Some(&["'none'".to_owned()][..]));
        assert_eq!(csp.fetch("img-src"), csp.get("default-src"));
        assert_eq!(csp.fetch("script-src").map(<[String]>::len), Some(2));
        assert_eq!(csp.duplicate.as_deref(), Some("script-src"));
        assert!(csp.get("frame-ancestors").is_none());
    }

    #[test]
    fn a_hash_switches_inline_off_and_a_fixed_nonce_does_not() {
        let inline =
            |value: &str| Csp::inline_source(Csp::parse(value).fetch("script-src")).map(str::to_owned);
        assert_eq!(
            inline("script-src 'unsafe-inline'").as_deref(),
            Some("'unsafe-inline'")
        );
        assert_eq!(inline("script-src 'unsafe-inline' 'sha256-x'"), None);
        assert_eq!(inline("default-src 'nonce-x'").as_deref(), Some("'nonce-x'"));
        assert_eq!(inline("script-src 'self'; style-src 'unsafe-inline'"), None);
    }
}
