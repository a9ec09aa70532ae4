//! A gateway whose policy, keys and revocations are stated by a control plane: what it believes, and what it does not.

mod boots;
mod clock;
mod control_plane;
mod disks;
mod doubts;
mod files;
mod link;
mod lists;
mod pages;
mod refusals;
mod shadow;
mod trial;

use std::path::Path;
use std::time::Duration;

use fleet::{Heartbeat, Stream};

use crate::gateway_process::{GatewayProcess, POLICY};
pub(crate) use control_plane::ControlPlane;

/// The same policy with the rates behind a token.
fn stricter() -> String {
    let open = "auth: none\n    because: exchange rates are published for everyone";
    assert!(POLICY.contains(open));
    POLICY.replace(open, "auth: customers\n    scopes: []")
}

/// A gateway that is told everything by this control plane.
async fn member(fleet: &ControlPlane, probation: Duration) -> GatewayProcess {
    GatewayProcess::with(POLICY, |settings| {
        fleet.join(settings);
        if let Some(fleet) = &mut settings.fleet {
            fleet.probation_ms = u64::try_from(probation.as_millis()).unwrap();
        }
    })
    .await
}

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);
/// As good as at once.
const SHORT: Duration = Duration::from_millis(50);

async fn rates(gateway: &GatewayProcess) -> u16 {
    gateway.get("/api/v1/rates/eur-usd").await.status().as_u16()
}

/// The position in force of a stream, by a heartbeat.
fn position(heartbeat: &Heartbeat, stream: Stream) -> Option<String> {
    let active = heartbeat.active.iter().find(|active| active.stream == stream)?;
    active.position.map(|position| position.to_string())
}

/// Starts a member that writes down where it listens, which it does before it has a policy.
async fn member_that_says_where(fleet: &ControlPlane, endpoints: &Path) -> GatewayProcess {
    GatewayProcess::with(POLICY, |settings| {
        fleet.join(settings);
        settings.endpoints_file = Some(endpoints.to_owned());
    })
    .await
}

/// What a gateway that must not be ready says of itself.
async fn not_ready(private: &str) -> serde_json::Value {
    let client = reqwest::Client::builder().build().unwrap();
    let url = format!("http://{private}/health/ready");
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    answer.json().await.unwrap()
}
