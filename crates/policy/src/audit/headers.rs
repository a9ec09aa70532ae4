//! The other security headers: transport, sniffing, framing, referrers, isolation, caches, and what must not be there.

use super::{
    AuditRule, AuditSeverity, Auditor, Used,
    fields::{self, Hsts},
};

static NO_HSTS: AuditRule = AuditRule::new(
    "A1010",
    AuditSeverity::High,
    "no Strict-Transport-Security, or none that browsers keep",
    "the first request of a browser goes out in clear, where it can be answered by anyone on the path",
    "OWASP Secure Headers; RFC 6797; MDN Observatory: -20",
);
static SHORT_HSTS: AuditRule = AuditRule::new(
    "A1011",
    AuditSeverity::Medium,
    "Strict-Transport-Security for less than a year",
    "a browser that stays away for that long begins in clear again",
    "OWASP Secure Headers; hstspreload.org; MDN Observatory: -10 below six months",
);
static HSTS_OF_ONE_HOST: AuditRule = AuditRule::new(
    "A1012",
    AuditSeverity::Medium,
    "Strict-Transport-Security without includeSubDomains",
    "a name below this one can be answered in clear and set cookies for this one",
    "OWASP Secure Headers; RFC 6797 §14.4",
);
static SNIFFING: AuditRule = AuditRule::new(
    "A1013",
    AuditSeverity::Medium,
    "X-Content-Type-Options is not `nosniff`",
    "a browser may take data for a script or a page",
    "OWASP Secure Headers; MDN Observatory: -5",
);
static OLD_FRAMES: AuditRule = AuditRule::new(
    "A1014",
    AuditSeverity::Low,
    "X-Frame-Options is neither DENY nor SAMEORIGIN",
    "browsers that do not know `frame-ancestors` let any site frame the page",
    "OWASP Secure Headers; MDN Observatory: -20 without frame-ancestors",
);
static REFERRERS: AuditRule = AuditRule::new(
    "A1015",
    AuditSeverity::Low,
    "Referrer-Policy is missing or tells other sites the address",
    "paths hold ids of accounts and customers",
    "OWASP Secure Headers; MDN Observatory: -5",
);
static PERMISSIONS: AuditRule = AuditRule::new(
    "A1016",
    AuditSeverity::Low,
    "no Permissions-Policy, or one that allows a feature to others",
    "an injected frame may ask for camera, position or payment in the bank's name",
    "OWASP Secure Headers",
);
static ISOLATION: AuditRule = AuditRule::new(
    "A1017",
    AuditSeverity::Low,
    "Cross-Origin-Opener-, -Embedder- or -Resource-Policy is missing or allows everything",
    "another site can hold the page or its data in its own process and read it by side channels",
    "OWASP Secure Headers; MDN Observatory: +10 each",
);
static SMALL_HEADERS: AuditRule = AuditRule::new(
    "A1018",
    AuditSeverity::Low,
    "X-Permitted-Cross-Domain-Policies is not `none`, or X-DNS-Prefetch-Control is not `off`",
    "old document viewers read across origins; prefetching tells resolvers which links a page holds",
    "OWASP Secure Headers",
);
static INFORMATION: AuditRule = AuditRule::new(
    "A1019",
    AuditSeverity::Low,
    "answers tell what made them",
    "a version in an answer tells which published hole to try",
    "OWASP Secure Headers (headers to remove)",
);
static OBSOLETE: AuditRule = AuditRule::new(
    "A1020",
    AuditSeverity::Low,
    "a header that harms or does nothing any more",
    "X-XSS-Protection makes holes of its own, and old pins lock customers out",
    "OWASP Secure Headers (deprecated headers)",
);
static CACHES: AuditRule = AuditRule::new(
    "A1021",
    AuditSeverity::Medium,
    "Cache-Control is missing, or lets answers to signed-in callers be stored",
    "the next person at the machine, or a shared cache, gets an answer that was meant for another",
    "OWASP Secure Headers; OWASP ASVS 5.0 14.3.2; RFC 9111 §5.2.2.5",
);

pub(super) static RULES: [&AuditRule; 12] = [
    &NO_HSTS,
    &SHORT_HSTS,
    &HSTS_OF_ONE_HOST,
    &SNIFFING,
    &OLD_FRAMES,
    &REFERRERS,
    &PERMISSIONS,
    &ISOLATION,
    &SMALL_HEADERS,
    &INFORMATION,
    &OBSOLETE,
    &CACHES,
];

const A_YEAR_S: u64 = 31_536_000;

/// A header that is wanted with one of a few values.
struct Wanted {
    rule: &'static AuditRule,
    header: &'static str,
    /// What browsers take from the value.
    read: fn(&str) -> Option<String>,
    good: &'static [&'static str],
    /// The one to recommend.
    best: &'static str,
}

const WANTED: [Wanted; 8] = [
    Wanted {
        rule: &SNIFFING,
        header: "X-Content-Type-Options",
        read: fields::first,
        good: &["nosniff"],
        best: "nosniff",
    },
    Wanted {
        rule: &OLD_FRAMES,
        header: "X-Frame-Options",
        read: fields::any_case,
        good: &["deny", "sameorigin"],
        best: "DENY",
    },
    Wanted {
        rule: &REFERRERS,
        header: "Referrer-Policy",
        read: fields::referrer,
        good: &fields::PRIVATE_REFERRERS,
        best: "no-referrer",
    },
    Wanted {
        rule: &ISOLATION,
        header: "Cross-Origin-Opener-Policy",
        read: fields::token,
        good: &["same-origin", "same-origin-allow-popups", "noopener-allow-popups"],
        best: "same-origin",
    },
    Wanted {
        rule: &ISOLATION,
        header: "Cross-Origin-Embedder-Policy",
        read: fields::token,
        good: &["require-corp", "credentialless"],
        best: "require-corp",
    },
    Wanted {
        rule: &ISOLATION,
        header: "Cross-Origin-Resource-Policy",
        read: fields::exact,
        good: &["same-origin", "same-site"],
        best: "same-origin",
    },
    Wanted {
        rule: &SMALL_HEADERS,
        header: "X-Permitted-Cross-Domain-Policies",
        read: fields::any_case,
        good: &["none"],
        best: "none",
    },
    Wanted {
        rule: &SMALL_HEADERS,
        header: "X-DNS-Prefetch-Control",
        read: fields::any_case,
        good: &["off"],
        best: "\"off\"",
    },
];

/// What an upstream must not tell.
const TELLING: [&str; 2] = ["Server", "X-Powered-By"];

/// Headers that no answer should carry any more.
const GONE: [&str; 4] = [
    "X-XSS-Protection",
    "Public-Key-Pins",
    "Expect-CT",
    "Feature-Policy",
];

/// One fault of a profile.
struct Fault(&'static AuditRule, String, String, String);

impl Auditor<'_> {
    pub(super) fn headers(&mut self) {
        let faults: Vec<Fault> = self
            .profiles
            .iter()
            .flat_map(|used| {
                let mut faults = wanted(used);
                faults.extend(transport(used));
                faults.extend(permissions(used));
                faults.extend(caches(used));
                faults.extend(telling(used));
                faults.extend(obsolete(used));
                faults
            })
            .collect();
        for Fault(rule, key, message, fix) in faults {
            self.find(rule, key, message, fix);
        }
    }
}

fn wanted(used: &Used<'_>) -> Vec<Fault> {
    let fault = |wanted: &Wanted| {
        let header = wanted.header;
        let message = match used.value(header) {
            Some(value) => {
                let is_good = |read: String| wanted.good.contains(&read.as_str());
                if (wanted.read)(value).is_some_and(is_good) {
                    return None;
                }
                format!("{header} is `{value}`")
            }
            None => format!("this profile sets no {header}"),
        };
        Some(Fault(
            wanted.rule,
            used.key_of(header),
            message,
            format!("`{header}: {}`", wanted.best),
        ))
    };
    WANTED.iter().filter_map(fault).collect()
}

fn transport(used: &Used<'_>) -> Vec<Fault> {
    let header = "Strict-Transport-Security";
    let fix = "`max-age=63072000; includeSubDomains`";
    let fault = |rule, message: String| Fault(rule, used.key_of(header), message, fix.to_owned());
    match used.value(header).map(Hsts::parse) {
        None => vec![fault(&NO_HSTS, format!("this profile sets no {header}"))],
        Some(None) => vec![fault(
            &NO_HSTS,
            format!("{header} has no `max-age` that can be read, or something twice"),
        )],
        Some(Some(Hsts { max_age_s: 0, .. })) => vec![fault(
            &NO_HSTS,
            "`max-age=0` makes browsers forget HTTPS".to_owned(),
        )],
        Some(Some(hsts)) => {
            let short = hsts.max_age_s < A_YEAR_S;
            let days = hsts.max_age_s / 86_400;
            let short = short.then(|| {
                fault(
                    &SHORT_HSTS,
                    format!("browsers remember HTTPS for {days} days only"),
                )
            });
            let alone = !hsts.covers_subdomains;
            let alone =
                alone.then(|| fault(&HSTS_OF_ONE_HOST, "names below this host are left out".to_owned()));
            short.into_iter().chain(alone).collect()
        }
    }
}

fn permissions(used: &Used<'_>) -> Option<Fault> {
    let header = "Permissions-Policy";
    let fix = "`camera=(), geolocation=(), microphone=(), payment=(), usb=()`";
    let message = match used.value(header) {
        None => format!("this profile sets no {header}"),
        Some(value) => fields::permission_fault(value)?,
    };
    Some(Fault(&PERMISSIONS, used.key_of(header), message, fix.to_owned()))
}

fn caches(used: &Used<'_>) -> Option<Fault> {
    let header = "Cache-Control";
    let message = match used.value(header) {
        None => format!("this profile sets no {header}"),
        Some(value) => {
            let mut words = value.split(',').map(|word| word.trim().to_ascii_lowercase());
            if !used.is_for_protected || words.any(|word| word == "no-store") {
                return None;
            }
            format!("`{value}` lets answers to signed-in callers be stored")
        }
    };
    Some(Fault(
        &CACHES,
        used.key_of(header),
        message,
        "`Cache-Control: no-store`".to_owned(),
    ))
}

fn telling(used: &Used<'_>) -> Vec<Fault> {
    let is_removed = |header: &str| {
        let mut removed = used.profile.remove.iter();
        removed.any(|name| name.as_str().eq_ignore_ascii_case(header))
    };
    let fault = |header: &&str| {
        let header = *header;
        match used.value(header) {
            Some(value) => {
                let message = format!("every answer says `{header}: {value}`");
                Some(Fault(
                    &INFORMATION,
                    used.key_of(header),
                    message,
                    "move it to `remove`".to_owned(),
                ))
            }
            None if is_removed(header) => None,
            None => {
                let message = format!("{header} of an upstream reaches the client");
                let fix = format!("add `{header}` to `remove`");
                Some(Fault(&INFORMATION, format!("{}.remove", used.key), message, fix))
            }
        }
    };
    TELLING.iter().filter_map(fault).collect()
}

fn obsolete(used: &Used<'_>) -> Vec<Fault> {
    let fault = |header: &&str| {
        let value = used.value(header)?;
        // `X-XSS-Protection: 0` switches the old filter off, which is right.
        (value != "0").then(|| {
            let message = format!("`{header}` is obsolete");
            Fault(&OBSOLETE, used.key_of(header), message, "remove it".to_owned())
        })
    };
    GONE.iter().filter_map(fault).collect()
}
