//! One line for every request, with what operators need and nothing that is secret.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing_subscriber::fmt::MakeWriter;

use gateway::settings::PersonalData;

use crate::gateway_process::{GatewayProcess, POLICY, eventually};
use crate::sockets::held;

/// Everything that was logged in this process.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Log {
    pub(crate) fn capture() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let subscriber = tracing_subscriber::fmt()
                .json()
                .with_max_level(tracing::Level::INFO);
            subscriber.with_writer(log.clone()).init();
            log
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The fields of the access line of one request.
    pub(crate) fn line(&self, request_id: &str) -> Option<Value> {
        let mut lines = self
            .text()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .into_iter();
        let found = lines.find(|line| line.contains(request_id) && line.contains(r#""target":"access""#))?;
        Some(serde_json::from_str::<Value>(&found).unwrap()["fields"].clone())
    }

    pub(crate) async fn line_of(&self, answer: &reqwest::Response) -> Value {
        let id = answer.headers()["x-request-id"].to_str().unwrap();
        eventually("the line is written", || async { self.line(id).is_some() }).await;
        self.line(id).unwrap()
    }
}

#[tokio::test]
async fn a_line_says_who_what_where_and_which_rule_decided() {
    let log = Log::capture();
    let gateway = GatewayProcess::start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = gateway
        .client()
        .get(gateway.url("/api/v1/me?x=1"))
        .bearer_auth(gateway.keys.token());
    let line = log
        .line_of(&request.header("traceparent", trace).send().await.unwrap())
        .await;

    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&json!("GET"), &json!("/api/v1/me"), &json!(200))
    );
    assert_eq!(
        (&line["route"], &line["decision"], &line["subject"]),
        (&json!("show_me"), &json!("permit"), &json!("usr_alice"))
    );
    assert!(line["rule"].as_str().unwrap().starts_with("base.yaml:"), "{line}");
    assert!(
        line["duration_us"].as_u64().unwrap() >= line["upstream_us"].as_u64().unwrap(),
        "{line}"
    );
    let time = |name: &str| line[name].as_u64();
    assert!(time("connect_us").is_some(), "{line}");
    assert!(time("evaluate_us") < time("duration_us"), "{line}");
    assert!(time("connect_us") <= time("upstream_us"), "{line}");
    assert_eq!(time("store_us"), None, "no shared limit: {line}");
    assert_eq!(line["sent_bytes"], r#"{"from":"core"}"#.len());
    assert_eq!(
        (&line["upstream"], &line["attempts"]),
        (&json!("unix:core.sock"), &json!(1))
    );

    let line = log.line_of(&gateway.get("/api/v1/me").await).await;
    assert_eq!(
        (&line["status"], &line["decision"], &line["reason"]),
        (&json!(401), &json!("deny"), &json!("missing"))
    );
    assert_eq!(
        (line.get("upstream"), line.get("attempts")),
        (None, None),
        "{line}"
    );
    assert!(
        line["rule"].as_str().unwrap().ends_with("routes.show_me.auth"),
        "{line}"
    );
}

/// What an operator wants reduced is in no line, whoever refused: neither the address, nor an id in the path, nor a name.
#[tokio::test]
async fn reduced_personal_data_are_networks_and_templates() {
    let log = Log::capture();
    let gateway = GatewayProcess::with(POLICY, |settings| {
        settings.access_log.personal_data = PersonalData::Reduced;
    })
    .await;
    let get = |path: &str| {
        gateway
            .client()
            .get(gateway.url(path))
            .bearer_auth(gateway.keys.token())
    };
    let served = log
        .line_of(&get("/api/v1/rates/alice-bob").send().await.unwrap())
        .await;
    let own = log.line_of(&get("/api/v1/me").send().await.unwrap()).await;
    let unknown = log.line_of(&get("/api/v1/of/alice").send().await.unwrap()).await;
    let mut malformed = gateway.raw_tls().await;
    malformed
        .write_all(b"GET /api/v1/alice HTTP/1.1\r\nhost : localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    malformed.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    let id = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "))
        .unwrap();
    eventually("the line is written", || async { log.line(id).is_some() }).await;
    let refused = log.line(id).unwrap();

    assert_eq!(served["path"], "/api/v1/rates/{pair}");
    assert_eq!((&own["path"], own.get("subject")), (&json!("/api/v1/me"), None));
    assert_eq!((unknown.get("path"), &unknown["status"]), (None, &json!(404)));
    assert_eq!(refused["decision"], "refused");
    for line in [&served, &own, &unknown, &refused] {
        assert_eq!(line["client"], "127.0.0.0/24", "{line}");
        let text = line.to_string();
        assert!(!text.contains("alice") && !text.contains("127.0.0.1"), "{text}");
    }
}

/// Both borders of a phase are in the line: what a client or a service lets pass shows in its phase and in no other.
#[tokio::test]
async fn each_phase_of_a_request_is_timed_by_itself() {
    let log = Log::capture();
    let gateway = GatewayProcess::start().await;
    let counted = |phase: &str| format!(r#"portico_phase_duration_seconds_count{{phase="{phase}"}}"#);
    let (heads, connections) = (
        gateway.metric(&counted("head")).await.unwrap_or(0),
        gateway.metric(&counted("connect")).await.unwrap_or(0),
    );
    let mut client = gateway.raw_tls().await;
    let gate = gateway.core.hold();
    let began = std::time::Instant::now();
    client
        .write_all(b"GET /api/v1/rates/eur-usd HTTP/1.1\r\nhost: ")
        .await
        .unwrap();
    // Some time passes in the middle of the head: as long as another whole exchange takes, and until it was read so far.
    gateway.get("/health/live").await;
    let (ours, theirs) = {
        let (socket, _) = client.get_ref();
        (
            socket.local_addr().unwrap().port(),
            socket.peer_addr().unwrap().port(),
        )
    };
    eventually("the beginning is read", || async {
        let is_there = held(ours, theirs).is_some_and(|held| held.sent == 0);
        is_there && held(theirs, ours).is_some_and(|held| held.unread == 0)
    })
    .await;
    let passed = began.elapsed();
    client
        .write_all(
            b"localhost\r\nx-request-id: 01890a5d-ac96-774b-bcce-b302099a8057\r\nconnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    gateway.core.arrival().await;
    let held = std::time::Instant::now();
    gateway.get("/health/live").await;
    let held = held.elapsed();
    gate.add_permits(1);
    client.read_to_end(&mut Vec::new()).await.unwrap();
    eventually("the line is written", || async {
        log.line("01890a5d-ac96-774b-bcce-b302099a8057").is_some()
    })
    .await;
    let line = log.line("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
    let time = |name: &str| std::time::Duration::from_micros(line[name].as_u64().unwrap());
    assert!(time("upstream_us") >= held, "{held:?}: {line}");
    assert!(time("duration_us") >= time("upstream_us"), "{line}");
    assert!(
        time("evaluate_us") + time("connect_us") <= time("duration_us"),
        "{line}"
    );
    assert!(
        time("head_us") > std::time::Duration::ZERO && time("head_us") <= began.elapsed(),
        "{passed:?}: {line}"
    );
    assert!(gateway.metric(&counted("head")).await.unwrap() > heads);
    assert!(gateway.metric(&counted("connect")).await.unwrap() > connections);
    assert!(gateway.metric(&counted("evaluate")).await.unwrap() > 0);
}

#[tokio::test]
async fn redirects_and_preflights_name_their_rule_too() {
    let log = Log::capture();
    let gateway = GatewayProcess::start().await;
    let preflight = gateway
        .client()
        .request(http::Method::OPTIONS, gateway.url("/api/v1/transfers"))
        .header("origin", "https://app.bank.example")
        .header("access-control-request-method", "POST");
    let in_clear = gateway
        .client()
        .get(format!("http://localhost:{}/api/v1/me", gateway.http.port()));
    for (request, status, rule) in [
        (preflight, 204, " cors.web"),
        (in_clear, 308, " listeners.public.http"),
    ] {
        let line = log.line_of(&request.send().await.unwrap()).await;
        assert_eq!(
            (&line["decision"], &line["status"]),
            (&json!("answer"), &json!(status))
        );
        assert!(line["rule"].as_str().unwrap().ends_with(rule), "{line}");
    }
}

#[tokio::test]
async fn a_body_that_is_refused_while_it_is_read_names_its_rule() {
    let log = Log::capture();
    let gateway = GatewayProcess::start().await;
    let chunks = || futures::stream::iter([Ok::<_, io::Error>(vec![b' '; 5_000])]);
    for (target, decision, rule) in [
        ("/api/v1/auth/login", "deny", " routes.log_in.limits.body"),
        (
            "/api/v1/transfers",
            "permit",
            " routes.create_transfer.limits.body",
        ),
    ] {
        let request = gateway.client().post(gateway.url(target));
        let request = request.bearer_auth(gateway.keys.token());
        let streamed = request.body(reqwest::Body::wrap_stream(chunks()));
        let line = log.line_of(&streamed.send().await.unwrap()).await;
        assert_eq!(
            (&line["decision"], &line["status"]),
            (&json!(decision), &json!(413)),
            "{line}"
        );
        assert!(line["rule"].as_str().unwrap().ends_with(rule), "{line}");
    }
    let slow = "POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    let answer = gateway.raw(slow.as_bytes()).await;
    answer.assert_refused(408, "a body that does not come");
    let found = answer
        .0
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    let id = found.unwrap();
    eventually("the line is written", || async { log.line(id).is_some() }).await;
    let line = log.line(id).unwrap();
    assert!(
        line["rule"].as_str().unwrap().ends_with(" floor.timeouts.body"),
        "{line}"
    );
}

#[tokio::test]
async fn requests_that_die_early_have_a_line_too() {
    let log = Log::capture();
    let gateway = GatewayProcess::start().await;
    let answer = gateway.raw(b"GET / HTTP/1.1\nHost: localhost\n\n").await;
    let id = answer
        .0
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "))
        .unwrap();
    let line = log.line(id).unwrap();
    assert_eq!(
        (&line["status"], &line["rule"], &line["decision"]),
        (&json!(400), &json!("FR-4"), &json!("refused"))
    );
}

#[tokio::test]
async fn every_line_names_the_bundle_that_decided() {
    let log = Log::capture();
    let gateway = GatewayProcess::start().await;
    let metrics = gateway.private_text("/metrics").await;
    let decided = log.line_of(&gateway.get("/api/v1/me").await).await;
    let died = gateway.raw(b"GET / HTTP/1.1\nHost: localhost\n\n").await;
    let id = died
        .0
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "));
    let died = log.line(id.unwrap()).unwrap();
    for line in [decided, died] {
        let bundle = line["bundle"].as_str().unwrap();
        assert_eq!(bundle.len(), 12, "{line}");
        assert!(
            metrics.contains(&format!("portico_policy_info{{hash=\"{bundle}")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn every_access_line_has_both_ids() {
    let log = Log::capture();
    let mut gateway = GatewayProcess::start().await;
    let mut answers = vec![
        gateway.get("/api/v1/rates/eur-usd").await,
        gateway.get("/api/v1/me").await,
        gateway.get("/health/live").await,
    ];
    gateway.core.kill();
    answers.push(gateway.get("/api/v1/rates/eur-usd").await);
    for answer in answers {
        let call = answer.headers()["traceresponse"].to_str().unwrap().to_owned();
        let line = log.line_of(&answer).await;
        assert_eq!(line["trace_id"].as_str(), call.split('-').nth(1), "{line}");
    }
    let refused = gateway.raw(b"GET / HTTP/1.1\nHost: localhost\n\n").await;
    let field = |name: &str| {
        let found = refused.0.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap().to_owned()
    };
    let line = log.line(&field("x-request-id: ")).unwrap();
    assert_eq!(
        line["trace_id"].as_str(),
        field("traceresponse: ").split('-').nth(1),
        "{line}"
    );
}

#[tokio::test]
async fn nothing_secret_is_in_any_line() {
    let log = Log::capture();
    let gateway = GatewayProcess::start().await;
    let body = json!({"email": "canary@bank.example", "password": "canary-password"});
    let request = gateway
        .client()
        .post(gateway.url("/api/v1/auth/login?code=canary-query"))
        .json(&body);
    let answer = request
        .header("cookie", "session=canary-cookie")
        .send()
        .await
        .unwrap();
    log.line_of(&answer).await;
    let token = gateway.keys.token();
    log.line_of(&gateway.get_with("/api/v1/me", &token).await).await;
    log.line_of(&gateway.get_with("/api/v1/me", &format!("{token}canary")).await)
        .await;

    let text = log.text();
    assert!(!text.contains("canary"), "{text}");
    assert!(
        !text.contains(token.split('.').next_back().unwrap()),
        "a signature is in the log"
    );
}
