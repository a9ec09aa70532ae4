//! Tokens with names of keys that nobody has ever heard of, as many as a gateway takes, and who is asked because of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use keyring::{Algorithm, Claims, SigningKey, UnsignedToken};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use uuid::Uuid;

use super::clock::now;
use super::evidence::SECOND;
use super::foreign::ISSUER;
use super::pool::claims;
use super::run::Run;
use crate::edge::{Connection, Door, HOST, eventually};

/// The gateway that is shown them.
const GATEWAY: usize = 0;
/// Connections that carry them.
const CONNECTIONS: u32 = 24;
/// A process may ask once in so many seconds (T-K6: 0.2/s).
const SECONDS_FOR_EACH: u64 = 5;
/// Routes for tokens of Portico and of another issuer.
const ROUTES: [&str; 2] = ["/fast", "/partner"];

/// What came of a storm.
#[derive(Debug, Clone, Default)]
pub struct Storm {
    /// Answers by status.
    pub answers: BTreeMap<u16, usize>,
    /// How long it lasted.
    pub lasted: Duration,
    /// How often the gateway asked the other issuer for its keys.
    pub asked_issuer: usize,
    /// How often it turned to the control plane.
    pub asked_control_plane: usize,
}

impl Storm {
    /// Tokens that were shown.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.answers.values().sum()
    }

    /// What is wrong with it.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let may = self.lasted.as_secs().div_ceil(SECONDS_FOR_EACH).max(1);
        let asked = [
            ("another issuer", self.asked_issuer),
            ("the control plane", self.asked_control_plane),
        ];
        let mut faults: Vec<String> = asked
            .iter()
            .filter(|(_, times)| u64::try_from(*times).is_ok_and(|times| times > may))
            .map(|(whom, times)| {
                let tokens = self.tokens();
                format!(
                    "T-K6: {tokens} tokens of unknown keys made a gateway ask {whom} {times} times, of {may}"
                )
            })
            .collect();
        // Such a token is refused, or its key may be new and is being asked for.
        let wrong = self
            .answers
            .iter()
            .filter(|(status, _)| !matches!(**status, 401 | 503));
        faults.extend(
            wrong.map(|(status, count)| format!("{count} tokens of unknown keys were answered {status}")),
        );
        if !self.answers.contains_key(&401) {
            faults.push("no token of an unknown key was refused".to_owned());
        }
        faults
    }
}

impl Run {
    /// Shows so many tokens a second, as far as they go, for so long; half of them as tokens of another issuer.
    pub(super) async fn storm(&mut self, rate: u32, time: Duration) -> anyhow::Result<String> {
        let model = claims(&self.a_live_token()?)?;
        let partner = Claims {
            iss: ISSUER.to_owned(),
            ..model.clone()
        };
        let door = self.stage.door(GATEWAY)?;
        self.partner_is_known(&door, &partner).await?;
        let before = self.asked().await?;
        let (started, period) = (Instant::now(), Duration::from_secs(1) * CONNECTIONS / rate.max(1));
        let mut clients = JoinSet::new();
        for number in 0..CONNECTIONS {
            let stranger = Stranger {
                key: SigningKey::generate(Algorithm::EdDSA)?,
                claims: [model.clone(), partner.clone()],
                connection: door.connect(0).await?,
                door: door.clone(),
            };
            let first = started + period * number / CONNECTIONS;
            clients.spawn(stranger.show(first, period, started + time));
        }
        let mut storm = Storm::default();
        while let Some(ended) = clients.join_next().await {
            for (status, count) in ended?? {
                *storm.answers.entry(status).or_default() += count;
            }
        }
        storm.lasted = started.elapsed();
        let after = self.asked().await?;
        storm.asked_issuer = after.0 - before.0;
        storm.asked_control_plane = after.1.saturating_sub(before.1);
        let said = format!("{} tokens of unknown keys were shown", storm.tokens());
        self.storms.push(storm);
        Ok(said)
    }

    /// Who counts what is asked does count: every gateway asked when it started.
    async fn asked(&self) -> anyhow::Result<(usize, usize)> {
        let asked = (self.stage.foreign.asked(), self.stage.dialled().await?);
        ensure!(asked.0 > 0 && asked.1 > 0, "nobody has ever asked: {asked:?}");
        Ok(asked)
    }

    /// The other issuer's tokens are good at this gateway, so that what is refused is refused for its key.
    async fn partner_is_known(&self, door: &Door, claims: &Claims) -> anyhow::Result<()> {
        let lives = Claims {
            exp: now() / SECOND + 30,
            iat: now() / SECOND,
            ..claims.clone()
        };
        let token = self.stage.foreign.token(&lives)?;
        let mut connection = door.connect(0).await?;
        let mut last = 0;
        eventually("the keys of the other issuer are known", async || {
            last = ask(&mut connection, ROUTES[1], &token).await.unwrap_or(0);
            last == 200
        })
        .await
        .with_context(|| format!("the answer was {last}"))
    }
}

/// Whoever makes up keys.
struct Stranger {
    key: SigningKey,
    claims: [Claims; 2],
    connection: Connection,
    door: Door,
}

impl Stranger {
    async fn show(
        mut self,
        first: Instant,
        period: Duration,
        until: Instant,
    ) -> anyhow::Result<BTreeMap<u16, usize>> {
        let mut answers: BTreeMap<u16, usize> = BTreeMap::new();
        let mut due = interval_at(first, period);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for (route, claims) in ROUTES.into_iter().zip(self.claims.clone()).cycle() {
            due.tick().await;
            if Instant::now() >= until {
                break;
            }
            let kid = Uuid::new_v4().simple().to_string();
            let token = UnsignedToken::new(Algorithm::EdDSA, &kid, &claims)?;
            let signature = self.key.sign_bytes(token.bytes())?;
            let status = match ask(&mut self.connection, route, &token.signed(&signature)).await {
                Ok(status) => status,
                Err(_) => {
                    self.connection = self.door.connect(0).await?;
                    0
                }
            };
            *answers.entry(status).or_default() += 1;
        }
        Ok(answers)
    }
}

async fn ask(connection: &mut Connection, path: &str, token: &str) -> anyhow::Result<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n\r\n");
    Ok(connection.send(&request).await?.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storm(answers: &[(u16, usize)], asked: (usize, usize)) -> Vec<String> {
        let storm = Storm {
            answers: answers.iter().copied().collect(),
            lasted: Duration::from_millis(20_050),
            asked_issuer: asked.0,
            asked_control_plane: asked.1,
        };
        storm.faults()
    }

    #[test]
    fn t_k6_one_question_in_five_seconds_is_the_bound_and_no_token_is_good() {
        let refused = [(401, 190_000), (503, 12)];
        assert_eq!(storm(&refused, (4, 4)), Vec::<String>::new());
        for (answers, asked, says) in [
            (refused.as_slice(), (5, 0), "another issuer 5 times, of 4"),
            (&refused, (0, 5), "the control plane 5 times, of 4"),
            (
                &[(401, 9), (200, 1)],
                (0, 0),
                "1 tokens of unknown keys were answered 200",
            ),
            (&[(401, 9), (0, 1)], (0, 0), "were answered 0"),
            (&[(503, 9)], (0, 0), "no token of an unknown key was refused"),
        ] {
            let faults = storm(answers, asked);
            assert!(faults.len() == 1 && faults[0].contains(says), "{faults:?}");
        }
    }
}
