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
    serde_json::from_slice(&signed(Approval::PAYLOAD_TYPE, &approval, key)).unwrap()
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
    let begun = plane.publish(agreed).await;
    assert_eq!(
        (&begun["approvers"], &begun["position"]),
        (&json!(["grace"]), &json!("1.2"))
    );
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
    let begun = plane.publish(emergency).await;
    assert_eq!(
        (&begun["change_id"], &begun["position"]),
        (&json!("urgent"), &json!("1.4"))
    );
    assert_eq!(
        plane.told(|_| true).await,
        [("edge-1".to_owned(), "1.4".to_owned())]
    );
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
