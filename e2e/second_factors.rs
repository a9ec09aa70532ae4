//! Second factors through the gateway: added, asked for, confirming, and removed by an operator for whoever has lost them.

use aws_lc_rs::hmac;
use reqwest::Method;
use serde_json::{Value, json};
use service_runtime::clock::Clock;
use trial::{Answer, Customer, FrontDoor, System};

use crate::stage::Stage;

/// An authenticator (RFC 6238): each code is of a later step than the one before it.
pub(crate) struct Authenticator {
    key: hmac::Key,
    last_step: u64,
}

impl Authenticator {
    pub(crate) fn new(secret: &str) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &decoded(secret)),
            last_step: 0,
        }
    }

    /// The code of the present step, or of the one after the last: that is good already.
    pub(crate) fn code(&mut self) -> String {
        let present = u64::try_from(Clock::system().now().timestamp()).unwrap() / 30;
        self.last_step = present.max(self.last_step + 1);
        let mac = hmac::sign(&self.key, &self.last_step.to_be_bytes());
        let place = usize::from(mac.as_ref()[19] & 15);
        let number = mac.as_ref()[place..place + 4]
            .iter()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
    }
}

/// Reads base32.
fn decoded(text: &str) -> Vec<u8> {
    let value = |letter: u8| {
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
            .bytes()
            .position(|known| known == letter)
    };
    let bits: Vec<usize> = text
        .bytes()
        .filter_map(value)
        .flat_map(|value| (0..5).rev().map(move |bit| value >> bit & 1))
        .collect();
    let byte = |bits: &[usize]| bits.iter().fold(0, |byte, bit| byte << 1 | *bit);
    bits.chunks_exact(8)
        .map(|bits| u8::try_from(byte(bits)).unwrap())
        .collect()
}

fn problem(answer: &Answer) -> (u16, &str) {
    let kind = answer.body["type"].as_str().unwrap();
    (answer.status.as_u16(), kind.rsplit(':').next().unwrap())
}

/// Somebody with an authenticator and its recovery codes.
async fn enrolled(owner: &Customer) -> (Authenticator, Value) {
    let body = json!({"password": owner.password});
    let begun = owner.post("/api/v1/me/factors/totp", None, &body).await.unwrap();
    let mut authenticator = Authenticator::new(begun.expect(200).unwrap().text("/secret").unwrap());
    let body = json!({"code": authenticator.code()});
    let added = owner
        .post("/api/v1/me/factors/totp/confirm", None, &body)
        .await
        .unwrap();
    let added = added.expect(200).unwrap();
    assert_eq!(added.body["recovery_codes"].as_array().unwrap().len(), 10);
    (authenticator, added.body["recovery_codes"].clone())
}

/// A phone is stolen; then the account is disabled, and enabled again.
async fn operators_deeds(system: &System, door: &FrontDoor, owner: &Customer, data_dir: &str) {
    let operate = async |deed: &str| {
        let line = ["user", deed, owner.email.as_str(), "--data-dir", data_dir];
        let (code, text) = system.portico(&line).await.unwrap();
        assert_eq!(code, Some(0), "{text}");
        text
    };
    let ended = operate("end-sessions").await;
    assert!(ended.contains("sessions that ended: 1"), "{ended}");
    assert_eq!(owner.get("/api/v1/me").await.unwrap().status, 401);
    door.log_in(&owner.email, &owner.password).await.unwrap();
    let disabled = operate("disable").await;
    assert!(
        disabled.contains("is disabled; sessions that ended: 1"),
        "{disabled}"
    );
    let password = json!({"email": owner.email, "password": owner.password});
    let refused = door.post("/api/v1/auth/login", &password).await.unwrap();
    assert_eq!(problem(&refused), (401, "invalid-credentials"));
    let enabled = operate("enable").await;
    assert!(enabled.contains("is enabled"), "{enabled}");
    door.log_in(&owner.email, &owner.password).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_asked_for_and_confirms_until_an_operator_removes_it() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let owner = door.sign_up().await.unwrap();
    let (mut authenticator, recovery_codes) = enrolled(&owner).await;

    // A log-in has two steps.
    let password = json!({"email": owner.email, "password": owner.password});
    let first = door.post("/api/v1/auth/login", &password).await.unwrap();
    assert_eq!(problem(&first), (401, "mfa-required"));
    let body = json!({"challenge": first.body["challenge"], "code": authenticator.code()});
    let second = door.post("/api/v1/auth/login/factor", &body).await.unwrap();
    let second = second.expect(200).unwrap();
    let bearer = format!("Bearer {}", second.text("/access_token").unwrap());

    // New recovery codes are given for one of the old ones.
    let path = "/api/v1/me/factors/recovery-codes";
    let token = [("authorization", bearer.as_str())];
    let refused = door.call(Method::POST, path, &token, None).await.unwrap();
    assert_eq!(problem(&refused), (403, "step-up-required"));
    let recovery_code = &recovery_codes[0];
    let body = json!({"method": "POST", "path": path, "recovery_code": recovery_code});
    let confirmed = door
        .call(Method::POST, "/api/v1/me/step-up", &token, Some(&body))
        .await
        .unwrap();
    let confirmed = confirmed.expect(200).unwrap();
    let both = [token[0], ("x-step-up", confirmed.text("/token").unwrap())];
    let renewed = door.call(Method::POST, path, &both, None).await.unwrap();
    let renewed = renewed.expect(200).unwrap();
    assert_ne!(renewed.body["recovery_codes"], recovery_codes);

    // The authenticator and the codes are lost.
    let data_dir = stage.data_dir().display().to_string();
    let reset = [
        "user",
        "reset-factors",
        owner.email.as_str(),
        "--data-dir",
        data_dir.as_str(),
    ];
    let (code, text) = system.portico(&reset).await.unwrap();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("signs in with the password alone"), "{text}");
    let ended = door.call(Method::GET, "/api/v1/me", &token, None).await.unwrap();
    assert_eq!(ended.status, 401, "{}", ended.body);
    let back: Customer = door.log_in(&owner.email, &owner.password).await.unwrap();
    let factors = back.get("/api/v1/me/factors").await.unwrap();
    assert_eq!(factors.body["data"], json!([]));
    let (code, text) = system.portico(&reset).await.unwrap();
    assert_eq!(
        (code, text.contains("has no second factor")),
        (Some(0), true),
        "{text}"
    );
    let nobody = [
        "user",
        "reset-factors",
        "nobody@bank.example",
        "--data-dir",
        data_dir.as_str(),
    ];
    let (code, text) = system.portico(&nobody).await.unwrap();
    assert_eq!(
        (code, text.contains("nobody signs in as")),
        (Some(1), true),
        "{text}"
    );
    operators_deeds(&system, &door, &back, &data_dir).await;
    system.stop().await.unwrap();
}
