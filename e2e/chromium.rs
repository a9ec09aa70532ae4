//! Debian's Chromium, driven over the WebDriver protocol (W3C).

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

/// The Tab key, and Enter (WebDriver §17.4.2).
pub(crate) const TAB: char = '\u{e004}';
pub(crate) const ENTER: char = '\u{e007}';
/// By what the protocol knows an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A headless Chromium with an empty profile.
pub(crate) struct Browser {
    driver: Child,
    client: reqwest::Client,
    session: String,
}

impl Browser {
    pub(crate) async fn open(folder: &Path) -> Self {
        Self::with(folder, json!({})).await
    }

    /// One in which no page runs a script.
    pub(crate) async fn without_javascript(folder: &Path) -> Self {
        Self::with(
            folder,
            json!({"profile.managed_default_content_settings.javascript": 2}),
        )
        .await
    }

    async fn with(folder: &Path, preferences: Value) -> Self {
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
            "goog:chromeOptions": {"prefs": preferences, "args": [
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

    /// Plugs an authenticator in that keeps its keys, and finds its user out by itself (WebAuthn §11).
    pub(crate) async fn plug_authenticator_in(&self) -> String {
        let options = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "isUserConsenting": true,
        });
        let id = self.post("webauthn/authenticator", &options).await;
        id.as_str().unwrap().to_owned()
    }

    /// Whether the authenticator recognises its user from now on.
    pub(crate) async fn recognise_user(&self, authenticator: &str, is_verified: bool) {
        let path = format!("webauthn/authenticator/{authenticator}/uv");
        self.post(&path, &json!({"isUserVerified": is_verified})).await;
    }

    /// Runs the body of an `async` function, and gives what it returns.
    pub(crate) async fn call(&self, body: &str, arguments: &[Value]) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; const given = [...arguments].slice(0, -1);\
             (async () => {{ {body} }})().then(done, error => done({{thrown: String(error)}}));"
        );
        let value = self
            .post("execute/async", &json!({"script": script, "args": arguments}))
            .await;
        assert!(value.get("thrown").is_none(), "{body}: {value}");
        value
    }

    pub(crate) async fn go(&self, url: &str) {
        self.post("url", &json!({"url": url})).await;
    }

    async fn read(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.session);
        let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        answer["value"].clone()
    }

    /// The first element of a selector, as soon as it is there.
    async fn find(&self, selector: &str) -> String {
        let look = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tick.tick().await;
                let found = self.all(selector).await;
                if let Some(first) = found.into_iter().next() {
                    return first;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), look).await;
        found.unwrap_or_else(|_| panic!("no {selector}"))
    }

    async fn all(&self, selector: &str) -> Vec<String> {
        let found = self
            .post("elements", &json!({"using": "css selector", "value": selector}))
            .await;
        let ids = found.as_array().unwrap().iter();
        ids.map(|found| found[ELEMENT].as_str().unwrap().to_owned())
            .collect()
    }

    /// How many elements a selector finds.
    pub(crate) async fn count(&self, selector: &str) -> usize {
        self.all(selector).await.len()
    }

    /// What an element says. None of these needs a script of the page.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let element = self.find(selector).await;
        let text = self.read(&format!("element/{element}/text")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("element/{element}/click"), &json!({})).await;
    }

    /// Empties a field.
    pub(crate) async fn clear(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("element/{element}/clear"), &json!({})).await;
    }

    /// Puts the focus on a field.
    pub(crate) async fn focus(&self, selector: &str) {
        self.click(selector).await;
    }

    /// The id of what has the focus.
    pub(crate) async fn focused(&self) -> String {
        let active = self.read("element/active").await;
        let id = active[ELEMENT].as_str().unwrap();
        let id = self.read(&format!("element/{id}/attribute/id")).await;
        id.as_str().unwrap_or_default().to_owned()
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let presses = keys.chars().flat_map(|key| {
            [
                json!({"type": "keyDown", "value": key}),
                json!({"type": "keyUp", "value": key}),
            ]
        });
        let presses: Vec<Value> = presses.collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": presses}]});
        self.post("actions", &actions).await;
    }

    /// Waits until an element says something.
    pub(crate) async fn until_text(&self, selector: &str, part: &str) {
        self.until_read(part, async || {
            let found = self.all(selector).await;
            let mut texts = String::new();
            for element in found {
                let text = self.read(&format!("element/{element}/text")).await;
                texts.push_str(text.as_str().unwrap_or_default());
            }
            texts.contains(part).then_some(()).ok_or(texts)
        })
        .await;
    }

    /// Waits for a page with this title.
    pub(crate) async fn until_title(&self, title: &str) {
        self.until_read(title, async || {
            let found = self.read("title").await;
            let found = found.as_str().unwrap_or_default().to_owned();
            found.starts_with(title).then_some(()).ok_or(found)
        })
        .await;
    }

    async fn until_read(&self, wanted: &str, mut look: impl AsyncFnMut() -> Result<(), String>) {
        let mut seen = String::new();
        let wait = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tick.tick().await;
                match look().await {
                    Ok(()) => return,
                    Err(found) => seen = found,
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), wait).await;
        assert!(found.is_ok(), "{wanted:?} in vain, but {seen:?}");
    }

    /// Shows the page to somebody who prefers light or dark, in a window of this width.
    pub(crate) async fn show_in(&self, light: &str, width: u32) {
        let media = json!({"features": [
            {"name": "prefers-color-scheme", "value": light},
            // Colours on their way from one light to the other are neither's.
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]});
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        for (command, parameters) in [
            ("Emulation.setEmulatedMedia", media),
            ("Emulation.setDeviceMetricsOverride", size),
        ] {
            self.post("goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
                .await;
        }
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.run_with(script, &[]).await
    }

    pub(crate) async fn run_with(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": arguments}))
            .await
    }

    /// Runs a script until it returns something: not null, not false, not zero.
    pub(crate) async fn until(&self, script: &str) -> Value {
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
    pub(crate) async fn complaints(&self) -> Vec<String> {
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
    pub(crate) async fn screenshot(&self, name: &str) {
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
