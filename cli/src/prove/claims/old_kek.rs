//! Claim `old-kek`: once a key-encryption key is replaced, whoever stole the old one and the database opens nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use keyring::KeyEncryptionKeys;
use trial::Service;
use uuid::Uuid;

use super::Verdict;
use super::operator::portico;
use crate::data_directory::DataDirectory;
use crate::prove::{ground::Ground, store};

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    replace(ground, true).await
}

/// The next version seals, and nobody brings to it what the old one has sealed.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    replace(ground, false).await
}

async fn replace(ground: &Ground, rewraps: bool) -> anyhow::Result<Verdict> {
    let customer = ground.door.sign_up().await?;
    let secrets = ground.system.launch().data_dir.join("secrets");
    let (old, new) = (newest(&secrets), newest(&secrets) + 1);
    name_in_settings(ground, &secrets, new).await?;
    // A process that was killed counts until its time is over.
    ground
        .wait_until("every process has the new version", async || {
            Ok(portico(ground, &["kek", "rotate"]).await.is_ok())
        })
        .await?;
    if rewraps {
        portico(ground, &["kek", "rewrap"]).await?;
        portico(ground, &["kek", "retire", &old.to_string()]).await?;
    }

    let mut owner = ground.connect_as_owner().await?;
    let keys = store::sealed_keys(&mut owner).await?;
    let with = |version: i32| -> anyhow::Result<usize> {
        let stolen = fs::read(file(&secrets, version))?;
        let stolen = KeyEncryptionKeys::parse([(version, stolen.as_slice())])?;
        Ok(keys.iter().filter(|key| key.opens_with(&stolen)).count())
    };
    let (by_old, by_new) = (with(old)?, with(new)?);
    let mut verdict = Verdict::default();
    verdict.fact(format!(
        "of {} private keys, the old key-encryption key opens {by_old}, the new one {by_new}",
        keys.len()
    ));
    verdict.fail_unless(by_old == 0, || {
        format!("the old key-encryption key opens {by_old} private keys")
    });
    verdict.fail_unless(by_new > 0, || "nothing opens, so nobody has looked".to_owned());
    let again = ground.door.log_in(&customer.email, &customer.password).await?;
    for (whose, customer) in [("of before", &customer), ("of after", &again)] {
        let status = customer.get("/api/v1/me").await?.status;
        verdict.fail_unless(status == 200, || format!("a token {whose} was answered {status}"));
    }
    verdict.fact("tokens of before and of after are good");
    Ok(verdict)
}

/// The file of a version.
fn file(secrets: &Path, version: i32) -> PathBuf {
    match version {
        1 => secrets.join("kek"),
        _ => secrets.join(format!("kek-{version}")),
    }
}

fn newest(secrets: &Path) -> i32 {
    (2..)
        .find(|version| !file(secrets, *version).exists())
        .map_or(1, |free| free - 1)
}

/// Makes the next version, names it in the settings of both services, and starts them again, as an operator does.
async fn name_in_settings(ground: &Ground, secrets: &Path, version: i32) -> anyhow::Result<()> {
    let path = file(secrets, version);
    let secret = [Uuid::new_v4(), Uuid::new_v4()]
        .map(|half| *half.as_bytes())
        .concat();
    fs::write(&path, secret)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let data = DataDirectory::open(&ground.system.launch().data_dir)?;
    for service in [Service::ControlPlane, Service::CoreApi] {
        let settings = data.settings_of(service.name());
        let text = fs::read_to_string(&settings)?;
        let entry = format!("- version: {version}\n  secret: file:{}\n", path.display());
        let edited = if text.contains("keks: []\n") {
            text.replace("keks: []\n", &format!("keks:\n{entry}"))
        } else {
            text.replace("keks:\n", &format!("keks:\n{entry}"))
        };
        if edited == text {
            bail!(
                "{} does not list versions of the key-encryption key",
                settings.display()
            );
        }
        fs::write(&settings, edited)?;
        ground
            .system
            .kill_and_await(service)
            .await
            .with_context(|| format!("with version {version}"))?;
    }
    Ok(())
}
