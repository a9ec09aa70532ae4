//! Somebody who writes to the database of the control plane, and has the key-encryption key as well: what a gateway is offered
//! by the real control plane then, and does not believe.

use anyhow::{Context as _, bail, ensure};
use fleet::{
    Digest, Envelope, PolicyContent, Position, Signature, Standing, Statement, Stream, Version, to_be_signed,
};
use keyring::{Algorithm, KeyEncryptionKeys, SigningKey};
use serde_json::Value;
use serde_json::value::to_raw_value;
use service_runtime::clock::Clock;
use sqlx::Connection as _;

use super::operator::patiently;
use super::stage::Stage;
use super::store;

/// The ring whose keys sign statements.
const BUNDLE: &str = "bundle";
/// The generation of a policy that nobody published.
const FORGED: usize = 666;

/// What is wrong with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// It was in force before.
    Replayed,
    /// It is for another fleet.
    OtherFleet,
    /// It is for another environment.
    OtherEnvironment,
    /// It is for another gateway.
    OtherGateway,
    /// Its time is over.
    Expired,
    /// One bit of what is signed is another.
    BitFlipped,
    /// Nobody has signed it.
    Unsigned,
    /// A key has signed it that the roots have never named.
    Stranger,
    /// A key has signed it that has retired in the course of things, and was stolen before.
    RetiredKey,
    /// A key has signed it that was revoked, and that the roots name no more.
    RevokedKey,
    /// It wants a gateway that nobody has built yet.
    TooNew,
    /// Nothing: it is signed with the stolen key that signs now. The control, which must be taken over.
    Nothing,
}

impl Forgery {
    /// Everything that must be refused.
    pub const REFUSED: [Self; 11] = [
        Self::Replayed,
        Self::OtherFleet,
        Self::OtherEnvironment,
        Self::OtherGateway,
        Self::Expired,
        Self::BitFlipped,
        Self::Unsigned,
        Self::Stranger,
        Self::RetiredKey,
        Self::RevokedKey,
        Self::TooNew,
    ];
}

impl Stage {
    /// Lets the control plane offer an envelope to one gateway, and gives the code with which it is refused; none when it is
    /// taken over. Afterwards every gateway has in memory again what it should.
    ///
    /// # Errors
    /// When neither comes about, or `portico fleet status` and `explain` do not show a refusal for what it is.
    pub async fn offer(&mut self, node: &str, forgery: Forgery) -> anyhow::Result<Option<String>> {
        let mut key = self.steal().await?;
        match forgery {
            Forgery::RetiredKey => self.retire(&key).await?,
            Forgery::RevokedKey => self.revoke(&key).await?,
            _ => {}
        }
        if forgery == Forgery::Stranger {
            key = SigningKey::generate(Algorithm::EdDSA)?;
        }
        self.all_the_same().await?;
        let mut holder = self.superuser().await?;
        let mut held = holder.begin().await?;
        store::hold_the_fleet(&mut held).await?;
        let (in_force, highest) = store::policy_in_force(&mut held).await?;
        let seq = highest + 1;
        let envelope = forged(&in_force, u64::try_from(seq)?, forgery, &key)?;
        let mut thief = self.superuser().await?;
        store::forge(&mut thief, seq, &envelope).await?;
        store::tell(&mut thief, node, Some(seq)).await?;
        let answer = self.answer_to(node, &format!("1.{seq}")).await?;
        if let Some(code) = &answer {
            self.shows(node, code).await?;
        }
        store::tell(&mut thief, node, None).await?;
        held.commit().await?;
        self.all_the_same().await?;
        Ok(answer)
    }

    async fn answer_to(&self, node: &str, position: &str) -> anyhow::Result<Option<String>> {
        let mut last = Value::Null;
        patiently(&format!("{node} answers to {position}"), async || {
            let fleet = self.answer("/internal/fleet").await.unwrap_or_default();
            last = policy_of(&fleet, node).cloned().unwrap_or_default();
            let is = |name: &str, word: &str| last.get(name) == Some(&word.into());
            is("stage_position", position) && (is("stage", "refused") || is("active", position))
        })
        .await
        .with_context(|| last.to_string())?;
        let is_forged = self.generation(node).await? == FORGED.to_string();
        if last.get("stage") != Some(&"refused".into()) {
            ensure!(is_forged, "taken over, and not in force: {last}");
            return Ok(None);
        }
        ensure!(!is_forged, "refused, and in force: {last}");
        ensure!(
            last.get("active") != Some(&position.into()),
            "refused, and shown as applied: {last}"
        );
        let code = last.pointer("/objection/code").and_then(Value::as_str);
        Ok(Some(code.context("no code")?.to_owned()))
    }

    /// What operators see of a refusal, as long as the gateway should hold what it has refused.
    async fn shows(&self, node: &str, code: &str) -> anyhow::Result<()> {
        let standing = match code {
            "unsupported" => Standing::Incompatible,
            _ => Standing::Refused,
        };
        let status = self.ask(&["fleet", "status"]).await?;
        let is_shown = |line: &str| {
            let mut words = line.split_whitespace();
            words.next() == Some(node) && words.next() == Some(standing.as_str())
        };
        ensure!(
            status.code == Some(1) && status.text.lines().any(is_shown),
            "{node} is not shown as {}: {status:?}",
            standing.as_str()
        );
        let explained = self.ask(&["fleet", "explain", node]).await?.done()?;
        ensure!(
            explained.contains(standing.as_str()) && explained.contains(&format!("{code}: ")),
            "it is not explained: {explained}"
        );
        Ok(())
    }

    /// Takes the key that signs now out of the database.
    async fn steal(&self) -> anyhow::Result<SigningKey> {
        let row = store::signing_key(&mut self.superuser().await?, BUNDLE).await?;
        row.open(&KeyEncryptionKeys::parse([(1, self.kek.as_slice())])?, BUNDLE)
    }

    /// What an operator does from time to time, who knows of no theft: another key signs, and the roots say so.
    async fn retire(&self, key: &SigningKey) -> anyhow::Result<()> {
        self.turn_the_ring().await?;
        let show = || self.ask(&["trust", "show"]);
        ensure!(
            show().await?.code == Some(1),
            "nobody says that a key is trusted for too long"
        );
        self.trust_the_keys("trust-retired.json").await?;
        patiently("the key signs no more", async || {
            let standing = self.answer("/internal/trust").await.unwrap_or_default();
            let keys = standing.get("bundle_keys").and_then(Value::as_array);
            let is_it = |entry: &&Value| entry.get("keyid") == Some(&key.kid().into());
            let entry = keys.into_iter().flatten().find(is_it);
            entry.is_none_or(|entry| entry.get("is_trusted") == Some(&false.into()))
        })
        .await?;
        show().await?.done().map(drop)
    }

    /// What an operator does about a stolen key: another one signs, it is revoked, and the roots name it no more.
    async fn revoke(&self, stolen: &SigningKey) -> anyhow::Result<()> {
        self.turn_the_ring().await?;
        self.ask(&[
            "keys",
            "revoke",
            "--ring",
            BUNDLE,
            "--kid",
            stolen.kid(),
            "--reason",
            "stolen",
        ])
        .await?
        .done()?;
        self.trust_the_keys("trust-revoked.json").await
    }

    async fn turn_the_ring(&self) -> anyhow::Result<()> {
        let mut last = None;
        patiently("the bundle ring turns", async || {
            last = self.ask(&["keys", "rotate", "--ring", BUNDLE]).await.ok();
            last.as_ref().is_some_and(|said| said.code == Some(0))
        })
        .await
        .with_context(|| format!("{last:?}"))
    }
}

/// The policy stream of a gateway, as operators see it.
fn policy_of<'f>(fleet: &'f Value, node: &str) -> Option<&'f Value> {
    let nodes = fleet.get("nodes")?.as_array()?;
    let found = nodes
        .iter()
        .find(|found| found.get("name") == Some(&node.into()))?;
    let streams = found.get("streams")?.as_array()?;
    streams
        .iter()
        .find(|stream| stream.get("stream") == Some(&"policy".into()))
}

/// An envelope like the one in force, which states a policy that nobody published.
fn forged(in_force: &[u8], seq: u64, forgery: Forgery, key: &SigningKey) -> anyhow::Result<Vec<u8>> {
    if forgery == Forgery::Replayed {
        // The same bytes have the same name, and are no news: a space behind them makes another one.
        return Ok([in_force, b" "].concat());
    }
    let mut envelope = Envelope::parse(in_force)?;
    let mut statement: Statement = serde_json::from_slice(&envelope.payload)?;
    let mut content: PolicyContent = serde_json::from_str(statement.content.get())?;
    for file in &mut content.files {
        file.text = with_generation(&file.text);
    }
    let now = Clock::system().now().timestamp();
    statement.content = to_raw_value(&content)?;
    statement.position = Position { epoch: 1, seq };
    statement.previous = Some(Digest::of(in_force));
    statement.created_at = now;
    statement.expires_at = now + 3_600;
    match forgery {
        Forgery::OtherFleet => statement.target.fleet = "other".to_owned(),
        Forgery::OtherEnvironment => statement.target.environment = "production".to_owned(),
        Forgery::OtherGateway => statement.target.nodes = vec!["another".to_owned()],
        Forgery::TooNew => statement.min_version = Version(u64::MAX, 0, 0),
        Forgery::Expired => (statement.created_at, statement.expires_at) = (now - 60, now - 1),
        _ => {}
    }
    envelope.payload = serde_json::to_vec(&statement)?;
    let signed = to_be_signed(Stream::Policy.payload_type(), &envelope.payload);
    envelope.signatures = vec![Signature {
        keyid: key.kid().to_owned(),
        sig: key.sign_bytes(&signed)?,
    }];
    match forgery {
        Forgery::Unsigned => envelope.signatures.clear(),
        Forgery::BitFlipped => {
            let Some(byte) = envelope.payload.last_mut() else {
                bail!("no payload");
            };
            *byte ^= 1;
        }
        _ => {}
    }
    Ok(envelope.to_bytes())
}

/// The same with the generation that tells it.
fn with_generation(text: &str) -> String {
    let mark = "X-Generation: \"";
    let Some((before, rest)) = text.split_once(mark) else {
        return text.to_owned();
    };
    let after = rest.split_once('"').map_or("", |(_, after)| after);
    format!("{before}{mark}{FORGED}\"{after}")
}
