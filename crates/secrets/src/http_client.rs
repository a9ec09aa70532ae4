//! The client that asks providers: https with a bounded answer, deadlines, no proxy, no redirect, and a second try.

use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use reqwest::redirect::Policy;
use reqwest::{Client, Request, Response};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::Fault;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one answer may take, whole.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const LONGEST: usize = 1 << 20;
/// How often a question is asked that was not answered, or answered with “later”.
const TRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a provider answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// The answer as JSON.
    pub(crate) fn json(&self) -> Result<Value, Fault> {
        // The parser's message may repeat what it read.
        serde_json::from_slice(&self.body)
            .map_err(|_| Fault::Malformed(format!("the answer ({}) is no JSON", self.status.as_u16())))
    }
}

/// Asks one provider.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    client: Client,
}

impl HttpClient {
    /// A client that speaks https only, and trusts `ca_file` alone where one is given.
    pub(crate) fn https(ca_file: Option<&Path>) -> Result<Self, Fault> {
        let mut builder = builder().https_only(true);
        if let Some(file) = ca_file {
            let malformed =
                |error: &dyn std::fmt::Display| Fault::Malformed(format!("{}: {error}", file.display()));
            let pem = std::fs::read(file).map_err(|error| malformed(&error))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| malformed(&error))?;
            if roots.is_empty() {
                return Err(malformed(&"holds no certificate"));
            }
            builder = builder.tls_certs_only(roots);
        }
        Self::build(builder)
    }

    /// A client for the metadata of the machine or container, which is on a link of its own and speaks http.
    pub(crate) fn link_local() -> Result<Self, Fault> {
        Self::build(builder().tls_certs_only([]))
    }

    fn build(builder: reqwest::ClientBuilder) -> Result<Self, Fault> {
        let client = builder.build().map_err(|error| {
            Fault::Unconfigured(format!("the https client cannot be made: {}", chain(&error)))
        })?;
        Ok(Self { client })
    }

    pub(crate) fn request(&self, method: http::Method, url: &str) -> reqwest::RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request that may be repeated, and repeats it a few times while nobody answers, or 429 or 5xx comes.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, Fault> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            let again = request
                .try_clone()
                .ok_or_else(|| Fault::Malformed("the request has no body that can be repeated".to_owned()))?;
            let (fault, asked_to_wait) = match self.client.execute(again).await {
                Ok(response) => {
                    let status = response.status();
                    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
                        let wait = retry_after(&response);
                        (Fault::Unavailable(format!("answers {status}")), wait)
                    } else {
                        match whole(response).await {
                            Err(fault) if fault.is_transient() => (fault, None),
                            answered => return answered,
                        }
                    }
                }
                Err(error) => (Fault::Unavailable(chain(&error.without_url())), None),
            };
            if tries >= TRIES {
                return Err(fault);
            }
            tries = tries.saturating_add(1);
            back_off(asked_to_wait.unwrap_or(pause).min(LONGEST_PAUSE)).await;
            pause = pause.saturating_mul(2);
        }
    }
}

fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .no_proxy()
        // Questions are rare, and the first ones are asked on a runtime that ends when the settings are read.
        .pool_max_idle_per_host(0)
}

async fn whole(mut response: Response) -> Result<Answer, Fault> {
    let status = response.status();
    let mut body = Zeroizing::new(Vec::new());
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) <= LONGEST => {
                body.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => {
                return Err(Fault::Malformed(format!(
                    "answers with more than {LONGEST} bytes"
                )));
            }
            Ok(None) => return Ok(Answer { status, body }),
            Err(error) => return Err(Fault::Unavailable(chain(&error.without_url()))),
        }
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(http::header::RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Waits between half of `pause` and all of it: those who failed together do not come back together.
async fn back_off(pause: Duration) {
    let half = pause / 2;
    let spread = u64::try_from(half.as_millis()).unwrap_or(0).max(1);
    let random = getrandom::u64().unwrap_or(0).checked_rem(spread).unwrap_or(0);
    #[expect(clippy::disallowed_methods, reason = "a back-off between tries")]
    tokio::time::sleep(half.saturating_add(Duration::from_millis(random))).await;
}

/// An error with its causes: reqwest's own text says only which request failed.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
