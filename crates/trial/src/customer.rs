//! The bank as its customers see it: HTTPS through the gateway, nothing else.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Certificate, ClientBuilder, Method, StatusCode, redirect};
use serde_json::{Value, json};
use tokio::time::{Instant, interval};
use uuid::Uuid;

use crate::Endpoints;
use crate::raw::RawDoor;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The gateway's public addresses, and a client that trusts its certificate.
#[derive(Debug, Clone)]
pub struct FrontDoor {
    client: reqwest::Client,
    raw: RawDoor,
    https: String,
    http: String,
}

/// What the bank answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, `null` where it is not JSON.
    pub body: Value,
}

impl Answer {
    /// The text of a member of the body, by JSON pointer.
    ///
    /// # Errors
    /// When it is not there.
    pub fn text(&self, pointer: &str) -> anyhow::Result<&str> {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.with_context(|| format!("no {pointer} in {} {}", self.status, self.body))
    }

    /// The answer itself, if it has this status.
    ///
    /// # Errors
    /// When it has another.
    pub fn expect(self, status: u16) -> anyhow::Result<Self> {
        ensure!(
            self.status.as_u16() == status,
            "expected {status}, got {} {}",
            self.status,
            self.body
        );
        Ok(self)
    }
}

/// The tokens of one session.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// The bearer token, short-lived.
    pub access: String,
    /// The token that buys the next pair, once.
    pub refresh: String,
}

/// Somebody with a session at the bank.
#[derive(Debug, Clone)]
pub struct Customer {
    door: FrontDoor,
    /// The address to log in with.
    pub email: String,
    /// The password to log in with.
    pub password: String,
    /// The tokens of the session.
    pub tokens: Tokens,
}

impl FrontDoor {
    /// Finds the front door of a running system.
    ///
    /// # Errors
    /// When the certificate authority's file cannot be read.
    pub fn of(endpoints: &Endpoints) -> anyhow::Result<Self> {
        Self::open(endpoints, client(&endpoints.ca_cert)?)
    }

    /// The same for somebody who calls from this address, one of this machine.
    ///
    /// # Errors
    /// When the certificate authority's file cannot be read.
    pub fn from_address(endpoints: &Endpoints, address: IpAddr) -> anyhow::Result<Self> {
        Self::open(endpoints, client(&endpoints.ca_cert)?.local_address(address))
    }

    /// The front door of one of several gateways, which all have this name.
    ///
    /// # Errors
    /// When the certificate authority's file cannot be read.
    pub fn at(name: &str, address: SocketAddr, authority: &Path) -> anyhow::Result<Self> {
        let place = format!("{name}:{}", address.port());
        Ok(Self {
            client: client(authority)?.resolve(name, address).build()?,
            raw: RawDoor::new(&read(authority)?, &format!("https://{place}"))?.at(address),
            https: format!("https://{place}"),
            http: format!("http://{name}"),
        })
    }

    fn open(endpoints: &Endpoints, client: ClientBuilder) -> anyhow::Result<Self> {
        let plain = |address: &String| address.trim_end_matches('/').to_owned();
        let https = plain(&endpoints.gateway_https);
        Ok(Self {
            client: client.build()?,
            raw: RawDoor::new(&read(&endpoints.ca_cert)?, &https)?,
            https,
            http: plain(&endpoints.gateway_http),
        })
    }

    /// Calls a path over HTTPS.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.https));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// Fetches a path over HTTPS, without credentials.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> reqwest::Result<Answer> {
        self.call(Method::GET, path, &[], None).await
    }

    /// Sends a body over HTTPS, without credentials.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Result<Answer> {
        self.call(Method::POST, path, &[], Some(body)).await
    }

    /// Calls a path over plain HTTP.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn call_in_clear(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::Result<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    /// Host and port of the HTTPS side, as a request names them.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.raw.authority()
    }

    /// Sends bytes over TLS as they are, and returns everything that is answered until the connection is closed.
    ///
    /// # Errors
    /// When nothing is answered, or the connection stays open.
    pub async fn send_raw(&self, bytes: &[u8]) -> anyhow::Result<String> {
        self.raw.send(bytes).await
    }

    /// Makes a TLS handshake that asks for a name; the inner error is what the server made of it.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn handshake(&self, name: &str) -> anyhow::Result<Result<(), String>> {
        self.raw.handshake(name).await
    }

    /// Registers somebody new and logs in.
    ///
    /// # Errors
    /// When the bank refuses either.
    pub async fn sign_up(&self) -> anyhow::Result<Customer> {
        let email = format!("{}@customers.example", Uuid::now_v7().simple());
        let password = "correct horse battery staple 9!".to_owned();
        let form = json!({"email": email, "password": password, "full_name": "Robin Example"});
        self.post("/api/v1/auth/register", &form).await?.expect(202)?;
        self.log_in(&email, &password).await
    }

    /// Logs in.
    ///
    /// # Errors
    /// When the bank refuses.
    pub async fn log_in(&self, email: &str, password: &str) -> anyhow::Result<Customer> {
        let form = json!({"email": email, "password": password});
        let answer = self.post("/api/v1/auth/login", &form).await?.expect(200)?;
        let tokens = Tokens {
            access: answer.text("/access_token")?.to_owned(),
            refresh: answer.text("/refresh_token")?.to_owned(),
        };
        Ok(Customer {
            door: self.clone(),
            email: email.to_owned(),
            password: password.to_owned(),
            tokens,
        })
    }
}

fn read(authority: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(authority).with_context(|| format!("certificate authority {}", authority.display()))
}

/// A client that trusts one certificate authority.
fn client(authority: &Path) -> anyhow::Result<ClientBuilder> {
    service_runtime::crypto::install_provider();
    Ok(reqwest::Client::builder()
        .tls_certs_only([Certificate::from_pem(&read(authority)?)?])
        .redirect(redirect::Policy::none())
        .timeout(CALL_TIMEOUT)
        .no_proxy())
}

async fn answer(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await?;
    Ok(Answer {
        status,
        headers,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    })
}

impl Customer {
    /// The same customer, in the same session, who comes in through another door.
    #[must_use]
    pub fn through(&self, door: &FrontDoor) -> Self {
        Self {
            door: door.clone(),
            ..self.clone()
        }
    }

    /// Fetches a path with this customer's token.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, path: &str) -> reqwest::Result<Answer> {
        let bearer = format!("Bearer {}", self.tokens.access);
        self.door
            .call(Method::GET, path, &[("authorization", &bearer)], None)
            .await
    }

    /// Sends a body with this customer's token, and an idempotency key if one is given.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> reqwest::Result<Answer> {
        let bearer = format!("Bearer {}", self.tokens.access);
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.door.call(Method::POST, path, &headers, Some(body)).await
    }

    /// Opens an account and puts money into it. Returns its id.
    ///
    /// # Errors
    /// When the bank refuses.
    pub async fn open_account(&self, currency: &str, amount: i64) -> anyhow::Result<String> {
        let form = json!({"product": "checking", "currency": currency});
        let account = self
            .post("/api/v1/accounts", None, &form)
            .await?
            .expect(201)?
            .text("/id")?
            .to_owned();
        if amount > 0 {
            let form = json!({"amount": amount, "currency": currency});
            let path = format!("/api/v1/accounts/{account}/deposits");
            self.post(&path, Some(&Uuid::now_v7().to_string()), &form)
                .await?
                .expect(201)?;
        }
        Ok(account)
    }

    /// Asks for one transfer, once.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn transfer(
        &self,
        (from, to): (&str, &str),
        (amount, currency): (i64, &str),
        key: &str,
    ) -> reqwest::Result<Answer> {
        let form =
            json!({"from_account_id": from, "to_account_id": to, "amount": amount, "currency": currency});
        self.post("/api/v1/transfers", Some(key), &form).await
    }

    /// Asks for one transfer until the bank gives a final answer: the same request with the same key, as an honest
    /// client repeats it when the connection breaks or the bank is busy.
    ///
    /// # Errors
    /// When there is no final answer within a minute.
    pub async fn transfer_for_sure(
        &self,
        accounts: (&str, &str),
        money: (i64, &str),
        key: &str,
    ) -> anyhow::Result<Answer> {
        let started = Instant::now();
        let mut tick = interval(Duration::from_millis(50));
        while started.elapsed() < Duration::from_secs(60) {
            tick.tick().await;
            let Ok(answer) = self.transfer(accounts, money, key).await else {
                continue;
            };
            let in_progress = answer.status == StatusCode::CONFLICT;
            if !answer.status.is_server_error() && !in_progress {
                return Ok(answer);
            }
        }
        bail!("no final answer to transfer {key} within a minute")
    }

    /// What an account holds, in minor units: posted.
    ///
    /// # Errors
    /// When the bank refuses to say.
    pub async fn balance(&self, account: &str) -> anyhow::Result<i64> {
        let answer = self
            .get(&format!("/api/v1/accounts/{account}"))
            .await?
            .expect(200)?;
        answer
            .body
            .pointer("/balance/posted")
            .and_then(Value::as_i64)
            .context("no balance")
    }
}
