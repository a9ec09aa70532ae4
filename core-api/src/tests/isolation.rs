//! Attacks on the isolation of tenants and users (I13), with the rights that core-api itself has.

use sqlx::PgConnection;

use super::bank::{Customer, TestBank};
use super::store;

const TABLES: [&str; 8] = [
    "ledger.account",
    "ledger.balance",
    "ledger.entry",
    "ledger.transfer",
    "ledger.posting",
    "core.account",
    "core.user",
    "core.tenant",
];

async fn count(conn: &mut PgConnection, table: &str) -> i64 {
    // core.user has columns that nobody may read: count one that everybody may.
    let column = if table == "core.user" { "user_id" } else { "*" };
    store::number_on(conn, &format!("SELECT count({column}) FROM {table}"))
        .await
        .unwrap()
}

/// A bank with two customers who have paid each other.
async fn two_customers() -> (TestBank, Customer, Customer) {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let (hers, his) = (
        bank.funded(&alice, "EUR", 100).await,
        bank.funded(&bob, "EUR", 100).await,
    );
    bank.transfer(&alice, &hers, &his, 10, "t")
        .await
        .assert_status(201);
    (bank, alice, bob)
}

async fn become_user(conn: &mut PgConnection, tenant: &str, user: &str) {
    let sql = format!(
        "SELECT set_config('app.tenant_id', '{tenant}', true), set_config('app.user_id', '{user}', true)"
    );
    store::execute_on(conn, &sql).await.unwrap();
}

async fn user_id(bank: &TestBank, name: &str) -> String {
    store::texts(
        &bank.owner,
        &format!("SELECT user_id::text FROM core.user WHERE email = '{name}@example.com'"),
    )
    .await
    .remove(0)
}

#[tokio::test]
async fn without_a_tenant_and_a_user_nothing_is_there() {
    let (bank, ..) = two_customers().await;
    let pool = bank.db.pool_as("portico_core");
    let alice = user_id(&bank, "alice").await;
    for (tenant, user) in [("", ""), ("1", ""), ("", alice.as_str())] {
        let mut tx = pool.begin().await.unwrap();
        become_user(&mut tx, tenant, user).await;
        for table in TABLES {
            let seen = count(&mut tx, table).await;
            let allowed = i64::from(table == "core.tenant" && tenant == "1");
            assert_eq!(seen, allowed, "{table} with tenant {tenant:?} and user {user:?}");
        }
    }
    // What a transaction sets does not outlive it.
    let mut conn = pool.acquire().await.unwrap();
    for table in TABLES {
        assert_eq!(count(&mut conn, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_user_sees_his_own_rows_and_both_sides_of_his_transfers() {
    let (bank, ..) = two_customers().await;
    let pool = bank.db.pool_as("portico_core");
    let mut tx = pool.begin().await.unwrap();
    become_user(&mut tx, "1", &user_id(&bank, "alice").await).await;
    let mut seen = Vec::new();
    for table in TABLES {
        seen.push((table, count(&mut tx, table).await));
    }
    // Her deposit and her transfer; of the latter two lines, hers and his.
    assert_eq!(
        seen,
        [
            ("ledger.account", 1),
            ("ledger.balance", 1),
            ("ledger.entry", 2),
            ("ledger.transfer", 2),
            ("ledger.posting", 4),
            ("core.account", 1),
            ("core.user", 1),
            ("core.tenant", 1),
        ]
    );
}

#[tokio::test]
async fn another_tenant_is_another_world() {
    let (bank, alice, _) = two_customers().await;
    let eve = bank.customer("eve").await;
    let hers = bank.get("/api/v1/accounts").by(&alice).send().await.json["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    // Eve moves to a tenant of her own; her token still names the old one.
    let move_out = "WITH t AS (INSERT INTO core.tenant (public_id, slug, name) VALUES (gen_random_uuid(), 'other', 'Other') RETURNING tenant_id)
                    UPDATE core.user SET tenant_id = t.tenant_id FROM t WHERE email = 'eve@example.com'";
    store::execute(&bank.owner, move_out).await.unwrap();
    bank.get("/api/v1/accounts")
        .by(&eve)
        .send()
        .await
        .assert_problem(401, "session-ended");

    let login = bank.login(&eve.email, super::bank::PASSWORD).await;
    let eve = Customer {
        access: login.text("access_token"),
        refresh: login.text("refresh_token"),
        ..eve
    };
    let own = bank.funded(&eve, "EUR", 50).await;
    bank.transfer(&eve, &own, &hers, 1, "across")
        .await
        .assert_problem(404, "account-not-found");
    bank.get(&format!("/api/v1/accounts/{hers}"))
        .by(&eve)
        .send()
        .await
        .assert_problem(404, "account-not-found");
    assert_eq!(
        store::number(
            &bank.owner,
            "SELECT count(*) FROM ledger.account WHERE house_role = 'cash'"
        )
        .await,
        2
    );

    // Alice's user id under Eve's tenant shows nothing.
    let pool = bank.db.pool_as("portico_core");
    let mut tx = pool.begin().await.unwrap();
    become_user(&mut tx, "2", &user_id(&bank, "alice").await).await;
    for table in [
        "ledger.account",
        "ledger.balance",
        "ledger.transfer",
        "ledger.entry",
        "core.account",
        "core.user",
    ] {
        assert_eq!(count(&mut tx, table).await, 0, "{table}");
    }
    bank.assert_invariants().await;
}

#[tokio::test]
async fn core_api_itself_can_write_nothing_directly() {
    let (bank, ..) = two_customers().await;
    let pool = bank.db.pool_as("portico_core");
    for statement in [
        "INSERT INTO ledger.entry (entry_id, tenant_id, kind, effective_on, booked_at) VALUES (gen_random_uuid(), 1, 1, now(), now())",
        "INSERT INTO ledger.transfer (entry_id, leg, tenant_id, currency_id, debit_id, credit_id, amount, debit_after, credit_after)
            VALUES (gen_random_uuid(), 1, 1, 978, 1, 2, 1, 1, 1)",
        "UPDATE ledger.balance SET cr_posted = 1000000",
        "UPDATE ledger.balance SET debit_cap = NULL",
        "UPDATE ledger.transfer SET amount = 1",
        "DELETE FROM ledger.entry",
        "TRUNCATE ledger.transfer",
        "INSERT INTO ledger.account (public_id, tenant_id, currency_id, class, house_role, created_at) VALUES (gen_random_uuid(), 1, 978, 1, 'x', now())",
        "UPDATE core.user SET status = 'active'",
        "UPDATE core.session SET revoked_at = NULL",
        "DELETE FROM core.audit_event",
        "INSERT INTO core.idempotency_record SELECT * FROM core.idempotency_record",
        "SELECT password_hash FROM core.user",
        "SELECT * FROM core.session",
        "SELECT * FROM core.refresh_token",
        "SELECT * FROM core.idempotency_record",
        "SELECT * FROM core.audit_event",
        "SELECT sealed_private_key FROM control.signing_key",
        "UPDATE control.signing_key SET state = 'active'",
        "SELECT ledger.post_batch('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
        "SELECT ledger.post('{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}')",
        "SELECT core.record_audit(1, NULL, NULL, 'a.b', NULL, 'c', NULL)",
        "SELECT core.live_session_tenant(gen_random_uuid(), gen_random_uuid(), gen_random_uuid())",
        "SET session_replication_role = replica",
        "SET ROLE portico_owner",
        "ALTER TABLE ledger.balance DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE ledger.mine (x int)",
        "CREATE FUNCTION core.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ] {
        let error = store::execute(&pool, statement).await.expect_err(statement);
        let code = error.as_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "42501", "{statement}: {error}");
    }
}

#[tokio::test]
async fn not_even_a_superuser_rewrites_history_by_accident() {
    let (bank, ..) = two_customers().await;
    for table in [
        "ledger.entry",
        "ledger.transfer",
        "ledger.account",
        "core.audit_event",
        "core.outbox_event",
    ] {
        let column = if table == "ledger.account" || table == "ledger.entry" || table == "ledger.transfer" {
            "tenant_id"
        } else {
            "created_at"
        };
        for statement in [
            format!("UPDATE {table} SET {column} = {column}"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table} CASCADE"),
        ] {
            let mut conn = bank.owner.acquire().await.unwrap();
            store::execute_on(&mut conn, "SET session_replication_role = replica")
                .await
                .unwrap();
            let error = store::execute_on(&mut conn, &statement)
                .await
                .expect_err(&statement);
            assert!(error.to_string().contains("append-only"), "{statement}: {error}");
            store::execute_on(&mut conn, "RESET session_replication_role")
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn every_table_is_under_forced_row_level_security() {
    let bank = TestBank::new().await;
    let open = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname IN ('core', 'ledger') AND c.relkind = 'r' AND NOT (c.relrowsecurity AND c.relforcerowsecurity)
                 ORDER BY 1";
    // Currencies are the same for everybody.
    assert_eq!(store::texts(&bank.owner, open).await, ["ledger.currency"]);
    let loose = "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                  WHERE n.nspname IN ('core', 'ledger') AND (p.proconfig IS NULL OR NOT p.proconfig::text LIKE '%search_path=pg_catalog, pg_temp%')";
    assert_eq!(store::texts(&bank.owner, loose).await, Vec::<String>::new());
    let public = "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                   WHERE n.nspname IN ('core', 'ledger') AND has_function_privilege('public', p.oid, 'EXECUTE')";
    assert_eq!(store::texts(&bank.owner, public).await, Vec::<String>::new());
}
