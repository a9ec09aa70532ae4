//! What is risky wants a second person, who signs exactly what goes out.

use fleet::Approval;
use policy::diff::Risk;

use super::*;

async fn plane() -> Plane {
    let plane = Plane::start().await;
    plane.join(&["edge-1"]).await;
    plane.first().await;
    // Both share the database; only this one asks for consent.
    let mut settings = plane.settings.clone();
    settings.policies.approval_from = Some(Risk::Medium);
    let state = state(&settings, &plane._database);
    Plane {
        state,
        settings,
        ..plane
    }
}

fn opened(change_id: &str) -> Value {
    publication(change_id, &format!("{}{OPEN_ROUTE}", bundle("100/min")), &["all"])
}

async fn approval(
    plane: &Plane,
    change: &Value,
    key: &SigningKey,
    edit: impl FnOnce(&mut Approval),
) -> Value {
    said(plane, change, edit, Approval::PAYLOAD_TYPE, key).await
}

/// The author's own signature.
async fn signature(plane: &Plane, change: &Value, key: &SigningKey) -> Value {
    let own = |it: &mut Approval| it.approver.clone_from(&it.author);
    said(plane, change, own, Approval::AUTHORSHIP_TYPE, key).await
}

async fn said(
    plane: &Plane,
    change: &Value,
    edit: impl FnOnce(&mut Approval),
    payload_type: &str,
    key: &SigningKey,
) -> Value {
    let (_, plan) = plane
        .call("POST", "/internal/policies/plan", change.clone())
        .await;
    let mut approval = Approval {
        content: serde_json::from_value(plan["content"].clone()).unwrap(),
        change_id: change["change_id"].as_str().unwrap().to_owned(),
        environment: "test".to_owned(),
        author: change["author"].as_str().unwrap().to_owned(),
        approver: "grace".to_owned(),
    };
    edit(&mut approval);
    serde_json::from_slice(&signed(payload_type, &approval, key)).unwrap()
}

/// A policy that its own case refuses must not get past it with nobody's eyes but its author's.
#[tokio::test]
async fn whoever_takes_a_case_out_needs_a_second_person() {
    let plane = plane().await;
    let mut without = publication("without", &bundle("90/min"), &["all"]);
    without["cases"] = json!([]);
    let (status, plan) = plane
        .call("POST", "/internal/policies/plan", without.clone())
        .await;
    assert_eq!(
        (status, &plan["risk"], &plan["changes"][0]["old"]),
        (StatusCode::OK, &json!("high"), &json!("live-is-open")),
        "{plan}"
    );
    let (status, refused) = plane.call("POST", "/internal/policies", without).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{refused}");
    plane
        .publish(publication("with", &bundle("90/min"), &["all"]))
        .await;
}

#[tokio::test]
async fn a_risky_change_goes_out_with_the_consent_of_somebody_else_only() {
    let plane = plane().await;
    let change = opened("open");
    let (status, body) = plane.call("POST", "/internal/policies", change.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains("portico policy approve"),
        "{body}"
    );

    let stranger = key();
    let wrong = [
        approval(&plane, &change, &stranger, |_| ()).await,
        approval(&plane, &change, &plane.grace, |it| {
            it.change_id = "closed".to_owned();
        })
        .await,
        approval(&plane, &change, &plane.grace, |it| {
            it.environment = "production".to_owned();
        })
        .await,
        approval(&plane, &change, &plane.grace, |it| {
            it.content = fleet::Digest::of(b"");
        })
        .await,
        approval(&plane, &change, &plane.grace, |it| it.approver = "eve".to_owned()).await,
    ];
    for approval in wrong {
        let mut change = change.clone();
        change["approvals"] = json!([approval]);
        assert_eq!(
            plane.call("POST", "/internal/policies", change).await.0,
            StatusCode::FORBIDDEN
        );
    }
    // One's own word is no second one.
    let mut own = change.clone();
    own["author"] = json!("grace");
    own["approvals"] = json!([approval(&plane, &own, &plane.grace, |_| ()).await]);
    let (status, body) = plane.call("POST", "/internal/policies", own).await;
    assert!(
        status == StatusCode::FORBIDDEN && body["detail"].as_str().unwrap().contains("second person"),
        "{body}"
    );

    let mut agreed = change.clone();
    agreed["approvals"] = json!([approval(&plane, &change, &plane.grace, |_| ()).await]);
    agreed["signature"] = signature(&plane, &change, &plane.ada).await;
    let begun = plane.publish(agreed).await;
    assert_eq!(
        (&begun["approvers"], &begun["author_signed"], &begun["position"]),
        (&json!(["grace"]), &json!(true), &json!("1.2"))
    );
}

/// Whoever holds one key can name any author: only the author's own signature makes it two people.
#[tokio::test]
async fn one_person_under_two_names_is_one_person() {
    let plane = plane().await;
    let mut change = opened("open");
    change["approvals"] = json!([approval(&plane, &change, &plane.grace, |_| ()).await]);
    let alone = [
        Value::Null,
        signature(&plane, &change, &plane.grace).await,
        signature(&plane, &change, &key()).await,
        signature(&plane, &opened("other"), &plane.ada).await,
        change["approvals"][0].clone(),
    ];
    for signature in alone {
        change["signature"] = signature;
        let (status, body) = plane.call("POST", "/internal/policies", change.clone()).await;
        assert!(
            status == StatusCode::FORBIDDEN && body["type"].as_str().unwrap().ends_with("author-unproven"),
            "{body}"
        );
    }
    // Ada may be the author, and may not agree to the change of another.
    let mut by_grace = opened("open");
    by_grace["author"] = json!("grace");
    by_grace["signature"] = signature(&plane, &by_grace, &plane.grace).await;
    by_grace["approvals"] =
        json!([approval(&plane, &by_grace, &plane.ada, |it| it.approver = "ada".to_owned()).await]);
    let (status, body) = plane.call("POST", "/internal/policies", by_grace).await;
    assert!(
        status == StatusCode::FORBIDDEN
            && body["detail"]
                .as_str()
                .unwrap()
                .contains("ada is not on the list"),
        "{body}"
    );
    change["signature"] = Value::Null;
    change["signature"] = signature(&plane, &change, &plane.ada).await;
    assert_eq!(plane.publish(change).await["author_signed"], true);
}

#[tokio::test]
async fn a_rollback_to_what_one_person_cannot_decide_stops_what_is_under_way_and_no_more() {
    let plane = plane().await;
    let mut open = opened("open");
    open["approvals"] = json!([approval(&plane, &open, &plane.grace, |_| ()).await]);
    open["signature"] = signature(&plane, &open, &plane.ada).await;
    plane.publish(open).await;
    plane.heal().await;
    plane.step().await;
    for limit in ["90/min", "80/min"] {
        plane
            .publish(publication(limit.split_at(2).0, &bundle(limit), &["all"]))
            .await;
        plane.heal().await;
        plane.step().await;
    }
    let in_force = plane.status().await["in_force"].clone();
    assert_eq!(in_force, "1.4");
    plane
        .publish(publication("tighter", &bundle("70/min"), &["canary", "all"]))
        .await;
    let to = json!({"author": "ada", "to": "1.2"});
    let (status, body) = plane.call("POST", "/internal/policies/rollback", to).await;
    assert!(
        status == StatusCode::FORBIDDEN
            && body["detail"]
                .as_str()
                .unwrap()
                .contains("portico policy publish"),
        "{body}"
    );
    assert_eq!(plane.phase().await, "halted");
    assert_eq!(plane.status().await["in_force"], "1.6");
    assert_eq!(plane.content(6).await, plane.content(4).await);
}

#[tokio::test]
async fn what_only_closes_wants_nobodys_consent_and_an_emergency_always_does() {
    let plane = plane().await;
    plane
        .publish(publication("tighter", &bundle("90/min"), &["canary", "all"]))
        .await;
    let mut emergency = publication("urgent", &bundle("10/min"), &["all"]);
    emergency["emergency"] = json!(true);
    let (status, body) = plane.call("POST", "/internal/policies", emergency.clone()).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert_eq!(plane.phase().await, "canary", "what is under way goes on");

    emergency["approvals"] = json!([approval(&plane, &emergency, &plane.grace, |_| ()).await]);
    emergency["signature"] = signature(&plane, &emergency, &plane.ada).await;
    let begun = plane.publish(emergency).await;
    assert_eq!(
        (&begun["change_id"], &begun["position"]),
        (&json!("urgent"), &json!("1.4"))
    );
    assert_eq!(
        plane.told(|_| true).await,
        [("edge-1".to_owned(), "1.4".to_owned())]
    );
    assert_eq!(plane.status().await["in_force"], "1.3");
    let why: String = plane
        .row("SELECT why FROM control.rollout WHERE change_id = 'tighter'")
        .await
        .get(0);
    assert_eq!(why, "urgent replaces it in an emergency");
}

#[tokio::test]
async fn approvers_that_cannot_be_read_approve_nothing() {
    let plane = plane().await;
    let mut change = opened("open");
    change["approvals"] = json!([approval(&plane, &change, &plane.grace, |_| ()).await]);
    std::fs::write(plane.approvers.path().join("approvers.yaml"), "approvers: [").unwrap();
    let (status, body) = plane.call("POST", "/internal/policies", change).await;
    assert!(
        status == StatusCode::FORBIDDEN && body["detail"].as_str().unwrap().contains("approvers.yaml"),
        "{body}"
    );
}
