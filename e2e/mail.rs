//! Mails of a system whose core is killed while it sends them.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use stand_ins::{MailCertificate, MailServer, Protection};
use trial::{FrontDoor, Service};

use crate::stage::Stage;

/// What the system is told to send its mails to.
fn variables(server: &MailServer, certificate: &MailCertificate) -> Vec<(&'static str, String)> {
    vec![
        ("CORE_API__MAIL__SMTP__HOST", "localhost".to_owned()),
        ("CORE_API__MAIL__SMTP__PORT", server.port().to_string()),
        (
            "CORE_API__MAIL__SMTP__CA_FILE",
            certificate.file().display().to_string(),
        ),
        ("CORE_API__MAIL__DEADLINE_S", "600".to_owned()),
    ]
}

async fn register(door: &FrontDoor, email: &str) {
    let form =
        json!({"email": email, "password": "correct horse battery staple 9!", "full_name": "Robin Example"});
    let answer = door.post("/api/v1/auth/register", &form).await.unwrap();
    answer.expect(202).unwrap();
}

/// Waits for a condition; a minute is the end of patience.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !holds().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
}

/// Each mail's state and tries, the oldest first, after the owner of the database has said something.
async fn jobs(owner: &str, first: &'static str) -> Vec<String> {
    let options: sqlx::postgres::PgConnectOptions = owner.parse().unwrap();
    let mut connection = options.connect().await.unwrap();
    connection
        .execute(sqlx::raw_sql("SET ROLE portico_owner"))
        .await
        .unwrap();
    connection.execute(sqlx::raw_sql(first)).await.unwrap();
    let all = "SELECT state || ' ' || tries FROM core.mail_job ORDER BY created_at";
    let rows = connection.fetch_all(sqlx::raw_sql(all)).await.unwrap();
    connection.close().await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn logs_of_core(data: &Path) -> String {
    std::fs::read_to_string(data.join("logs/core-api.log")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_that_is_killed_while_it_sends_loses_no_mail_and_sends_no_second_one() {
    let certificate = MailCertificate::generate();
    let server = MailServer::start(Protection::Implicit, &certificate);
    let stage = Stage::new();
    let (system, door) = stage.start_with(variables(&server, &certificate)).await;
    let owner = std::fs::read_to_string(stage.data_dir().join("secrets/db_owner")).unwrap();

    // One mail is on its way, and the server has not answered yet; the server has read the other.
    register(&door, "deaf.ada@customers.example").await;
    register(&door, "slow.bob@customers.example").await;
    until(async || server.recipients().len() == 2 && server.mails().len() == 1).await;
    system.kill_and_await(Service::CoreApi).await.unwrap();

    // The gateway asks the new one before it sends anybody there.
    until(async || {
        let document = door.get("/openapi.json").await;
        document.is_ok_and(|answer| answer.status == 200)
    })
    .await;

    // Nobody touches them while the leases last, which the new process does not know to be a dead one's.
    register(&door, "eve@customers.example").await;
    until(async || server.mails().len() == 2).await;
    assert_eq!(
        jobs(&owner, "SELECT 1").await,
        ["waiting 1", "waiting 1", "sent 1"]
    );
    let over = "UPDATE core.mail_job SET due_at = clock_timestamp() WHERE state = 'waiting'";
    jobs(&owner, over).await;
    until(async || jobs(&owner, "SELECT 1").await == ["sent 2", "sent 2", "sent 1"]).await;

    // Ada has one mail. Bob's was read before the kill: he has it twice, as the same.
    let mails = server.mails();
    let content = |to: &str| -> Vec<_> {
        let of = mails
            .iter()
            .filter(|mail| mail["to"][0] == format!("{to}@customers.example"));
        of.map(|mail| mail["content"].as_str().unwrap()).collect()
    };
    assert_eq!(content("deaf.ada").len(), 1, "{mails:?}");
    let bob = content("slow.bob");
    assert_eq!(bob.len(), 2, "{mails:?}");
    let id = |mail: &str| {
        mail.lines()
            .find(|line| line.starts_with("Message-ID: "))
            .map(ToOwned::to_owned)
    };
    assert!(id(bob[0]).is_some());
    assert_eq!(id(bob[0]), id(bob[1]));

    // Neither address nor token is in the log.
    let token = |mail: &str| {
        let mail = mail_parser::MessageParser::default()
            .parse(mail.as_bytes())
            .unwrap();
        let text = mail.body_text(0).unwrap().into_owned();
        let (_, token) = text.split_once("/verify-email#").unwrap();
        token.lines().next().unwrap().trim().to_owned()
    };
    assert_eq!(token(bob[0]), token(bob[1]));
    let ticket = json!({"token": token(bob[1])});
    let verified = door.post("/api/v1/auth/email/verify", &ticket).await.unwrap();
    verified.expect(204).unwrap();
    let again = door.post("/api/v1/auth/email/verify", &ticket).await.unwrap();
    again.expect(403).unwrap();
    let said = logs_of_core(&stage.data_dir());
    assert!(said.contains("mail sent"), "{said}");
    for secret in ["customers.example", "Robin", &token(bob[0])] {
        assert!(!said.contains(secret), "{secret} is in the log of core-api");
    }
    system.stop().await.unwrap();
}
