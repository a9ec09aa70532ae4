//! A policy goes out to a fleet of real gateways, phase by phase; what does harm is taken back, and whoever dies meanwhile, it
//! goes on.

use serde_json::{Value, json};
use trial::edge::Load;
use trial::rollout::{Bundle, Fault, Members, Stage, Step};

use crate::stage::PORTICO;

/// Three gateways. A phase is watched for `bake_s`; what they do is compared from twenty requests on, and never by time.
fn members(approval_from: &str, bake_s: u32) -> Members {
    let rules = json!({
        "bake_s": bake_s, "least_requests": 20, "evidence_s": 0, "silence_s": 600, "patience_s": 600, "latency_percent": 1_000_000,
    });
    Members {
        binary: PORTICO.into(),
        gateways: 3,
        policies: json!({
            "approval_from": approval_from, "audit_fail_on": "critical", "interval_ms": 200, "rules": rules,
        }),
        probation_ms: 300,
        has_issuer: false,
    }
}

/// No phase is over before the test is.
const FOR_EVER: u32 = 36_000;

fn gateways(rollout: &Value) -> &[Value] {
    rollout["gateways"].as_array().unwrap()
}

/// The gateways that had the policy.
fn touched(rollout: &Value) -> Vec<&Value> {
    let gateways = gateways(rollout).iter();
    gateways.filter(|gateway| gateway["in_group"] == true).collect()
}

/// The phases that the control plane has begun for a change, by its own log.
fn phases(stage: &Stage, change: &str) -> Vec<String> {
    let log = stage.control_plane_log().unwrap();
    let lines = log
        .lines()
        .filter(|line| line.contains("a phase of a roll-out begins"));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let field = |line: &Value, name: &str| {
        let field = line.get(name).or_else(|| line["fields"].get(name));
        field.and_then(Value::as_str).unwrap().to_owned()
    };
    lines
        .filter(|line| field(line, "change") == change)
        .map(|line| field(&line, "phase"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_policy_goes_to_every_gateway_by_itself_once_a_second_person_has_signed() {
    let stage = Stage::start(&members("high", 1)).await.unwrap();
    let opened = Bundle {
        routes: 1,
        ..Bundle::good(1)
    };
    let refused = stage.publish(opened, "open", &[]).await.unwrap();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.fault.contains("second person"), "{refused:?}");
    let own = stage.approve("open", "ada", "ada").await.unwrap_err().to_string();
    assert!(own.contains("ada is the author"), "{own}");
    let pretended = stage.approve("open", "grace", "ada").await.unwrap();
    let refused = stage
        .publish(opened, "open", &["--approval", &pretended])
        .await
        .unwrap();
    assert!(
        refused.code == Some(1) && refused.fault.contains("not one of grace"),
        "{refused:?}"
    );
    assert_eq!(stage.all_the_same().await.unwrap(), "1.1");
    let policies = stage.policies();
    let plan = format!("policy plan {policies} --environment test --author ada --change-id open");
    let plan: Vec<&str> = plan.split(' ').collect();
    let planned = stage.ask(&plan).await.unwrap();
    assert!(
        planned.text.contains("somebody else must agree") && planned.text.contains("canary"),
        "{planned:?}"
    );
    assert_eq!(
        stage.all_the_same().await.unwrap(),
        "1.1",
        "a plan changes nothing"
    );

    let agreed = stage.approve("open", "grace", "grace").await.unwrap();
    let begun = stage
        .publish(opened, "open", &["--approval", &agreed])
        .await
        .unwrap();
    assert_eq!(begun.code, Some(0), "{begun:?}");
    let ended = stage.ended("open").await.unwrap();
    assert_eq!(ended["phase"], "done", "{ended}");
    assert_eq!(
        (&ended["approvers"], &ended["author_signed"]),
        (&json!(["grace"]), &json!(true))
    );
    assert_eq!(phases(&stage, "open"), ["shadow", "canary", "quarter", "all"]);
    assert_eq!(stage.all_the_same().await.unwrap(), "1.2");
    stage.every_gateway_runs(1).await.unwrap();
    for command in [["policy", "status"], ["policy", "drift"], ["policy", "history"]] {
        let said = stage.ask(&command).await.unwrap();
        assert!(said.code == Some(0) && said.text.contains("1.2"), "{said:?}");
    }

    // And back, by one person: a new position with the old content.
    let back = stage
        .ask(&["policy", "rollback", "--author", "ada"])
        .await
        .unwrap();
    assert_eq!(back.code, Some(0), "{back:?}");
    stage.every_gateway_runs(0).await.unwrap();
    assert_eq!(stage.all_the_same().await.unwrap(), "1.3");
    stage.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_refuses_is_taken_back_and_never_shown_as_applied() {
    let mut stage = Stage::start(&members("never", FOR_EVER)).await.unwrap();
    let bad = Bundle::bad(1, Fault::NoKeys);
    let begun = stage
        .publish(bad, "unusable", &["--phases", "canary,all"])
        .await
        .unwrap();
    assert_eq!(begun.code, Some(0), "{begun:?}");
    let halted = stage
        .until("unusable", |rollout| {
            let applied =
                |gateway: &&Value| ["active", "healthy"].map(Value::from).contains(&gateway["stage"]);
            assert_eq!(gateways(rollout).iter().find(applied), None, "{rollout}");
            rollout["phase"] == "halted"
        })
        .await
        .unwrap();
    assert!(halted["why"].as_str().unwrap().contains("refuses it"), "{halted}");
    let canary = touched(&halted);
    assert_eq!(canary.len(), 1, "{halted}");
    assert_eq!(canary[0]["stage"], "refused", "{halted}");
    assert!(
        canary[0]["objection"].as_str().unwrap().starts_with("settings: "),
        "{halted}"
    );
    assert_eq!(Value::from(stage.all_the_same().await.unwrap()), halted["back"]);
    stage.every_gateway_runs(0).await.unwrap();
    let status = stage.ask(&["policy", "status"]).await.unwrap();
    assert!(
        status.code == Some(1) && status.text.contains("refuses it"),
        "{status:?}"
    );

    // A roll-out that stands where it is, and a halt of it that dies at every step.
    let good = Bundle::good(2);
    stage
        .publish(good, "good", &["--phases", "canary,all"])
        .await
        .unwrap()
        .done()
        .unwrap();
    let halt = ["policy", "halt", "--reason", "customers call"];
    for step in [Step::Stated, Step::Told, Step::Entered, Step::Recorded] {
        stage.kill_control_plane_while(&halt, step).await.unwrap();
        stage.revive_control_plane().await.unwrap();
        let stands = stage.until("good", |_| true).await.unwrap();
        assert_eq!(stands["phase"], "canary", "{step:?}: {stands}");
    }
    stage
        .kill_control_plane_while(&halt, Step::Committing)
        .await
        .unwrap();
    // Nobody is told yet; the canary dies with the policy that is taken back, and comes back with it.
    let (_, holders) = stage.stands().await.unwrap();
    assert_eq!(holders.len(), 1, "{holders:?}");
    stage.kill_gateway(&holders[0]).await.unwrap();
    stage.revive_control_plane().await.unwrap();
    let halted = stage.ended("good").await.unwrap();
    assert_eq!(halted["phase"], "halted", "{halted}");
    assert_eq!(Value::from(stage.all_the_same().await.unwrap()), halted["back"]);
    stage.every_gateway_runs(0).await.unwrap();
    stage.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_or_refuses_more_is_taken_back_before_a_second_gateway_has_it() {
    let stage = Stage::start(&members("never", FOR_EVER)).await.unwrap();
    // Each request is a new connection, to the next gateway: a kept one would stay where it is answered well.
    let load = || Load::start_anew(&stage.every_door().unwrap(), "/fast", 60, 6);
    let halted = async |bundle, change: &str, phases: &[&str]| {
        stage
            .publish(bundle, change, phases)
            .await
            .unwrap()
            .done()
            .unwrap();
        let halted = stage.ended(change).await.unwrap();
        assert_eq!(halted["phase"], "halted", "{halted}");
        stage.all_the_same().await.unwrap();
        stage.every_gateway_runs(0).await.unwrap();
        halted
    };
    let why = |rollout: &Value| rollout["why"].as_str().unwrap().to_owned();
    let at_once_to_one = ["--phases", "canary,all"];
    let asked = load();
    let failing = halted(Bundle::bad(1, Fault::NobodyListens), "failing", &at_once_to_one).await;
    assert!(why(&failing).contains("requests fail"), "{failing}");
    let refusing = halted(Bundle::bad(2, Fault::Refuses), "refusing", &at_once_to_one).await;
    assert!(
        why(&refusing).contains("of 1,000 requests are refused"),
        "{refusing}"
    );
    for rollout in [&failing, &refusing] {
        assert_eq!(touched(rollout).len(), 1, "{rollout}");
    }
    assert!(asked.stop().await.failures() > 0, "the canary did harm");

    // In shadow the same is seen before it decides anything.
    let asked = load();
    let tried = halted(Bundle::bad(3, Fault::Refuses), "tried", &[]).await;
    assert!(why(&tried).contains("in shadow it would refuse"), "{tried}");
    assert_eq!(
        (&tried["back"], asked.stop().await.failures()),
        (&Value::Null, 0),
        "{tried}"
    );
    stage.stop().await.unwrap();
}

/// By the rule that counts by default; that a good policy is not halted by it wants a quiet machine.
#[tokio::test(flavor = "multi_thread")]
async fn what_answers_slower_is_taken_back_by_the_rule_for_time() {
    let mut members = members("never", FOR_EVER);
    members.policies["rules"]["latency_percent"] = json!(120);
    let stage = Stage::start(&members).await.unwrap();
    let asked = Load::start_anew(&stage.every_door().unwrap(), "/fast", 60, 12);
    stage
        .publish(Bundle::bad(1, Fault::IsSlow), "slow", &["--phases", "canary,all"])
        .await
        .unwrap()
        .done()
        .unwrap();
    let halted = stage.ended("slow").await.unwrap();
    assert_eq!(halted["phase"], "halted", "{halted}");
    let why = halted["why"].as_str().unwrap();
    assert!(why.contains("requests take more than"), "{halted}");
    assert_eq!(touched(&halted).len(), 1, "{halted}");
    assert_eq!(asked.stop().await.failures(), 0, "it was slow, and nothing else");
    stage.every_gateway_runs(0).await.unwrap();
    stage.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_whose_processes_are_killed_at_every_step_goes_on_by_itself() {
    let mut stage = Stage::start(&members("never", 0)).await.unwrap();
    let good = Bundle::good(1);
    for step in [
        Step::Stated,
        Step::Entered,
        Step::Told,
        Step::Recorded,
        Step::Committing,
    ] {
        stage
            .kill_control_plane_while_publishing(good, "good", step)
            .await
            .unwrap();
        if step != Step::Committing {
            stage.revive_control_plane().await.unwrap();
        }
    }
    // The control plane is dead behind the beginning of each phase.
    for (phase, step) in [
        ("shadow", Step::Entered),
        ("canary", Step::Told),
        ("quarter", Step::Recorded),
        ("all", Step::Told),
    ] {
        let (stands, holders) = stage.stands().await.unwrap();
        assert_eq!(stands, phase);
        for holder in holders {
            stage.kill_gateway(&holder).await.unwrap();
        }
        for step in [step, Step::Committing] {
            stage.revive_control_plane_to_kill_it_at(step).await.unwrap();
        }
    }
    stage.revive_control_plane().await.unwrap();
    let ended = stage.ended("good").await.unwrap();
    assert_eq!(ended["phase"], "done", "{ended}");
    assert_eq!(stage.all_the_same().await.unwrap(), "1.2");
    stage.every_gateway_runs(1).await.unwrap();

    // And back: not at all, or whole.
    let back = ["policy", "rollback", "--author", "ada"];
    for step in [Step::Stated, Step::Told, Step::Recorded] {
        stage.kill_control_plane_while(&back, step).await.unwrap();
        stage.revive_control_plane().await.unwrap();
        assert_eq!(stage.all_the_same().await.unwrap(), "1.2", "{step:?}");
    }
    stage
        .kill_control_plane_while(&back, Step::Committing)
        .await
        .unwrap();
    stage.revive_control_plane().await.unwrap();
    stage.every_gateway_runs(0).await.unwrap();
    assert_eq!(stage.all_the_same().await.unwrap(), "1.3");
    stage.stop().await.unwrap();
}
