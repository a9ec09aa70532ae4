//! What a token says of itself, and what the gateway would say to it if its signature is good. The token is never shown.

use ::policy::{IdentityProvider, Principal};
use chrono::DateTime;
use keyring::{CertificateHash, Claims, Expectations, TokenRefusal, UnverifiedToken};
use serde_json::{Value, json};

/// A token beside what its provider expects, at one moment.
#[derive(Debug)]
pub(super) struct Token {
    claims: Option<Claims>,
    /// Whose certificate its sender must show.
    bound_to: Option<CertificateHash>,
    refusal: Option<(TokenRefusal, String)>,
}

impl Token {
    /// Judges a token by every rule but that of its signature, at `now_unix` (Unix seconds). Whoever shows a certificate is
    /// supposed to show the one that the token is bound to, if any.
    pub(super) fn judge(
        token: &str,
        provider: &IdentityProvider,
        now_unix: i64,
        shows_certificate: bool,
    ) -> Self {
        let expectations = gateway::expectations(provider);
        let read = UnverifiedToken::read(token, expectations.form);
        let judged = read
            .as_ref()
            .map_err(|refusal| *refusal)
            .and_then(|token| token.suppose_signed(&expectations, now_unix));
        let claims = read.ok().map(|token| token.claims().clone());
        let bound_to = judged.ok().flatten();
        let unproven = bound_to
            .filter(|_| !shows_certificate)
            .map(|_| TokenRefusal::Unproven);
        let refusal = judged
            .err()
            .or(unproven)
            .map(|refusal| (refusal, reason(refusal, claims.as_ref(), provider, &expectations)));
        Self {
            claims,
            bound_to,
            refusal,
        }
    }

    /// Whom it speaks for, if its signature is good.
    ///
    /// # Errors
    /// The word for the rule that it breaks, whoever signed it.
    pub(super) fn principal(&self) -> Result<Principal, &'static str> {
        match (&self.claims, &self.refusal) {
            (Some(claims), None) => Ok(Principal {
                subject: claims.sub.clone(),
                session: claims.sid.clone(),
                tenant: claims.tid.clone(),
                scopes: claims.scope.clone(),
            }),
            (_, Some((refusal, _))) => Err(refusal.as_str()),
            (None, None) => Err(TokenRefusal::Malformed.as_str()),
        }
    }

    /// Lines for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(claims) = &self.claims {
            let scopes = match claims.scope.as_slice() {
                [] => "without scopes".to_owned(),
                scopes => format!("scopes {}", scopes.join(" ")),
            };
            lines.push(format!("{} of {}, {scopes}", claims.sub, printable(&claims.iss)));
            lines.push(format!(
                "for {}, issued {}, expires {}",
                printable(&claims.aud.join(", ")),
                time(claims.iat),
                time(claims.exp)
            ));
        }
        if let Some(hash) = &self.bound_to {
            lines.push(format!(
                "only for whoever shows the certificate with the SHA-256 {hash}"
            ));
        }
        lines.push(match &self.refusal {
            None => "its signature was not checked: this is what would happen if it is good".to_owned(),
            Some((_, reason)) => format!("refused, whoever signed it: {reason}"),
        });
        lines
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let mut token = json!({
            "signature": "not checked",
            "refusal": self.refusal.as_ref().map(|(refusal, _)| refusal.as_str()),
            "reason": self.refusal.as_ref().map(|(_, reason)| reason),
        });
        if let (Some(claims), Some(token)) = (&self.claims, token.as_object_mut()) {
            token.insert("issuer".to_owned(), json!(claims.iss));
            token.insert("subject".to_owned(), json!(claims.sub));
            token.insert("audiences".to_owned(), json!(claims.aud));
            token.insert("scopes".to_owned(), json!(claims.scope));
            token.insert("issued_at".to_owned(), json!(claims.iat));
            token.insert("expires_at".to_owned(), json!(claims.exp));
            token.insert(
                "bound_to".to_owned(),
                json!(self.bound_to.map(|hash| hash.to_string())),
            );
        }
        token
    }
}

fn reason(
    refusal: TokenRefusal,
    claims: Option<&Claims>,
    provider: &IdentityProvider,
    expectations: &Expectations,
) -> String {
    let name = &provider.name;
    let at = |time_of: fn(&Claims) -> i64| claims.map(|claims| time(time_of(claims))).unwrap_or_default();
    match refusal {
        TokenRefusal::Malformed => {
            "it is no signed token in strict compact form; --subject supposes a good one".to_owned()
        }
        TokenRefusal::Algorithm => {
            let accepted: Vec<_> = expectations
                .algorithms
                .iter()
                .map(|known| known.as_str())
                .collect();
            format!("`{name}` takes only the algorithms {}", accepted.join(", "))
        }
        TokenRefusal::Type => format!("`{name}` takes only the type {}", expectations.token_type),
        TokenRefusal::Critical => "its header asks for an extension that nobody here knows".to_owned(),
        TokenRefusal::Issuer => format!("`{name}` takes only tokens of {}", expectations.issuer),
        TokenRefusal::Audience => format!(
            "`{name}` takes only tokens for {}",
            expectations.audiences.join(", ")
        ),
        TokenRefusal::Client => format!(
            "`{name}` takes only tokens of the programs {}",
            expectations.clients.join(", ")
        ),
        TokenRefusal::Expired => format!("it expired at {}", at(|claims| claims.exp)),
        TokenRefusal::NotYetValid => {
            format!(
                "it is not valid before {}",
                at(|claims| claims.nbf.unwrap_or_default())
            )
        }
        TokenRefusal::IssuedInFuture => {
            format!("it was issued in the future, at {}", at(|claims| claims.iat))
        }
        TokenRefusal::Lifetime => format!(
            "`{name}` takes only tokens that live at most {} s",
            expectations.max_lifetime_s
        ),
        TokenRefusal::Claims => "a claim is missing or has the wrong form".to_owned(),
        TokenRefusal::Binding if expectations.form.requires_cnf => {
            format!("`{name}` takes only tokens that `cnf` binds to a certificate, by `x5t#S256` alone")
        }
        TokenRefusal::Binding => {
            "`cnf` binds it in another way than to a certificate, by `x5t#S256` alone: that is checked nowhere".to_owned()
        }
        TokenRefusal::Unproven => {
            "the client shows no certificate; --client-certificate supposes that it shows this one".to_owned()
        }
        // What is said of keys and signatures is not judged here.
        TokenRefusal::UnknownKey
        | TokenRefusal::RevokedKey
        | TokenRefusal::RetiredKey
        | TokenRefusal::SignedAfterRetirement
        | TokenRefusal::Signature => refusal.as_str().to_owned(),
    }
}

fn time(unix: i64) -> String {
    match DateTime::from_timestamp(unix, 0) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => format!("{unix} (Unix time)"),
    }
}

/// Text of a token cannot drive a terminal.
fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}
