//! Claims `drain` and `upgrade`: a gateway is stopped, or replaced by a new process, and nobody misses an answer.

use trial::edge::{Drill, Phase, Stage};

use super::Verdict;
use crate::prove::ground::Ground;

/// How `drain` is checked.
pub(super) const DRAIN: &str = "One of two gateways is stopped with SIGTERM and started again, in turns, while clients ask and hold WebSockets \
    open; they connect to the other one where nobody listens. Every request must have a whole answer, and every \
    WebSocket a close frame.";
/// How `upgrade` is checked.
pub(super) const UPGRADE: &str = "`portico gateway upgrade` replaces the process while clients ask and hold WebSockets open. Every request must have \
    a whole answer, and no WebSocket may end without a close frame.";

/// How often it is done.
const TIMES: usize = 2;
/// WebSockets that are open meanwhile.
const SOCKETS: usize = 8;

pub(super) async fn drain(ground: &Ground) -> anyhow::Result<Verdict> {
    Ok(judge(&begin(ground).await?.drains().await?))
}

pub(super) async fn upgrade(ground: &Ground) -> anyhow::Result<Verdict> {
    Ok(judge(&begin(ground).await?.upgrades().await?))
}

/// Kills a gateway and starts another one in its place: the same clients must miss something.
pub(super) async fn kill(ground: &Ground) -> anyhow::Result<Verdict> {
    Ok(judge(&begin(ground).await?.kill().await?))
}

async fn begin(ground: &Ground) -> anyhow::Result<Stage> {
    let drill = Drill {
        binary: ground.system.launch().binary.clone(),
        rate: 200,
        connections: 8,
        sockets: SOCKETS,
        swaps: 0,
        upgrades: TIMES,
        drains: TIMES,
    };
    drill.begin().await
}

fn judge(phase: &Phase) -> Verdict {
    let (load, sockets) = (&phase.load, &phase.sockets);
    let mut verdict = Verdict::default();
    verdict.fact(format!("{} times meanwhile: {load}", phase.times));
    verdict.fact(sockets.to_string());
    for (reason, count) in &load.failed {
        verdict.fail(format!("{count} requests had no whole answer: {reason}"));
    }
    for (reason, count) in &sockets.failed {
        verdict.fail(format!(
            "{count} WebSockets ended without a close frame: {reason}"
        ));
    }
    verdict.fail_unless(load.answered > 0 && sockets.opened >= SOCKETS, || {
        "nobody was served".to_owned()
    });
    verdict
}
