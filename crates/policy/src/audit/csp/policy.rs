//! A Content-Security-Policy, read as browsers read it (CSP 3 §2.2, §2.3 and §6.7).

use super::source;

/// The policies of one header field, which commas divide. Each holds by itself: what one of them forbids is forbidden.
pub(in crate::audit) struct Csp(pub(super) Vec<Policy>);

/// Directives with their sources, in lower case; a list without any is `'none'`.
#[derive(Default)]
pub(super) struct Policy {
    pub(super) directives: Vec<(String, Vec<String>)>,
    /// Names that came again, and were ignored.
    duplicates: Vec<String>,
}

const ANYWHERE: &str = "anywhere";
pub(super) const NONE: &str = "'none'";

impl Csp {
    pub(in crate::audit) fn parse(value: &str) -> Self {
        Self(value.split(',').map(Policy::parse).collect())
    }

    /// Directives that one policy has twice.
    pub(in crate::audit) fn duplicates(&self) -> impl Iterator<Item = &str> {
        let duplicates = self.0.iter().flat_map(|policy| &policy.duplicates);
        duplicates.map(String::as_str)
    }

    /// Whether there is no directive at all.
    pub(in crate::audit) fn is_empty(&self) -> bool {
        self.0.iter().all(|policy| policy.directives.is_empty())
    }

    /// Whether a directive that falls back to nothing is missing, or lets anyone in.
    pub(in crate::audit) fn is_open(&self, directive: &str) -> bool {
        let is_open = |policy: &Policy| policy.get(directive).is_none_or(is_broad);
        self.0.iter().all(is_open)
    }

    /// Whether some policy has a directive.
    pub(in crate::audit) fn has(&self, directive: &str) -> bool {
        self.0.iter().any(|policy| policy.get(directive).is_some())
    }

    /// Whether some policy has a directive whose sources are all among these.
    pub(in crate::audit) fn has_only(&self, directive: &str, among: &[&str]) -> bool {
        let is_among = |sources: &[String]| sources.iter().all(|source| among.contains(&source.as_str()));
        let mut found = self.0.iter().filter_map(|policy| policy.get(directive));
        found.any(is_among)
    }

    /// Where scripts may come from that nobody vouched for: a source, or `anywhere`.
    pub(in crate::audit) fn weak_scripts(&self) -> Option<&str> {
        self.weakness(&["script-src", "script-src-elem", "script-src-attr"])
    }

    /// The same for styles.
    pub(in crate::audit) fn weak_styles(&self) -> Option<&str> {
        self.weakness(&["style-src", "style-src-elem", "style-src-attr"])
    }

    /// Whether plugins may come from anyone.
    pub(in crate::audit) fn has_weak_objects(&self) -> bool {
        let is_weak = |policy: &Policy| policy.fetch("object-src").is_none_or(is_broad);
        self.0.iter().all(is_weak)
    }

    fn weakness(&self, directives: &[&str]) -> Option<&str> {
        directives.iter().find_map(|directive| {
            let weak: Option<Vec<&str>> = self.0.iter().map(|policy| policy.weakness(directive)).collect();
            let weak = weak?;
            let named = weak.iter().find(|source| **source != ANYWHERE);
            named.or(weak.first()).copied()
        })
    }

    /// Whether scripts or styles may use `eval` and its like.
    pub(in crate::audit) fn allows_eval(&self) -> bool {
        let is_eval = |source: &String| source == "'unsafe-eval'";
        let has_eval = |sources: Option<&[String]>| sources.is_none_or(|sources| sources.iter().any(is_eval));
        ["script-src", "style-src"].iter().any(|directive| {
            let fetched = || self.0.iter().map(|policy| policy.fetch(directive));
            // Without any sources there is nothing to say about `eval`: scripts may come from anywhere.
            fetched().flatten().next().is_some() && fetched().all(has_eval)
        })
    }

    /// Whether scripts are trusted by what loads them, and nothing says which ones may begin.
    pub(in crate::audit) fn has_nothing_to_trust(&self) -> bool {
        let is_vouched = |source: &String| source::is_hash(source) || source::is_nonce(source);
        let scripts = |policy: &Policy| {
            let sources = policy.fetch("script-src").unwrap_or_default();
            is_dynamic(sources) && !sources.iter().any(is_vouched)
        };
        self.0.iter().any(scripts)
    }

    /// What may be loaded in clear, and whether that is only images or media.
    pub(in crate::audit) fn in_clear(&self) -> Option<(&str, bool)> {
        let names_clear = |name: &str, sources: &[String]| {
            let is_ignored = name == "script-src" && ignores_addresses(sources);
            !is_ignored && sources.iter().any(|source| source::is_in_clear(source))
        };
        let is_passive = |name: &str| matches!(name, "img-src" | "media-src");
        let may_load = |name: &str| {
            let permits = |sources: &[String]| names_clear(name, sources) || is_broad(sources);
            // Each policy sends its own reports, whatever the others say.
            name == "report-uri" || self.0.iter().all(|policy| policy.fetch(name).is_none_or(permits))
        };
        let all = self.0.iter().flat_map(|policy| &policy.directives);
        let found: Vec<&str> = all
            .filter(|(name, sources)| names_clear(name, sources) && may_load(name))
            .map(|(name, _)| name.as_str())
            .collect();
        let active = found.iter().find(|name| !is_passive(name));
        active.or(found.first()).map(|name| (*name, is_passive(name)))
    }

    /// The first keyword that is written without its quotes, and its directive.
    pub(super) fn unquoted(&self) -> Option<(&str, &str)> {
        let all = self.0.iter().flat_map(|policy| &policy.directives);
        all.filter(|(name, _)| has_sources(name))
            .find_map(|(name, sources)| {
                let bare = sources.iter().find_map(|source| source::unquoted(source))?;
                Some((name.as_str(), bare))
            })
    }
}

impl Policy {
    fn parse(text: &str) -> Self {
        let mut policy = Self::default();
        for directive in text.split(';') {
            let mut words = directive.split_ascii_whitespace().map(str::to_ascii_lowercase);
            let Some(name) = words.next() else { continue };
            let mut words: Vec<String> = words.collect();
            if words.is_empty() && has_sources(&name) {
                words.push(NONE.to_owned());
            }
            if let Some((_, earlier)) = policy.directives.iter_mut().find(|(earlier, _)| *earlier == name) {
                // Browsers take the first, the Observatory the last: reports may go to either.
                if is_about_reports(&name) {
                    earlier.extend(words);
                }
                policy.duplicates.push(name);
            } else {
                policy.directives.push((name, words));
            }
        }
        policy
    }

    /// The sources of a directive that is there.
    pub(super) fn get(&self, directive: &str) -> Option<&[String]> {
        let found = self.directives.iter().find(|(name, _)| name == directive)?;
        Some(&found.1)
    }

    /// Sources of a directive; those that fetch have a fallback: `script-src-elem` falls back to `script-src`, and that to `default-src`.
    fn fetch(&self, directive: &str) -> Option<&[String]> {
        let shorter = directive
            .strip_suffix("-elem")
            .or_else(|| directive.strip_suffix("-attr"));
        let default = is_fetch(directive).then_some("default-src");
        self.get(directive)
            .or_else(|| self.get(shorter?))
            .or_else(|| self.get(default?))
    }

    /// The first source that runs what is injected: `'unsafe-inline'` (unless a hash switches it off), `data:`, a
    /// nonce, which is no secret in a header that is always the same, or anyone.
    fn weakness(&self, directive: &str) -> Option<&str> {
        let Some(sources) = self.fetch(directive) else {
            return Some(ANYWHERE);
        };
        let has_hash = has_hash(sources);
        let inline = sources.iter().map(String::as_str).find(|source| {
            (*source == "'unsafe-inline'" && !has_hash) || *source == "data:" || source::is_nonce(source)
        });
        // An attribute has no address, so only inline sources let it run.
        let is_vouched = directive.starts_with("script-src") && ignores_addresses(sources);
        let has_address = !directive.ends_with("-attr") && !is_vouched;
        let is_anyone = has_address && is_broad(sources);
        inline.or(is_anyone.then_some(ANYWHERE))
    }
}

/// Whether one of the sources names nobody in particular.
fn is_broad(sources: &[String]) -> bool {
    sources.iter().any(|source| source::names_anyone(source))
}

/// Whether a directive only says where reports go.
pub(in crate::audit) fn is_about_reports(directive: &str) -> bool {
    matches!(directive, "report-uri" | "report-to")
}

fn has_hash(sources: &[String]) -> bool {
    sources.iter().any(|source| source::is_hash(source))
}

fn is_dynamic(sources: &[String]) -> bool {
    sources.iter().any(|source| source == "'strict-dynamic'")
}

/// Whether scripts are trusted by their hash and by what loads them, from wherever they come (CSP 3 §8.2).
fn ignores_addresses(sources: &[String]) -> bool {
    is_dynamic(sources) && has_hash(sources)
}

/// Whether the words of a directive are sources.
fn has_sources(directive: &str) -> bool {
    matches!(directive, "base-uri" | "form-action" | "frame-ancestors") || is_fetch(directive)
}

/// Whether a directive says where something is loaded from.
fn is_fetch(directive: &str) -> bool {
    let ends = ["-src", "-src-elem", "-src-attr"];
    ends.iter().any(|end| directive.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::Csp;

    #[test]
    fn directives_are_read_as_browsers_read_them() {
        let csp = Csp::parse("Default-Src 'None' ;; script-src 'self'  https://a.example; SCRIPT-SRC *");
        assert!(csp.has_only("default-src", &["'none'"]));
        assert!(!csp.has_only("script-src", &["'self'"]));
        assert_eq!(csp.weak_scripts(), None);
        assert_eq!(csp.duplicates().collect::<Vec<_>>(), ["script-src"]);
        assert!(csp.is_open("frame-ancestors"));
    }

    #[test]
    fn a_hash_switches_inline_off_and_a_fixed_nonce_does_not() {
        for (value, weak) in [
            ("script-src 'unsafe-inline'", Some("'unsafe-inline'")),
            ("script-src 'unsafe-inline' 'sha256-x'", None),
            ("script-src 'unsafe-inline' 'sharp'", Some("'unsafe-inline'")),
            ("default-src 'nonce-x'", Some("'nonce-x'")),
            ("script-src 'self'; style-src 'unsafe-inline'", None),
            ("style-src 'self'", Some("anywhere")),
        ] {
            assert_eq!(Csp::parse(value).weak_scripts(), weak, "{value}");
        }
    }

    #[test]
    fn scripts_that_a_hash_vouches_for_may_come_from_anywhere_and_others_may_not() {
        let strict = "script-src 'strict-dynamic' 'sha256-x' http: *";
        assert_eq!(Csp::parse(strict).weak_scripts(), None);
        assert_eq!(Csp::parse(strict).in_clear(), None);
        for weak in [
            "script-src 'strict-dynamic' https:",
            "script-src 'sha256-x' https:",
        ] {
            assert_eq!(Csp::parse(weak).weak_scripts(), Some("anywhere"), "{weak}");
        }
        let styles = Csp::parse("style-src 'strict-dynamic' 'sha256-x' *");
        assert_eq!(styles.weak_styles(), Some("anywhere"));
        assert!(Csp::parse("default-src 'strict-dynamic' 'sha256-x' *").has_weak_objects());
    }

    #[test]
    fn elements_and_attributes_have_directives_of_their_own() {
        for (more, weak) in [
            ("script-src-elem *", Some("anywhere")),
            ("script-src-elem https://a.example", None),
            ("script-src-elem data:", Some("data:")),
            ("script-src-attr 'unsafe-inline'", Some("'unsafe-inline'")),
            ("script-src-attr *", None),
        ] {
            let csp = Csp::parse(&format!("default-src 'none'; {more}"));
            assert_eq!(csp.weak_scripts(), weak, "{more}");
        }
    }

    #[test]
    fn of_several_policies_each_holds() {
        let weak = |value: &str| Csp::parse(value).weak_scripts().map(str::to_owned);
        assert_eq!(weak("script-src *, script-src 'self'"), None);
        assert_eq!(weak("script-src 'self', script-src *"), None);
        assert_eq!(weak("script-src *, img-src 'self'").as_deref(), Some("anywhere"));
        assert_eq!(
            weak("img-src 'self', script-src 'unsafe-inline'").as_deref(),
            Some("'unsafe-inline'")
        );
        let clear = |value: &str| Csp::parse(value).in_clear().map(|(name, _)| name.to_owned());
        assert_eq!(clear("img-src http:, img-src 'self'"), None);
        assert_eq!(
            clear("form-action http://a.example, default-src 'none'").as_deref(),
            Some("form-action")
        );
        assert_eq!(
            clear("report-uri /a, report-uri http://a.example").as_deref(),
            Some("report-uri")
        );
        assert_eq!(
            clear("img-src http:, script-src 'self'").as_deref(),
            Some("img-src")
        );
        assert!(Csp::parse("frame-ancestors *, default-src 'none'").is_open("frame-ancestors"));
        assert!(!Csp::parse("frame-ancestors *, frame-ancestors 'none'").is_open("frame-ancestors"));
        assert_eq!(Csp::parse("img-src *, img-src 'self'").duplicates().count(), 0);
        assert!(Csp::parse("script-src 'unsafe-eval', img-src *").allows_eval());
        assert!(!Csp::parse("script-src 'unsafe-eval', script-src 'self'").allows_eval());
    }
}
