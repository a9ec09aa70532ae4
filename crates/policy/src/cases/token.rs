//! What a case says of the token of a request: not how it looks, but what checking it comes to.

use crate::{
    diagnostic::Findings,
    language,
    read::{At, Field, Mapping},
    yaml::Value,
};

/// What checking the token of a request comes to.
#[derive(Debug, Clone)]
pub(super) enum Token {
    /// No token is sent.
    Missing,
    /// The token is no good, for whatever reason.
    Refused,
    /// No key set was ever received, so that no token can be checked.
    Unavailable,
    /// The token is good, for one provider.
    Good {
        provider: At<String>,
        subject: String,
        scopes: Vec<String>,
    },
}

impl Token {
    /// The provider that is named.
    pub(super) const fn provider(&self) -> Option<&At<String>> {
        match self {
            Self::Good { provider, .. } => Some(provider),
            Self::Missing | Self::Refused | Self::Unavailable => None,
        }
    }

    /// In words, for a report.
    pub(super) fn as_words(&self) -> String {
        match self {
            Self::Missing => "no token".to_owned(),
            Self::Refused => "a token that is refused".to_owned(),
            Self::Unavailable => "a token that cannot be checked".to_owned(),
            Self::Good {
                provider, subject, ..
            } => format!("token of {subject} ({})", provider.value),
        }
    }

    /// Reads `token`.
    pub(super) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        if matches!(field.node.value, Value::Text(_)) {
            let words = [("missing", 0), ("refused", 1), ("unavailable", 2)];
            return field.choice(&words, findings).map(|word| match word.value {
                0 => Self::Missing,
                1 => Self::Refused,
                _ => Self::Unavailable,
            });
        }
        let token = Mapping::open(field, language::CASE_TOKEN, findings)?;
        let provider = token
            .key("provider", findings)
            .and_then(|field| field.text(findings));
        let subject = token
            .key("subject", findings)
            .and_then(|field| field.text(findings));
        let scopes = token.optional("scopes").map_or(Some(Vec::new()), |field| {
            let items = field.items(findings)?;
            items.iter().map(|item| item.text(findings)).collect()
        });
        Some(Self::Good {
            provider: provider?,
            subject: subject?.value,
            scopes: scopes?.into_iter().map(|scope: At<String>| scope.value).collect(),
        })
    }
}
