//! Customers who log in and out, and clients that show tokens of every age at every gateway.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::clock::now;
use super::evidence::{LogIn, Request, Target};
use super::pool::{Live, Pool};
use crate::edge::{Answer, Connection, Door, HOST};

/// Of so many requests one goes on to the core.
const TO_CORE: usize = 20;
/// Of so many sessions one is ended by its customer.
const TO_LOG_OUT: usize = 25;
/// The problems that are told apart; any other is `other`.
const CODES: [&str; 7] = [
    "unauthenticated",
    "session-ended",
    "unavailable",
    "upstream-unavailable",
    "upstream-timeout",
    "reduced-capacity",
    "forbidden",
];

/// A client of one gateway.
pub(super) struct Client {
    /// Number of the gateway in the evidence.
    gateway: usize,
    /// The way in.
    door: Door,
    /// Where tokens come from and go to.
    pool: Arc<Pool>,
    /// Whether every request has a connection of its own.
    reconnects: bool,
    open: Option<Connection>,
}

/// Requests at their moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    /// The first.
    pub(super) first: Instant,
    /// Between two.
    pub(super) period: Duration,
}

impl Client {
    /// A client that keeps its connection.
    pub(super) const fn new(gateway: usize, door: Door, pool: Arc<Pool>) -> Self {
        Self {
            gateway,
            door,
            pool,
            reconnects: false,
            open: None,
        }
    }

    /// A client with a connection for every request.
    pub(super) fn that_reconnects(self) -> Self {
        Self {
            reconnects: true,
            ..self
        }
    }

    /// Shows tokens until it is told to stop; what became of each request.
    pub(super) async fn verify(mut self, beat: Beat, seed: usize, stop: CancellationToken) -> Vec<Request> {
        let mut seen = Vec::new();
        let mut number = seed;
        let mut due = interval_at(beat.first, beat.period);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return seen,
                _ = due.tick() => {}
            }
            // Knuth's multiplier: ages are mixed, and the run can be repeated.
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let Some(live) = self.pool.pick(number >> 33) else {
                continue;
            };
            let target = match seen.len() % TO_CORE {
                0 => Target::Core,
                _ => Target::Gateway,
            };
            seen.push(self.show(&live, target).await);
        }
    }

    /// Shows a token, and says what became of it.
    pub(super) async fn show(&mut self, live: &Live, target: Target) -> Request {
        let path = match target {
            Target::Gateway => "/fast",
            Target::Core => "/api/v1/me",
        };
        let text = &live.text;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {text}\r\n\r\n");
        let sent = now();
        let answer = self.send(&request).await;
        let received = now();
        let (status, code) = answer.map_or((0, "no answer"), |answer| (answer.status, code(&answer)));
        Request {
            token: live.place,
            gateway: self.gateway,
            target,
            sent,
            received,
            status,
            code,
        }
    }

    async fn send(&mut self, request: &str) -> anyhow::Result<Answer> {
        let mut connection = match self.open.take() {
            Some(connection) if !self.reconnects => connection,
            _ => self.door.connect(0).await?,
        };
        let answer = connection.send(request).await?;
        if !answer.closes {
            self.open = Some(connection);
        }
        Ok(answer)
    }

    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let body = body.to_string();
        let length = body.len();
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    /// Makes a customer.
    pub(super) async fn register(&mut self, customer: &str) -> anyhow::Result<()> {
        let body = json!({ "email": email(customer), "password": PASSWORD, "full_name": "Ada Byron" });
        let answer = self.post("/api/v1/auth/register", &body).await?;
        ensure!(answer.status == 202, "registration: {}", answer.text);
        Ok(())
    }

    /// Logs this customer in again and again until it is told to stop; what became of each log-in.
    pub(super) async fn log_in(
        mut self,
        customer: String,
        beat: Beat,
        stop: CancellationToken,
    ) -> Vec<LogIn> {
        let mut seen = Vec::new();
        let mut due = interval_at(beat.first, beat.period);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 1_usize.. {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = due.tick() => {}
            }
            let sent = now();
            let status = self.log_in_once(&customer, number).await.unwrap_or(0);
            seen.push(LogIn { sent, status });
        }
        seen
    }

    async fn log_in_once(&mut self, customer: &str, number: usize) -> anyhow::Result<u16> {
        let body = json!({ "email": email(customer), "password": PASSWORD });
        let answer = self.post("/api/v1/auth/login", &body).await?;
        if answer.status != 200 {
            return Ok(answer.status);
        }
        let pair: Value = serde_json::from_str(body_of(&answer)).context("the answer to a log-in")?;
        let access = pair
            .get("access_token")
            .and_then(Value::as_str)
            .context("no token")?;
        let live = self.pool.issued(access)?;
        if number.is_multiple_of(TO_LOG_OUT) {
            self.pool.ends_session(&live.text)?;
            let text = &live.text;
            let request = format!(
                "POST /api/v1/auth/logout HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {text}\r\nContent-Length: 0\r\n\r\n"
            );
            self.send(&request).await?;
        }
        Ok(200)
    }
}

const PASSWORD: &str = "correct horse battery staple";

fn email(customer: &str) -> String {
    format!("{customer}@example.com")
}

fn body_of(answer: &Answer) -> &str {
    answer.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// The slug of a problem document.
fn code(answer: &Answer) -> &'static str {
    if answer.status < 400 {
        return "";
    }
    let body = body_of(answer);
    let is_named = |code: &&&str| body.contains(&format!(":{code}\""));
    CODES.iter().find(is_named).map_or("other", |code| code)
}
