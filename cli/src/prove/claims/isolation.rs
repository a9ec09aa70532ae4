//! Claim `isolation`: in the database, without a tenant nothing is visible, and a stranger's rows never are.

use sqlx::{Connection as _, PgConnection};

use super::Verdict;
use crate::prove::ground::Ground;
use crate::prove::store;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    let scene = Scene::arrange(ground).await?;
    let mut core = ground.connect_as_core().await?;
    let mut verdict = Verdict::default();
    scene.look(&mut core, &mut verdict).await?;
    Ok(verdict)
}

/// Switches row-level security off inside a transaction that is never committed, and looks again as the same role.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let scene = Scene::arrange(ground).await?;
    let mut owner = ground.connect_as_owner().await?;
    let mut transaction = owner.begin().await?;
    store::disable_row_level_security(&mut transaction).await?;
    store::become_core(&mut transaction).await?;
    let mut verdict = Verdict::default();
    scene.look(&mut transaction, &mut verdict).await?;
    transaction.rollback().await?;
    Ok(verdict)
}

/// Two customers with an account each, and the tables that hold rows of theirs.
struct Scene {
    one: store::Owner,
    tables: Vec<store::Table>,
}

impl Scene {
    async fn arrange(ground: &Ground) -> anyhow::Result<Self> {
        let (one, other) = (ground.door.sign_up().await?, ground.door.sign_up().await?);
        let from = one.open_account("USD", 500).await?;
        let to = other.open_account("USD", 700).await?;
        let key = uuid::Uuid::now_v7().to_string();
        one.transfer((&from, &to), (25, "USD"), &key).await?.expect(201)?;
        let mut auditor = PgConnection::connect(&ground.system.endpoints().database_url).await?;
        let mut owner = ground.connect_as_owner().await?;
        Ok(Self {
            one: store::owner_of(&mut owner, &one.email).await?,
            tables: store::tables(&mut auditor).await?,
        })
    }

    async fn look(&self, conn: &mut PgConnection, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut seen = 0_i64;
        for table in &self.tables {
            let visible = store::visible_rows(conn, table).await?;
            seen += visible;
            verdict.fail_unless(visible == 0, || {
                format!("{table}: {visible} rows are visible with no tenant set")
            });
        }
        verdict.fact(format!(
            "{} readable tables, {seen} rows visible with no tenant set",
            self.tables.len()
        ));

        let own = store::visible_accounts(conn, &self.one).await?;
        verdict.fact(format!(
            "as one customer: {} accounts visible, {} of them a stranger's",
            own.all, own.of_others
        ));
        verdict.fail_unless(own.all > 0, || {
            "the customer does not see even the account that is there".to_owned()
        });
        verdict.fail_unless(own.of_others == 0, || {
            format!(
                "{} accounts of strangers are visible to a customer",
                own.of_others
            )
        });
        Ok(())
    }
}
