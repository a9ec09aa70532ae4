//! The tokens of a run: every one that was made, and the texts of those that are still sent.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context as _, anyhow};
use aws_lc_rs::digest::{SHA256, digest};
use keyring::{Claims, ClaimsForm, UnverifiedToken, key_name};

use super::clock::now;
use super::evidence::{Micros, Origin, SECOND, Token};

/// Tokens are sent for this long after their end as well: what is over may be refused, and is.
const AFTERLIFE: Micros = 3 * SECOND;

/// A token that is still sent.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// Its place in the evidence.
    pub(super) place: usize,
    /// What a client sends.
    pub(super) text: Arc<str>,
}

/// All tokens.
#[derive(Debug, Default)]
pub(super) struct Pool {
    tokens: Mutex<Vec<Token>>,
    live: RwLock<VecDeque<(Micros, Live)>>,
    ended: Mutex<Vec<(String, Micros)>>,
}

impl Pool {
    /// Writes a token down, and gives its place.
    pub(super) fn enter(&self, text: &str, origin: Origin) -> anyhow::Result<usize> {
        let claims = claims(text)?;
        let token = Token {
            hash: digest(&SHA256, text.as_bytes()).as_ref().try_into()?,
            kid: key_name(text).context("no kid")?,
            issued_at_s: claims.iat,
            expires_at_s: claims.exp,
            session: claims.sid.unwrap_or_default(),
            origin,
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.push(token);
        Ok(tokens.len() - 1)
    }

    /// Writes an issued token down and has it sent from now on, until some time after its end.
    pub(super) fn issued(&self, text: &str) -> anyhow::Result<Live> {
        let place = self.enter(text, Origin::Issued)?;
        let ends = claims(text)?.exp * SECOND + AFTERLIFE;
        let live = Live {
            place,
            text: text.into(),
        };
        let mut all = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let time = now();
        while all.front().is_some_and(|(ends, _)| *ends < time) {
            all.pop_front();
        }
        all.push_back((ends, live.clone()));
        Ok(live)
    }

    /// One of those that are sent, picked by a number: of every age.
    pub(super) fn pick(&self, number: usize) -> Option<Live> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        let index = number.checked_rem(live.len())?;
        live.get(index).map(|(_, live)| live.clone())
    }

    /// The one that was issued last.
    pub(super) fn newest(&self) -> Option<Live> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.back().map(|(_, live)| live.clone())
    }

    /// A session is about to be ended.
    pub(super) fn ends_session(&self, token: &str) -> anyhow::Result<()> {
        let session = claims(token)?.sid.context("no session")?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push((session, now()));
        Ok(())
    }

    /// Everything that was written down: tokens, and ended sessions.
    pub(super) fn written(&self) -> (Vec<Token>, Vec<(String, Micros)>) {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        (tokens.clone(), ended.clone())
    }
}

/// What a token says.
pub(super) fn claims(text: &str) -> anyhow::Result<Claims> {
    let token = UnverifiedToken::read(text, ClaimsForm::default())
        .map_err(|refusal| anyhow!("not a token: {refusal}"))?;
    Ok(token.claims().clone())
}
