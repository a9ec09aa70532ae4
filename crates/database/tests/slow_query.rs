//! A slow statement reaches the service's log, without the values that were bound to it.
#![cfg(test)]

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use database::cluster::{Authentication, Durability, Options, PrivateCluster};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps every warning as text.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a statement that sleeps is nobody's query"
)]
async fn a_slow_query_is_logged_without_its_values_and_a_fast_one_is_not() {
    let warnings = Warnings::default();
    tracing::subscriber::set_global_default(warnings.clone()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o711),
    )
    .unwrap();
    let cluster = PrivateCluster::start(Options {
        directory: directory.path().join("postgres"),
        superuser_password: "pw".to_owned(),
        authentication: Authentication::Passwords,
        durability: Durability::None,
    })
    .await
    .unwrap();
    let settings = database::DatabaseSettings {
        url: cluster.owner_url().into(),
        slow_query_ms: 100,
        ..database::DatabaseSettings::default()
    };
    let pool = database::connect(&settings, "test").await.unwrap();
    warnings.0.lock().unwrap().clear();

    for (seconds, marker) in [(0.0, "fast"), (0.2, "slow")] {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT pg_sleep($1), $2::text AS {marker}"
        )))
        .bind(seconds)
        .bind("hunter2")
        .execute(&pool)
        .await
        .unwrap();
    }
    let seen = warnings.0.lock().unwrap().join("\n");
    assert!(
        seen.contains("AS slow") && seen.contains("slow statement"),
        "{seen}"
    );
    assert!(!seen.contains("AS fast") && !seen.contains("hunter2"), "{seen}");
    pool.close().await;
    cluster.stop().await.unwrap();
}
