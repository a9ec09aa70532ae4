//! A batch of movements as the posting statement takes it: one array per column.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::movement::{Movement, Refusal};

/// Stands for the request id in the kept text of a refusal; the statement puts each one's own in.
const REQUEST_PLACE: &str = "@request@";

/// The arguments of `core.commit_movements`, column by column.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) session: Vec<Uuid>,
    pub(super) user: Vec<Uuid>,
    pub(super) tenant: Vec<Uuid>,
    pub(super) entry: Vec<Uuid>,
    pub(super) key: Vec<String>,
    pub(super) request_hash: Vec<Vec<u8>>,
    pub(super) kind: Vec<i16>,
    pub(super) debit: Vec<Option<Uuid>>,
    pub(super) credit: Vec<Option<Uuid>>,
    pub(super) currency: Vec<String>,
    pub(super) amount: Vec<i64>,
    pub(super) reference: Vec<Option<String>>,
    pub(super) booked_at: Vec<DateTime<Utc>>,
    pub(super) body: Vec<Vec<u8>>,
    pub(super) request_id: Vec<String>,
}

impl Columns {
    pub(super) fn of<'a>(movements: impl IntoIterator<Item = &'a Movement>) -> Self {
        let mut columns = Self::default();
        for movement in movements {
            columns.session.push(movement.session.uuid());
            columns.user.push(movement.user.uuid());
            columns.tenant.push(movement.tenant.uuid());
            columns.entry.push(movement.id.uuid());
            columns.key.push(movement.key.as_str().to_owned());
            columns
                .request_hash
                .push(movement.request_hash.as_bytes().to_vec());
            columns.kind.push(movement.kind.number());
            columns.debit.push(movement.debit.map(crate::ids::Id::uuid));
            columns.credit.push(movement.credit.map(crate::ids::Id::uuid));
            columns.currency.push(movement.currency.to_string());
            columns.amount.push(movement.amount.minor());
            columns.reference.push(movement.reference.clone());
            columns.booked_at.push(movement.booked_at);
            columns.body.push(movement.body.clone());
            columns.request_id.push(movement.request_id.clone());
        }
        columns
    }
}

/// The texts of the refusals that are kept, by code (1-based in SQL, so the entry for code 1 comes first).
#[derive(Debug, Clone)]
pub(super) struct RefusalTexts {
    pub(super) status: Vec<Option<i16>>,
    pub(super) body: Vec<Option<String>>,
}

impl RefusalTexts {
    pub(super) fn new() -> Self {
        let length = Refusal::ALL
            .iter()
            .map(|refusal| refusal.code())
            .max()
            .unwrap_or_default();
        let mut texts = Self {
            status: vec![None; length],
            body: vec![None; length],
        };
        for refusal in Refusal::ALL {
            let place = refusal.code().saturating_sub(1);
            let problem = refusal.problem();
            if let (Some(status), Some(body)) = (texts.status.get_mut(place), texts.body.get_mut(place)) {
                *status = i16::try_from(problem.status().as_u16()).ok();
                *body = String::from_utf8(problem.to_json(Some(REQUEST_PLACE))).ok();
            }
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_that_is_kept_has_its_status_and_text() {
        let texts = RefusalTexts::new();
        let kept: Vec<usize> = (1..=texts.status.len())
            .filter(|code| texts.status[code - 1].is_some())
            .collect();
        assert_eq!(kept, [2, 3, 4, 5, 8, 9]);
        for code in kept {
            let body = texts.body[code - 1].as_deref().unwrap();
            assert!(body.contains("urn:request:@request@"), "{body}");
            let document: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(
                document["status"].as_i64().unwrap(),
                i64::from(texts.status[code - 1].unwrap())
            );
        }
    }
}
