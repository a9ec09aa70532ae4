//! A remembered token gets the answer of a new one, whatever has changed meanwhile.

use fleet::StatedList;
use keyring::{Algorithm, KeySet, KeyState, Revocation, SigningKey};
use policy::{Plan, SourceFile};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::keys::{KeyFiles, KeyStore, KeyUrls};
use crate::policy_source::expectations;
use crate::revocations::{Denied, Part, Revoked};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://api.bank.example";

/// A policy that accepts this audience with this clock allowance.
fn plan(audience: &str, leeway: &str) -> Plan {
    let text = format!(
        r#"
version: 1
listeners: {{ public: {{ https: {{ bind: "0.0.0.0:443", tls: {{ min: "1.3", certificate: gateway }} }} }} }}
hosts: [api.bank.example]
identity:
  customers: {{ issuer: {ISSUER}, audiences: [{audience}], algorithms: [EdDSA], type: at+jwt, max_lifetime: 15min, leeway: {leeway}, keys: portico }}
headers: {{ api: {{ set: {{ X-Content-Type-Options: nosniff }}, remove: [Server] }} }}
floor:
  limits: {{ head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }}
  timeouts: {{ head: 5s, body: 15s }}
  rate: {{ per-address: {{ limit: 100/min, burst: 100, key: [address] }} }}
  headers: api
routes:
  me: {{ match: {{ method: GET, path: /me }}, auth: customers, scopes: [], serve: live }}
"#
    );
    policy::compile(&[SourceFile::new("policy.yaml", text)], "production").unwrap()
}

fn rules(audience: &str, leeway: &str) -> Arc<TokenRules> {
    let plan = plan(audience, leeway);
    let provider = plan.identity_providers().first().unwrap();
    Arc::new(TokenRules::new(provider, expectations(provider)))
}

fn token(key: &SigningKey, changes: &Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": "core-api", "sub": "usr_1", "sid": "ses_1", "jti": "tok_1", "client_id": "app",
        "iat": NOW, "exp": NOW + 600, "scope": "accounts:read",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    key.sign(&claims).unwrap()
}

/// One that remembers and one that does not, with the same keys and revocations.
struct Pair {
    remembering: Tokens,
    forgetful: Tokens,
    keys: Arc<KeyStore>,
    revocations: Arc<Revocations>,
    _folder: tempfile::TempDir,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Arc::new(KeyStore::open(folder.path()));
        let sources = Arc::new(KeySources {
            portico: keys.clone(),
            files: KeyFiles::new(folder.path()),
            urls: Arc::new(KeyUrls::new(folder.path(), folder.path(), Clock::system())),
        });
        let revocations = Arc::new(Revocations::none_yet());
        Self {
            remembering: Tokens::new(sources.clone(), revocations.clone(), 16),
            forgetful: Tokens::new(sources, revocations.clone(), 0),
            keys,
            revocations,
            _folder: folder,
        }
    }

    fn publish(&self, seq: u64, keys: &[&SigningKey], revoked: &[&SigningKey]) {
        let set = KeySet {
            seq,
            keys: keys.iter().map(|key| key.public_key(KeyState::Active)).collect(),
            revoked_kids: revoked.iter().map(|key| key.kid().to_owned()).collect(),
        };
        self.keys.take_over(set).unwrap();
    }

    fn revoke(&self, seq: u64, revocations: Vec<Revocation>) {
        let stated = StatedList {
            seq,
            pages: Vec::new(),
            revocations,
        };
        let denied = Denied::new(stated, Vec::new()).unwrap();
        self.revocations.take_over(Part::Revocations, denied);
    }

    /// The answer of both, which must be one.
    fn check(&self, rules: &Arc<TokenRules>, token: &str, now: i64) -> Result<Principal, Reason> {
        let principal =
            |accepted: Arc<AcceptedToken>| (accepted.principal.as_ref().clone(), accepted.good.clone());
        let remembered = self.remembering.check(rules, token, now, unbound).map(principal);
        let new = self.forgetful.check(rules, token, now, unbound).map(principal);
        assert_eq!(remembered, new, "at {}", now - NOW);
        new.map(|(principal, _)| principal)
    }
}

/// A token that is bound to nothing asks for no certificate.
fn unbound(certificate: &CertificateHash) -> bool {
    panic!("asked for {certificate}");
}

fn every_entry() -> Vec<(Revocation, Revoked)> {
    let (issuer, until) = (ISSUER.to_owned(), NOW + 900);
    vec![
        (
            Revocation::Token {
                issuer: issuer.clone(),
                jti: "tok_1".to_owned(),
                until,
            },
            Revoked::Token,
        ),
        (
            Revocation::Session {
                issuer: issuer.clone(),
                sid: "ses_1".to_owned(),
                until,
            },
            Revoked::Session,
        ),
        (
            Revocation::Subject {
                issuer: issuer.clone(),
                sub: "usr_1".to_owned(),
                issued_until: NOW,
                until,
            },
            Revoked::Subject,
        ),
        (
            Revocation::Client {
                issuer,
                client_id: "app".to_owned(),
                issued_until: NOW,
                until,
            },
            Revoked::Client,
        ),
    ]
}

#[test]
fn j41_j45_every_kind_of_entry_refuses_a_token_that_is_remembered() {
    let pair = Pair::new();
    let (rules, key) = (
        rules("core-api", "30s"),
        SigningKey::generate(Algorithm::EdDSA).unwrap(),
    );
    pair.publish(1, &[&key], &[]);
    let token = token(&key, &json!({}));
    for (turn, (entry, revoked)) in (0_u64..).zip(every_entry()) {
        pair.revoke(turn * 2 + 1, Vec::new());
        assert!(pair.check(&rules, &token, NOW).is_ok());
        pair.revoke(turn * 2 + 2, vec![entry]);
        assert_eq!(pair.check(&rules, &token, NOW), Err(Reason::Revoked(revoked)));
    }
    let kid = key.kid().to_owned();
    let entry = Revocation::Key {
        issuer: ISSUER.to_owned(),
        kid,
        until: NOW,
    };
    pair.revoke(100, vec![entry]);
    assert_eq!(
        pair.check(&rules, &token, NOW),
        Err(Reason::Revoked(Revoked::Key))
    );
}

#[test]
fn j41_what_was_issued_later_by_another_or_for_another_is_not_meant() {
    let pair = Pair::new();
    let (rules, key) = (
        rules("core-api", "30s"),
        SigningKey::generate(Algorithm::EdDSA).unwrap(),
    );
    pair.publish(1, &[&key], &[]);
    let mut entries: Vec<Revocation> = every_entry().into_iter().map(|(entry, _)| entry).collect();
    for entry in &mut entries {
        if let Revocation::Token { issuer, .. } | Revocation::Session { issuer, .. } = entry {
            *issuer = "https://other.example".to_owned();
        }
    }
    pair.revoke(1, entries);
    let later = token(&key, &json!({"iat": NOW + 1}));
    assert!(pair.check(&rules, &later, NOW + 1).is_ok());
    let other = token(&key, &json!({"sub": "usr_2", "client_id": "web"}));
    assert!(pair.check(&rules, &other, NOW).is_ok());
}

#[test]
fn j45_a_remembered_token_dies_with_its_time_its_keys_and_its_rules() {
    let pair = Pair::new();
    let (key, successor) = (
        SigningKey::generate(Algorithm::EdDSA).unwrap(),
        SigningKey::generate(Algorithm::EdDSA).unwrap(),
    );
    let first = rules("core-api", "30s");
    pair.publish(1, &[&key], &[]);
    let token = token(&key, &json!({}));
    for (now, answer) in [
        (NOW, Ok(())),
        (NOW + 629, Ok(())),
        (NOW + 630, Err("expired")),
        (NOW - 30, Ok(())),
        (NOW - 31, Err("issued_in_future")),
        (NOW, Ok(())),
    ] {
        let found = pair.check(&first, &token, now).map(drop).map_err(Reason::as_str);
        assert_eq!(found, answer, "{}", now - NOW);
    }
    // Another policy: another audience.
    assert_eq!(
        pair.check(&rules("payroll", "30s"), &token, NOW).map(drop),
        Err(Reason::Refused(TokenRefusal::Audience))
    );
    assert!(pair.check(&first, &token, NOW).is_ok());
    pair.publish(2, &[&successor], &[&key]);
    assert_eq!(
        pair.check(&first, &token, NOW).map(drop),
        Err(Reason::Refused(TokenRefusal::RevokedKey))
    );
}

#[test]
fn j45_the_table_keeps_what_it_can_and_never_more() {
    let pair = Pair::new();
    let (rules, key) = (
        rules("core-api", "30s"),
        SigningKey::generate(Algorithm::EdDSA).unwrap(),
    );
    pair.publish(1, &[&key], &[]);
    let tokens: Vec<String> = (0..100)
        .map(|n| token(&key, &json!({"jti": n.to_string()})))
        .collect();
    for token in &tokens {
        assert!(pair.check(&rules, token, NOW).is_ok());
    }
    let kept = |token: &&String| pair.remembering.cache.get(&TokenHash::of(token)).is_some();
    let count = tokens.iter().filter(kept).count();
    assert!((9..=16).contains(&count), "{count}");
    assert!(pair.forgetful.cache.get(&TokenHash::of(&tokens[0])).is_none());
    // All of them end together: as many as share a lock are kept of the newest, wherever they are.
    assert_eq!(tokens.iter().rev().take_while(kept).take(8).count(), 8);
}

#[test]
fn j33_j45_a_bound_token_that_is_remembered_is_good_for_whoever_shows_its_certificate_alone() {
    let pair = Pair::new();
    let (rules, key) = (
        rules("core-api", "30s"),
        SigningKey::generate(Algorithm::EdDSA).unwrap(),
    );
    pair.publish(1, &[&key], &[]);
    let hash = CertificateHash::of(b"a certificate");
    let token = token(&key, &json!({"cnf": {"x5t#S256": hash.to_string()}}));
    for tokens in [&pair.remembering, &pair.forgetful] {
        for _ in 0..2 {
            let shown = tokens.check(&rules, &token, NOW, |bound_to| *bound_to == hash);
            assert!(shown.is_ok_and(|token| token.is_bound()));
            let stolen = tokens.check(&rules, &token, NOW, |_| false).map(drop);
            assert_eq!(stolen, Err(Reason::Refused(TokenRefusal::Unproven)));
        }
    }
}

#[tokio::test]
async fn j47_who_waits_for_the_end_of_a_token_hears_of_it() {
    let (rules, key) = (
        rules("core-api", "30s"),
        SigningKey::generate(Algorithm::EdDSA).unwrap(),
    );
    let start = chrono::DateTime::from_timestamp(NOW, 0).unwrap();
    let token = token(&key, &json!({}));
    let ends_by = async |what: &dyn Fn(&Pair, &Clock)| {
        let (pair, clock) = (Pair::new(), Clock::manual(start));
        pair.publish(1, &[&key], &[]);
        let accepted = pair.remembering.check(&rules, &token, NOW, unbound).unwrap();
        let waiting = pair.remembering.ended(&accepted, &clock);
        tokio::pin!(waiting);
        assert!(
            timeout(Duration::from_millis(20), &mut waiting).await.is_err(),
            "it is good"
        );
        what(&pair, &clock);
        timeout(Duration::from_secs(5), waiting)
            .await
            .expect("it hears of it")
    };
    let expired = ends_by(&|_, clock| clock.advance(chrono::TimeDelta::seconds(631))).await;
    assert_eq!(expired, Ending::Expired);
    let revoked = ends_by(&|pair, _| pair.revoke(1, vec![every_entry()[1].0.clone()])).await;
    assert_eq!(revoked, Ending::Revoked);
    let other = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let key_gone = ends_by(&|pair, _| pair.publish(2, &[&other], &[&key])).await;
    assert_eq!(key_gone, Ending::Revoked);
}

/// What can happen between two requests.
#[derive(Debug, Clone)]
enum Step {
    Ask { token: usize, rules: usize },
    Clock(i64),
    Keys { listed: u8, revoked: u8 },
    Revoke(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..8, 0_usize..3).prop_map(|(token, rules)| Step::Ask { token, rules }),
        2 => prop_oneof![-3_700_i64..3_700, -40_i64..40, 560_i64..660].prop_map(Step::Clock),
        1 => (1_u8..4, 0_u8..4).prop_map(|(listed, revoked)| Step::Keys { listed, revoked }),
        1 => any::<u8>().prop_map(Step::Revoke),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// J45: with and without memory, over tokens, keys, rules, revocations and a clock that goes both ways.
    #[test]
    fn j45_memory_changes_no_answer(steps in proptest::collection::vec(step(), 1..60)) {
        let pair = Pair::new();
        let keys = [(); 2].map(|()| SigningKey::generate(Algorithm::EdDSA).unwrap());
        let chosen = |bits: u8| keys.iter().zip([1_u8, 2]).filter(|(_, bit)| bits & bit != 0).map(|(key, _)| key).collect::<Vec<_>>();
        let policies = [rules("core-api", "30s"), rules("core-api", "1s"), rules("payroll", "30s")];
        let tokens: Vec<String> = (0_i64..8).map(|n| {
            let key = &keys[usize::from(n % 2 == 1)];
            let number = n.to_string();
            let mut changes = json!({"jti": number, "sub": format!("usr_{}", n / 4), "sid": format!("ses_{}", n / 2), "iat": NOW + n * 50, "exp": NOW + 600 + n});
            if n == 3 { changes["nbf"] = json!(NOW + 200); }
            if n == 5 { changes["aud"] = json!("payroll"); }
            token(key, &changes)
        }).collect();
        let entries: Vec<Revocation> = vec![
            Revocation::Token { issuer: ISSUER.to_owned(), jti: "0".to_owned(), until: NOW + 100 },
            Revocation::Session { issuer: ISSUER.to_owned(), sid: "ses_1".to_owned(), until: NOW + 100 },
            Revocation::Subject { issuer: ISSUER.to_owned(), sub: "usr_1".to_owned(), issued_until: NOW + 220, until: NOW },
            Revocation::Key { issuer: ISSUER.to_owned(), kid: keys[1].kid().to_owned(), until: NOW },
        ];
        let (mut now, mut seq) = (NOW, 1);
        pair.publish(seq, &[&keys[0], &keys[1]], &[]);
        for step in steps {
            seq += 1;
            match step {
                Step::Ask { token, rules } => { let _ = pair.check(&policies[rules], &tokens[token], now); }
                Step::Clock(by) => now = (now + by).clamp(NOW - 4_000, NOW + 4_000),
                Step::Keys { listed, revoked } => pair.publish(seq, &chosen(listed), &chosen(revoked)),
                Step::Revoke(bits) => pair.revoke(seq, entries.iter().zip(0_u8..).filter(|(_, n)| bits >> n & 1 == 1).map(|(entry, _)| entry.clone()).collect()),
            }
        }
    }
}

/// Prints what one check costs: `cargo nextest run -p gateway --lib --run-ignored only --no-capture measure`.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_checks() {
    const ROUNDS: u32 = 100_000;
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let pair = Pair::new();
        let key = SigningKey::generate(algorithm).unwrap();
        let plan = plan("core-api", "30s");
        let provider = plan.identity_providers().first().unwrap();
        let mut expected = expectations(provider);
        expected.algorithms = vec![algorithm.into()];
        let rules = Arc::new(TokenRules::new(provider, expected));
        pair.publish(1, &[&key], &[]);
        let token = token(&key, &json!({}));
        let per_check = |tokens: &Tokens, rounds: u32| {
            let started = std::time::Instant::now();
            for _ in 0..rounds {
                assert!(
                    tokens
                        .check(&rules, std::hint::black_box(&token), NOW, unbound)
                        .is_ok()
                );
            }
            started.elapsed() / rounds
        };
        let miss = per_check(&pair.forgetful, ROUNDS / 10);
        let hit = per_check(&pair.remembering, ROUNDS);
        let contended = std::thread::scope(|scope| {
            let twins = [(); 2].map(|()| scope.spawn(|| per_check(&pair.remembering, ROUNDS)));
            twins.map(|twin| twin.join().unwrap()).into_iter().max().unwrap()
        });
        println!(
            "{algorithm}, {} bytes: new {miss:?}, remembered {hit:?}, by two threads at once {contended:?}",
            token.len()
        );
    }
}
