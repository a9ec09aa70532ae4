//! Many requests at once, and what became of each.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::Door;

/// Requests that are under way at a gateway at once.
const AT_ONCE: usize = 8;

/// What became of requests, by status; 0 is a request without an answer.
pub type Statuses = BTreeMap<u16, usize>;

/// So many requests through each of these doors, all at once.
pub async fn flood(doors: &[Door], path: &'static str, each: usize) -> Statuses {
    let mut clients = JoinSet::new();
    for door in doors {
        for client in 0..AT_ONCE {
            let share = each / AT_ONCE + usize::from(client < each % AT_ONCE);
            clients.spawn(ask(door.clone(), path, share));
        }
    }
    let mut all = Statuses::new();
    for statuses in clients.join_all().await {
        for (status, count) in statuses {
            *all.entry(status).or_default() += count;
        }
    }
    all
}

/// One after the other on one connection, as long as it lasts.
async fn ask(door: Door, path: &'static str, count: usize) -> Statuses {
    let (mut statuses, mut open) = (Statuses::new(), None);
    for _ in 0..count {
        let asked = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => door.connect(0).await?,
            };
            let answer = connection.get(path).await?;
            anyhow::Ok((answer.status, (!answer.closes).then_some(connection)))
        };
        let status = match timeout(Duration::from_secs(30), asked).await {
            Ok(Ok((status, connection))) => {
                open = connection;
                status
            }
            Ok(Err(_)) | Err(_) => 0,
        };
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}
