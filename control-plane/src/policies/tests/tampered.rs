//! Somebody writes into the database what was never signed: the control plane signs none of it.

use super::taking_back::until_done;
use super::*;
use crate::policies::error::PolicyError;

/// What is said of a policy that is not what was signed.
const NOT_AS_SIGNED: &str = "urn:portico:problem:policy-not-as-signed";

impl Plane {
    /// The database's owner writes an envelope over another one, past every trigger.
    async fn overwrite(&self, seq: i64, envelope: &[u8]) {
        let hex: String = envelope.iter().map(|byte| format!("{byte:02x}")).collect();
        self.run(&format!(
            "ALTER TABLE control.statement DISABLE TRIGGER statement_no_change;
             UPDATE control.statement SET envelope = decode('{hex}', 'hex') WHERE stream = 'policy' AND seq = {seq};
             ALTER TABLE control.statement ENABLE ALWAYS TRIGGER statement_no_change;"
        ))
        .await;
    }

    /// The policy in force is half-way to its expiry.
    async fn age(&self) {
        self.run(
            "ALTER TABLE control.statement DISABLE TRIGGER statement_no_change;
             UPDATE control.statement SET created_at = created_at - interval '1 year', expires_at = created_at + interval '1 day';
             ALTER TABLE control.statement ENABLE ALWAYS TRIGGER statement_no_change;",
        )
        .await;
    }

    /// An operator revokes the key that signs policies: it was stolen.
    async fn revoke_the_signing_key(&self) {
        let active = "SELECT kid FROM control.signing_key WHERE ring = 'bundle' AND state = 'active'";
        let stolen: String = self.row(active).await.get(0);
        let path = format!("/internal/keys/revoke?ring=bundle&kid={stolen}&reason=stolen");
        let (status, said) = self.call("POST", &path, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{said}");
    }

    async fn policies(&self) -> i64 {
        self.number("SELECT count(*) FROM control.statement WHERE stream = 'policy'")
            .await
    }

    /// Goes back to a position; the status, and what is said.
    async fn back_to(&self, to: &str) -> (StatusCode, Value) {
        self.call(
            "POST",
            "/internal/policies/rollback",
            json!({"author": "ada", "to": to}),
        )
        .await
    }
}

/// The same envelope with another limit in its policy, and the signature of the old one.
fn loosened(envelope: &[u8]) -> Envelope {
    let mut envelope = Envelope::parse(envelope).unwrap();
    let payload = String::from_utf8(envelope.payload).unwrap();
    assert!(payload.contains("100/min"), "{payload}");
    envelope.payload = payload.replace("100/min", "100000/min").into_bytes();
    envelope
}

#[tokio::test]
async fn a_policy_that_was_changed_in_the_database_is_never_signed_anew_and_another_one_goes_out() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    let real = plane.envelope(1).await;
    plane.age().await;
    let changed = loosened(&real);
    let thief = key();
    let signature = Signature {
        keyid: thief.kid().to_owned(),
        sig: thief.sign_bytes(&changed.signed_bytes()).unwrap(),
    };
    let resigned = Envelope {
        signatures: vec![signature.clone()],
        ..changed.clone()
    };
    let renamed = Envelope {
        signatures: vec![Signature {
            keyid: changed.signatures[0].keyid.clone(),
            ..signature
        }],
        ..changed.clone()
    };
    for (forged, says) in [
        (changed.to_bytes(), "signature of"),
        (resigned.to_bytes(), "no trusted key"),
        (renamed.to_bytes(), "signature of"),
        (b"{}".to_vec(), "not a DSSE envelope"),
    ] {
        plane.overwrite(1, &forged).await;
        let refused = once(&plane.state).await.unwrap_err();
        assert!(matches!(refused, PolicyError::Fleet(_)), "{refused:?}");
        let said = refused.to_string();
        assert!(said.contains("1.1") && said.contains(says), "{said}");
        assert_eq!(plane.policies().await, 1, "{says}");
        let (status, drift) = plane.call("GET", "/internal/policies/drift", Value::Null).await;
        assert_eq!(
            (status, &drift["type"]),
            (StatusCode::CONFLICT, &json!(NOT_AS_SIGNED)),
            "{drift}"
        );
    }
    // What people publish is compared with nothing, and goes out; and back to the forged one goes nobody.
    let begun = plane
        .publish(publication("from-files", &bundle("100/min"), &["canary", "all"]))
        .await;
    assert_eq!(
        (&begun["position"], &begun["risk"]),
        (&json!("1.2"), &json!("critical"))
    );
    let halt = json!({"reason": "to see"});
    let (status, halted) = plane.call("POST", "/internal/policies/halt", halt).await;
    assert_eq!(status, StatusCode::OK, "{halted}");
    assert_eq!(plane.policies().await, 2);

    plane.overwrite(1, &real).await;
    plane.age().await;
    plane.step().await;
    assert_eq!(plane.policies().await, 3, "what was signed is signed anew");
}

#[tokio::test]
async fn nobody_goes_back_to_a_policy_that_was_changed_or_moved_to_another_position() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    for limit in ["90/min", "80/min"] {
        plane
            .publish(publication(&limit.replace('/', "-"), &bundle(limit), &["all"]))
            .await;
        until_done(&plane).await;
    }
    assert_eq!(plane.status().await["in_force"], "1.3");
    let (first, second) = (plane.envelope(1).await, plane.envelope(2).await);
    for (forged, says) in [
        (second, "it was signed for 1.2"),
        (loosened(&first).to_bytes(), "signature of"),
    ] {
        plane.overwrite(1, &forged).await;
        let (status, said) = plane.back_to("1.1").await;
        assert_eq!(
            (status, &said["type"]),
            (StatusCode::CONFLICT, &json!(NOT_AS_SIGNED)),
            "{said}"
        );
        assert!(said["detail"].as_str().unwrap().contains(says), "{said}");
        assert_eq!(plane.policies().await, 3);
    }
    plane.overwrite(1, &first).await;
    assert_eq!(plane.back_to("1.1").await.0, StatusCode::OK);
}

/// A key that was stolen signs whatever its thief likes, dated back as he likes.
#[tokio::test]
async fn what_a_revoked_key_has_signed_is_signed_anew_in_time_and_counts_for_nothing_afterwards() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    plane
        .publish(publication("second", &bundle("95/min"), &["all"]))
        .await;
    until_done(&plane).await;
    plane.revoke_the_signing_key().await;
    plane.step().await;
    assert_eq!(
        plane.status().await["in_force"],
        "1.3",
        "the next key has signed it, while gateways believe both"
    );
    plane.step().await;
    assert_eq!(plane.policies().await, 3, "once");

    plane.trust(2).await;
    plane
        .publish(publication("tighter", &bundle("90/min"), &["all"]))
        .await;
    until_done(&plane).await;
    let (status, said) = plane.back_to("1.1").await;
    assert_eq!(
        (status, &said["type"]),
        (StatusCode::CONFLICT, &json!(NOT_AS_SIGNED)),
        "{said}"
    );
    let detail = said["detail"].as_str().unwrap();
    assert!(detail.contains("which was revoked"), "{detail}");
    // The policy before the one in force was stated again: as that it is gone back to, by whatever position.
    for to in [json!({"author": "ada"}), json!({"author": "ada", "to": "1.2"})] {
        let (status, back) = plane.call("POST", "/internal/policies/rollback", to).await;
        assert_eq!(
            (status, &back["kind"]),
            (StatusCode::OK, &json!("rollback")),
            "{back}"
        );
    }
    until_done(&plane).await;
    assert_eq!(plane.content(5).await, plane.content(3).await);
}

/// A key that has only retired is destroyed: what it signed counts, whether or not the document in force names it still.
#[tokio::test]
async fn what_a_retired_key_has_signed_can_be_gone_back_to() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    plane
        .run("UPDATE control.signing_key SET published_at = published_at - interval '1 day' WHERE ring = 'bundle'")
        .await;
    let (status, said) = plane
        .call("POST", "/internal/keys/rotate?ring=bundle", Value::Null)
        .await;
    assert_eq!(status, StatusCode::OK, "{said}");
    plane
        .run("UPDATE control.signing_key SET state = 'retired', retired_at = clock_timestamp(), sealed_private_key = NULL,
                     wrapped_data_key = NULL WHERE ring = 'bundle' AND state = 'retiring'")
        .await;
    plane.trust(2).await;
    plane
        .publish(publication("tighter", &bundle("90/min"), &["all"]))
        .await;
    until_done(&plane).await;
    assert_eq!(plane.back_to("1.1").await.0, StatusCode::OK);
}

/// Nothing lies between the two commands of an operator in a hurry, and no step of the task that would have signed it anew.
#[tokio::test]
async fn a_key_is_revoked_and_left_out_at_once_and_the_policy_in_force_is_signed_anew_all_the_same() {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    plane.revoke_the_signing_key().await;
    plane.trust(2).await;
    assert_eq!(plane.status().await["in_force"], "1.2");
    let (status, drift) = plane.call("GET", "/internal/policies/drift", Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{drift}");
}
