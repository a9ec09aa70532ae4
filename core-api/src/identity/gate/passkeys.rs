//! Passkeys. Nobody guesses a signature, so nothing is counted of a wrong one, and no lock keeps an owner from signing in with one;
//! what is bounded is how many beginnings one network may leave lying about.

use axum::http::request::Parts;
use lockout::Event;
use problem::Problem;
use sqlx::PgConnection;

use super::counting::Part;
use super::{Gate, visitor};

/// Beginnings of log-ins from one address that may wait for an answer.
const MOST_OF_ADDRESS: i64 = 50;

/// That an answer of a passkey may be compared. Whatever compares one wants it, and only a gate gives it.
#[derive(Debug, Clone, Copy)]
pub(in crate::identity) struct PasskeyAdmitted(());

/// Where beginnings are counted, and how many of them.
#[derive(Debug)]
pub(in crate::identity) struct Room {
    /// Of no use to whoever does not know the pepper.
    pub(in crate::identity) network: Vec<u8>,
    pub(in crate::identity) most: i64,
}

impl Gate {
    /// Admits the answer of a passkey: also while the name of its owner is locked, and whatever its address did, or else whoever
    /// knows a name could keep its owner out.
    pub(in crate::identity) const fn admit_passkey(&self) -> PasskeyAdmitted {
        PasskeyAdmitted(())
    }

    /// The room of the network that a request comes from: the widest that is counted, so that nobody has more of it by changing
    /// addresses.
    pub(in crate::identity) fn room_of(&self, parts: &Parts) -> Room {
        let keys = self.keys.of("", visitor::client(&parts.headers));
        let widest = keys.networks.last();
        Room {
            network: widest.map_or(keys.pair, |network| network.key).to_vec(),
            most: MOST_OF_ADDRESS * widest.map_or(1, |network| i64::from(network.times)),
        }
    }

    /// The owner of a name signed in without the password: guesses are counted anew, as when a trusted device signs in. The lock
    /// stays: an owner who signs in must not buy guesses for whoever is guessing.
    ///
    /// # Errors
    /// 503 without the database.
    pub(in crate::identity) async fn signed_in_with_passkey(
        &self,
        tx: &mut PgConnection,
        name: &str,
        request_id: &str,
    ) -> Result<(), Problem> {
        let attempt = self.nobodys_attempt(name, request_id);
        self.advance(tx, &attempt, Part::Name, Event::SignedIn, None)
            .await
            .map(drop)
    }
}
