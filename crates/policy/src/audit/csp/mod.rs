//! Content-Security-Policy: what it lets in, and what it does not say.

mod merged;
mod policy;
mod source;

pub(super) use policy::{Csp, is_about_reports};

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
    "OWASP Secure Headers; MDN Observatory: asked for with +10",
);
static TWICE: AuditRule = AuditRule::new(
    "A1008",
    AuditSeverity::Medium,
    "a directive of the Content-Security-Policy twice",
    "browsers take the first and ignore the second (CSP 3 §2.2.1)",
    "MDN Observatory: -25, `report-uri` and `report-to` 0",
);
static INLINE_STYLES: AuditRule = AuditRule::new(
    "A1009",
    AuditSeverity::Info,
    "inline styles in the Content-Security-Policy",
    "injected styles can hide or imitate parts of a page; they run nothing",
    "MDN Observatory: 0 instead of +5 or +10",
);
static UNQUOTED: AuditRule = AuditRule::new(
    "A1022",
    AuditSeverity::Medium,
    "a keyword of the Content-Security-Policy without its quotes",
    "it is taken for the name of a host, so what it should forbid or allow is neither",
    "OWASP Secure Headers; CSP 3 §2.3.1",
);

pub(super) static RULES: [&AuditRule; 10] = [
    &MISSING,
    &SCRIPTS,
    &EVAL,
    &IN_CLEAR,
    &FRAMES,
    &BASE,
    &FORMS,
    &TWICE,
    &INLINE_STYLES,
    &UNQUOTED,
];

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
        if let Some(source) = csp.weak_scripts() {
            let fix = if source == "anywhere" {
                "begin with `default-src 'none'` and allow what is needed"
            } else {
                "name origins, `'self'` or hashes; put scripts in files"
            };
            self.find(&SCRIPTS, key, format!("scripts may come from {source}"), fix);
        } else if csp.has_weak_objects() {
            self.find(
                &SCRIPTS,
                key,
                "plugins may come from anywhere",
                "begin with `default-src 'none'` and allow what is needed",
            );
        }
        if csp.allows_eval() {
            self.find(&EVAL, key, "scripts may use `eval`", "remove `'unsafe-eval'`");
        }
        if let Some((directive, _)) = csp.in_clear() {
            let what = if directive == "report-uri" {
                "sends reports"
            } else {
                "loads"
            };
            let message = format!("`{directive}` {what} in clear");
            self.find(&IN_CLEAR, key, message, "write https origins");
        }
        if csp.weak_styles().is_some() {
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
            if csp.is_open(directive) {
                self.find(
                    rule,
                    key,
                    message,
                    format!("add `{directive} 'none'`, or `'self'`"),
                );
            }
        }
        if let Some(twice) = csp.duplicates().next() {
            let message = format!("`{twice}` is written twice, and the second is ignored");
            self.find(&TWICE, key, message, "merge the two");
        }
        if let Some((directive, keyword)) = csp.unquoted() {
            let message = format!("`{keyword}` in `{directive}` is the name of a host");
            self.find(&UNQUOTED, key, message, format!("write `'{keyword}'`"));
        }
    }
}
