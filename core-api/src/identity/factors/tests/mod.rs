//! Second factors through the router. Time is the database's: the tests move the clock of the gate there, and make the codes of
//! that time.

mod authenticator;
mod enrolment;
mod log_in;
mod passkey_log_in;
mod passkey_step_up;
mod passkeys;
mod step_up;
mod upkeep;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use http::Method;
use keyring::{Algorithm, SigningKey};
use serde_json::{Value, json};
use service_runtime::clock::Clock;
use service_runtime::settings::Secret as SettingsSecret;

use super::totp::Secret;
use super::*;
use crate::tests::bank::{Answer, Customer, PASSWORD, TestBank, settings};
use crate::tests::store as db;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
const WRONG: &str = "000000";

/// A bank, somebody with an authenticator, and how far the clock was moved.
struct Story {
    bank: TestBank,
    alice: Customer,
    secret: Secret,
    recovery_codes: Vec<String>,
    moved_s: i64,
}

/// Reads base32, as an authenticator does.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for char in text.chars() {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(char).unwrap();
        held = (held << 5 | u32::try_from(value).unwrap()) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}

async fn begin(bank: &TestBank, customer: &Customer) -> Answer {
    bank.post("/api/v1/me/factors/totp")
        .by(customer)
        .json(&json!({"password": PASSWORD}))
        .send()
        .await
}

async fn confirm(bank: &TestBank, customer: &Customer, code: &str) -> Answer {
    bank.post("/api/v1/me/factors/totp/confirm")
        .by(customer)
        .json(&json!({"code": code}))
        .send()
        .await
}

async fn now_ms(bank: &TestBank) -> i64 {
    db::number(&bank.owner, "SELECT core.gate_time_ms()").await
}

/// What is in the middle of the trail, oldest first.
async fn trail(bank: &TestBank, actions: &str) -> Vec<String> {
    let sql = format!(
        "SELECT action || ' ' || outcome FROM core.audit_event WHERE action ~ '{actions}' ORDER BY audit_event_id"
    );
    db::texts(&bank.owner, &sql).await
}

fn claims(access: &str) -> Value {
    let payload = access.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

impl Story {
    async fn begin() -> Self {
        Self::at(TestBank::new().await).await
    }

    async fn at(bank: TestBank) -> Self {
        let alice = bank.customer("alice").await;
        let begun = begin(&bank, &alice).await;
        begun.assert_status(200);
        let secret = Secret::from_bytes(&decoded(&begun.text("secret"))).unwrap();
        let code = secret.code_at(now_ms(&bank).await);
        let confirmed = confirm(&bank, &alice, &code).await;
        confirmed.assert_status(200);
        let codes = confirmed.json["recovery_codes"].as_array().unwrap().iter();
        let recovery_codes = codes.map(|code| code.as_str().unwrap().to_owned()).collect();
        let mut story = Self {
            bank,
            alice,
            secret,
            recovery_codes,
            moved_s: 0,
        };
        // The code of the enrolment is used.
        story.wait(MINUTE).await;
        story
    }

    /// Lets time pass, by the clock of the gate.
    async fn wait(&mut self, seconds: i64) {
        self.moved_s += seconds;
        let sql = format!(
            "CREATE OR REPLACE FUNCTION core.gate_time() RETURNS timestamptz LANGUAGE sql VOLATILE
             SET search_path = pg_catalog, pg_temp AS 'SELECT clock_timestamp() + interval ''{} seconds'''",
            self.moved_s
        );
        db::execute(&self.bank.owner, &sql).await.unwrap();
    }

    /// The code of now.
    async fn code(&self) -> String {
        self.secret.code_at(now_ms(&self.bank).await)
    }

    /// The first step; gives the challenge.
    async fn challenge(&self) -> String {
        let answer = self.bank.login(&self.alice.email, PASSWORD).await;
        answer.assert_problem(401, "mfa-required");
        answer.text("challenge")
    }

    async fn second_step(&self, body: &Value) -> Answer {
        let path = "/api/v1/auth/login/factor";
        self.bank.post(path).json(body).send().await
    }

    async fn finish(&self, challenge: &str, code: &str) -> Answer {
        self.second_step(&json!({"challenge": challenge, "code": code}))
            .await
    }

    /// As many wrong codes as lock codes, five for each log-in.
    async fn lock_codes(&self) {
        for _ in 0..2 {
            let challenge = self.challenge().await;
            for _ in 0..5 {
                self.finish(&challenge, WRONG)
                    .await
                    .assert_problem(403, "wrong-code");
            }
        }
    }

    async fn recover(&self, challenge: &str, code: &str) -> Answer {
        let body = json!({"challenge": challenge, "recovery_code": code});
        self.second_step(&body).await
    }

    async fn log_in(&self) -> Customer {
        let (challenge, code) = (self.challenge().await, self.code().await);
        let answer = self.finish(&challenge, &code).await;
        answer.assert_status(200);
        Customer {
            email: self.alice.email.clone(),
            access: answer.text("access_token"),
            refresh: answer.text("refresh_token"),
        }
    }

    async fn step_up(&self, caller: &Customer, operation: &Value, code: &str) -> Answer {
        let mut body = operation.clone();
        body["code"] = json!(code);
        self.bank
            .post("/api/v1/me/step-up")
            .by(caller)
            .json(&body)
            .send()
            .await
    }

    /// A confirmation, and the time for the next code.
    async fn confirmed(&mut self, operation: &Value) -> String {
        let code = self.code().await;
        let answer = self.step_up(&self.alice, operation, &code).await;
        answer.assert_status(200);
        self.wait(MINUTE).await;
        answer.text("token")
    }

    async fn transfer(&self, order: &Value, key: &str, token: Option<&str>) -> Answer {
        let call = self.bank.post("/api/v1/transfers").by(&self.alice).key(key);
        let call = match token {
            Some(token) => call.header("x-step-up", token),
            None => call,
        };
        call.json(order).send().await
    }

    async fn change(&self, method: Method, path: &str, token: &str) -> Answer {
        let call = self.bank.call(method, &format!("/api/v1/me/factors/{path}"));
        call.by(&self.alice).header("x-step-up", token).send().await
    }

    async fn factors(&self) -> Answer {
        self.bank.get("/api/v1/me/factors").by(&self.alice).send().await
    }

    async fn mails(&self) -> Vec<String> {
        let sql =
            "SELECT kind FROM core.mail_job WHERE kind ~ 'factor|recovery' ORDER BY created_at, mail_job_id";
        db::texts(&self.bank.owner, sql).await
    }
}
