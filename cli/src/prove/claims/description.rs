//! Claim `description`: what the OpenAPI document of the core does not describe never reaches it.

use anyhow::ensure;
use serde_json::{Value, json};
use trial::Customer;

use super::{Verdict, refusal};
use crate::prove::ground::Ground;

/// The route that takes the bodies.
const TARGET: &str = "/api/v1/accounts";
/// The document, beside the policy.
const DOCUMENT: &str = "core-api.openapi.json";

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    send_all(ground, &ground.door.sign_up().await?).await
}

/// Lets the document allow members of any name. The core still refuses them by itself; that it was asked must be seen.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let customer = ground.door.sign_up().await?;
    let file = ground.policies.join(DOCUMENT);
    let edit = ground
        .edit_policy(&file, |text| {
            let strict = "\"additionalProperties\": false";
            ensure!(text.contains(strict), "the document allows any member already");
            Ok(text.replace(strict, "\"additionalProperties\": true"))
        })
        .await?;
    let verdict = send_all(ground, &customer).await;
    edit.undo(ground).await?;
    verdict
}

/// Bodies that differ from a good one in one way each, and where the difference is.
fn bodies() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "a member that is not described",
            json!({"product": "checking", "currency": "USD", "is_admin": true}),
            "/is_admin",
        ),
        (
            "a member that is missing",
            json!({"product": "checking"}),
            "/currency",
        ),
        (
            "a number for a text",
            json!({"product": "checking", "currency": 840}),
            "/currency",
        ),
        (
            "a word that is not in the list",
            json!({"product": "offshore", "currency": "USD"}),
            "/product",
        ),
        (
            "an object for a text",
            json!({"product": {"$ne": null}, "currency": "USD"}),
            "/product",
        ),
        (
            "a list for an object",
            json!([{"product": "checking", "currency": "USD"}]),
            "",
        ),
    ]
}

async fn send_all(ground: &Ground, customer: &Customer) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let before = refusal::heard_by_core(ground).await?;
    let bodies = bodies();
    for (what, body, pointer) in &bodies {
        let answer = customer.post(TARGET, None, body).await?;
        let points = answer.body.get("errors").and_then(Value::as_array);
        let is_told = points
            .into_iter()
            .flatten()
            .any(|error| error.get("pointer").is_some_and(|told| told == pointer));
        verdict.fail_unless(answer.status == 400 && is_told, || {
            format!("{what} was answered {} and {}", answer.status, answer.body)
        });
    }
    let heard = refusal::heard_by_core(ground).await? - before;
    verdict.fail_unless(heard == 0, || format!("{heard} of these bodies reached the core"));
    verdict.fact(format!(
        "{} bodies that the document does not describe were refused, each with a pointer to what is wrong; {heard} \
         reached the core",
        bodies.len()
    ));
    customer.open_account("USD", 100).await?;
    let heard = refusal::heard_by_core(ground).await? - before - heard;
    verdict.fail_unless(heard > 0, || "a good body did not reach the core".to_owned());
    verdict.fact("a good body, sent the same way, reached it");
    Ok(verdict)
}
