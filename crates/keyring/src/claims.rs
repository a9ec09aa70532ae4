//! The claims of an access token (RFC 9068 §2.2) and the rules of their form.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::TokenRefusal;
use crate::json::{Json, Object};

/// Longest identifier (`sub`, `jti`, `sid`, `tid`) in bytes (J30).
const MAX_IDENTIFIER_BYTES: usize = 255;

/// How an issuer writes its claims; RFC 9068 when it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimsForm {
    /// The claim that holds the scopes. No other one counts.
    pub scopes: ScopesClaim,
    /// Whether a token without `jti` is refused (J31).
    pub requires_jti: bool,
    /// Whether a token that is bound to no certificate is refused (J33).
    pub requires_cnf: bool,
}

impl Default for ClaimsForm {
    fn default() -> Self {
        Self {
            scopes: ScopesClaim::Scope,
            requires_jti: true,
            requires_cnf: false,
        }
    }
}

/// Where an issuer writes scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScopesClaim {
    /// `scope`: one string, with spaces between them (RFC 9068 §2.2.3).
    Scope,
    /// `scp`: the same, or a list.
    Scp,
    /// `roles`: a list, or the same.
    Roles,
}

/// What a verified token says. Times are Unix seconds. Serialised in the form of a token: `aud` as one string when it has
/// one member, `scope` space-separated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who issued the token.
    pub iss: String,
    /// Whom it speaks for: `usr_…`.
    pub sub: String,
    /// For whom it is meant.
    pub aud: Vec<String>,
    /// From when on it is refused.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// Before when it is refused.
    pub nbf: Option<i64>,
    /// Its own identifier; there is one unless [`ClaimsForm::requires_jti`] says otherwise.
    pub jti: Option<String>,
    /// The session it belongs to: `ses_…`.
    pub sid: Option<String>,
    /// The tenant it belongs to: `ten_…`.
    pub tid: Option<String>,
    /// The program that asked for it: `client_id` (RFC 9068 §2.2), or `azp` where an issuer writes that instead.
    pub client_id: Option<String>,
    /// What it allows, each scope once as written (RFC 6749 §3.3).
    pub scope: Vec<String>,
}

impl Claims {
    /// Whether the token carries exactly this scope: `payments:write` is not `payments:write2` (J32).
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scope.iter().any(|granted| granted == scope)
    }

    /// Reads the claims of a payload whose signature has been verified (J24, J25, J28–J33).
    pub(crate) fn read(payload: &mut Object, form: ClaimsForm) -> Result<Self, TokenRefusal> {
        let jti = identifier(payload, "jti")?;
        if form.requires_jti && jti.is_none() {
            return Err(TokenRefusal::Claims);
        }
        // They narrow what the scopes allow, in words that nobody here reads (RFC 9396 §9.1).
        if payload.get("authorization_details").is_some() {
            return Err(TokenRefusal::Claims);
        }
        Ok(Self {
            iss: issuer(payload)?,
            aud: audience(payload)?,
            exp: time(payload, "exp")?.ok_or(TokenRefusal::Claims)?,
            iat: time(payload, "iat")?.ok_or(TokenRefusal::Claims)?,
            nbf: time(payload, "nbf")?,
            sub: identifier(payload, "sub")?.ok_or(TokenRefusal::Claims)?,
            jti,
            sid: identifier(payload, "sid")?,
            tid: identifier(payload, "tid")?,
            client_id: client(payload)?,
            scope: scopes(payload, form.scopes)?,
        })
    }
}

fn issuer(payload: &mut Object) -> Result<String, TokenRefusal> {
    match payload.take("iss") {
        Some(Json::String(issuer)) => Ok(issuer),
        _ => Err(TokenRefusal::Issuer),
    }
}

fn audience(payload: &mut Object) -> Result<Vec<String>, TokenRefusal> {
    match payload.take("aud") {
        Some(Json::String(audience)) => Ok(vec![audience]),
        Some(Json::Array(members)) if !members.is_empty() => members
            .into_iter()
            .map(|member| match member {
                Json::String(audience) => Ok(audience),
                _ => Err(TokenRefusal::Audience),
            })
            .collect(),
        _ => Err(TokenRefusal::Audience),
    }
}

/// A NumericDate that is a whole, non-negative number: never a string, a fraction, a null (J24).
fn time(payload: &mut Object, name: &str) -> Result<Option<i64>, TokenRefusal> {
    match payload.take(name) {
        None => Ok(None),
        Some(Json::Integer(seconds)) if seconds >= 0 => Ok(Some(seconds)),
        Some(_) => Err(TokenRefusal::Claims),
    }
}

fn identifier(payload: &mut Object, name: &str) -> Result<Option<String>, TokenRefusal> {
    match payload.take(name) {
        None => Ok(None),
        Some(Json::String(text)) if is_identifier(&text) => Ok(Some(text)),
        Some(_) => Err(TokenRefusal::Claims),
    }
}

/// Two names for one program that disagree name none (J33).
fn client(payload: &mut Object) -> Result<Option<String>, TokenRefusal> {
    match (identifier(payload, "client_id")?, identifier(payload, "azp")?) {
        (Some(client), Some(party)) if client != party => Err(TokenRefusal::Claims),
        (client, party) => Ok(client.or(party)),
    }
}

/// Identifiers travel in header fields and logs: printable ASCII without spaces.
fn is_identifier(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_IDENTIFIER_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn scopes(payload: &mut Object, claim: ScopesClaim) -> Result<Vec<String>, TokenRefusal> {
    let written = match claim {
        ScopesClaim::Scope => payload.take("scope"),
        ScopesClaim::Scp => payload.take("scp"),
        ScopesClaim::Roles => payload.take("roles"),
    };
    match written {
        None => Ok(Vec::new()),
        Some(Json::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Json::String(text)) => text.split(' ').map(|token| scope(token.to_owned())).collect(),
        Some(Json::Array(members)) if claim != ScopesClaim::Scope => members
            .into_iter()
            .map(|member| match member {
                Json::String(token) => scope(token),
                _ => Err(TokenRefusal::Claims),
            })
            .collect(),
        Some(_) => Err(TokenRefusal::Claims),
    }
}

fn scope(token: String) -> Result<String, TokenRefusal> {
    if is_scope_token(&token) {
        Ok(token)
    } else {
        Err(TokenRefusal::Claims)
    }
}

/// `scope-token` of RFC 6749 §3.3.
fn is_scope_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

impl Serialize for Claims {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("iss", &self.iss)?;
        map.serialize_entry("sub", &self.sub)?;
        match self.aud.as_slice() {
            [only] => map.serialize_entry("aud", only)?,
            several => map.serialize_entry("aud", several)?,
        }
        map.serialize_entry("exp", &self.exp)?;
        map.serialize_entry("iat", &self.iat)?;
        if let Some(nbf) = self.nbf {
            map.serialize_entry("nbf", &nbf)?;
        }
        if let Some(jti) = &self.jti {
            map.serialize_entry("jti", jti)?;
        }
        if let Some(sid) = &self.sid {
            map.serialize_entry("sid", sid)?;
        }
        if let Some(tid) = &self.tid {
            map.serialize_entry("tid", tid)?;
        }
        if let Some(client_id) = &self.client_id {
            map.serialize_entry("client_id", client_id)?;
        }
        if !self.scope.is_empty() {
            map.serialize_entry("scope", &self.scope.join(" "))?;
        }
        map.end()
    }
}
