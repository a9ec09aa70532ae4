//! Swagger UI in a real browser: Debian's Chromium, driven over the WebDriver protocol (W3C).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn swagger_ui_works_under_its_policy_and_tries_out_the_running_gateway() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let browser = Browser::open(stage.path()).await;
    browser
        .go(&format!("{}/docs", system.endpoints().gateway_https))
        .await;

    let operations = browser
        .until("return document.querySelectorAll('.opblock').length")
        .await;
    assert!(operations.as_u64().unwrap() >= 14, "{operations} operations");
    let title = browser
        .run("return document.querySelector('.info .title').innerText")
        .await;
    assert!(title.as_str().unwrap().contains("Portico"), "{title}");

    // Log in as a developer does: the Authorize dialogue, the token, then “execute”.
    browser
        .until("const b = document.querySelector('button.authorize'); if (b) b.click(); return !!b")
        .await;
    browser
        .until("return !!document.querySelector('.auth-container input')")
        .await;
    let typed = "const i = document.querySelector('.auth-container input');\
                 Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(i, arguments[0]);\
                 i.dispatchEvent(new Event('input', {bubbles: true}));\
                 document.querySelector('.auth-btn-wrapper .authorize').click();\
                 document.querySelector('.auth-btn-wrapper .btn-done').click(); return true";
    browser.run_with(typed, &[json!(customer.tokens.access)]).await;
    let of_me = "[...document.querySelectorAll('.opblock-get')].find(o => o.querySelector('.opblock-summary-path').dataset.path === '/api/v1/me')";
    let click =
        |find: &str| format!("const b = {of_me}?.querySelector('{find}'); if (b) b.click(); return !!b");
    browser.until(&click(".opblock-summary-control")).await;
    // The button is there before the operation behind it: a program can be too fast for the page.
    let is_known = "return !!ui.specSelectors.specResolvedSubtree(['paths', '/api/v1/me', 'get'])";
    browser.until(is_known).await;
    browser.until(&click(".execute")).await;
    let answered = format!(
        "return {of_me}.querySelector('.live-responses-table tbody .response-col_status')?.innerText"
    );
    let status = browser.until(&answered).await;
    assert!(status.as_str().unwrap().starts_with("200"), "{status}");
    let body = browser
        .run(&format!(
            "return {of_me}.querySelector('.live-responses-table tbody .response-col_description').innerText"
        ))
        .await;
    assert!(body.as_str().unwrap().contains(&customer.email), "{body}");

    let complaints = browser.complaints().await;
    assert_eq!(complaints, Vec::<String>::new(), "the browser complains");
    browser.screenshot("swagger-ui.png").await;
    drop(browser);
    system.stop().await.unwrap();
}

/// A headless Chromium with an empty profile.
struct Browser {
    driver: Child,
    client: reqwest::Client,
    session: String,
}

impl Browser {
    async fn open(folder: &Path) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver is installed: `make test` does that");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines
                .next_line()
                .await
                .unwrap()
                .expect("chromedriver says its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .unwrap();
        let profile = folder.join("chromium").display().to_string();
        let options = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,1600",
                format!("--user-data-dir={profile}")]},
        }}});
        let base = format!("http://127.0.0.1:{port}/session");
        let answer: Value = client
            .post(&base)
            .json(&options)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let id = answer["value"]["sessionId"]
            .as_str()
            .unwrap_or_else(|| panic!("no session: {answer}"));
        let session = format!("{base}/{id}");
        Self {
            driver,
            client,
            session,
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/{path}", self.session);
        let answer: Value = self
            .client
            .post(url)
            .json(body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert!(answer["value"].get("error").is_none(), "{path} {body}: {answer}");
        answer["value"].clone()
    }

    async fn go(&self, url: &str) {
        self.post("url", &json!({"url": url})).await;
    }

    async fn run(&self, script: &str) -> Value {
        self.run_with(script, &[]).await
    }

    async fn run_with(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": arguments}))
            .await
    }

    /// Runs a script until it returns something: not null, not false, not zero.
    async fn until(&self, script: &str) -> Value {
        let wait = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tick.tick().await;
                let value = self.run(script).await;
                if !(value.is_null() || value == false || value == 0) {
                    return value;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), wait).await;
        let Ok(found) = found else {
            panic!(
                "in vain: {script}; the browser complains: {:?}",
                self.complaints().await
            );
        };
        found
    }

    /// What the browser's console calls severe: blocked by the policy, not found, an exception.
    async fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({"type": "browser"})).await;
        let severe = log
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["level"] == "SEVERE");
        severe
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Keeps what the browser shows, for a person to look at.
    async fn screenshot(&self, name: &str) {
        let url = format!("{}/screenshot", self.session);
        let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        let png = STANDARD.decode(answer["value"].as_str().unwrap()).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(folder.join(name), png).unwrap();
    }
}

impl Drop for Browser {
    /// A test that panics must not leave a browser behind, and killing the driver alone would.
    fn drop(&mut self) {
        let address_and_path = self.session.trim_start_matches("http://");
        if let Some((address, path)) = address_and_path.split_once('/')
            && let Ok(mut driver) = TcpStream::connect(address)
        {
            // The answer means that the browser is gone; the driver keeps the connection open after it.
            drop(driver.set_read_timeout(Some(Duration::from_secs(10))));
            let request = format!("DELETE /{path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
            drop(driver.write_all(request.as_bytes()));
            drop(driver.read(&mut [0; 512]));
        }
        drop(self.driver.start_kill());
    }
}
