//! Claim `secrecy`: no secret of the system is anywhere but in its own file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use memchr::memmem::Finder;
use trial::Service;

use super::Verdict;
use crate::prove::ground::Ground;

/// What `portico up` made, each in a file of the folder `secrets`.
const SECRETS: [&str; 5] = [
    "kek",
    "pepper",
    "db_owner_password",
    "db_core_password",
    "db_control_password",
];

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    search(ground).await
}

/// A service writes the password of its database into its log, as a careless line of code would.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let data = &ground.system.launch().data_dir;
    let planted = data.join("logs").join("planted.log");
    let password = std::fs::read_to_string(data.join("secrets").join("db_core_password"))?;
    std::fs::write(
        &planted,
        format!("{{\"message\":\"cannot log in with {password}\"}}\n"),
    )?;
    let found = search(ground).await;
    std::fs::remove_file(&planted)?;
    found
}

async fn search(ground: &Ground) -> anyhow::Result<Verdict> {
    // Something that handles secrets must have happened.
    let customer = ground.door.sign_up().await?;
    ground.door.log_in(&customer.email, &customer.password).await?;

    let data = &ground.system.launch().data_dir;
    let folder = data.join("secrets");
    let mut wanted = vec![
        ("a customer's password", finders(customer.password.as_bytes())),
        ("an access token", finders(customer.tokens.access.as_bytes())),
        ("a refresh token", finders(customer.tokens.refresh.as_bytes())),
    ];
    for name in SECRETS {
        let secret = std::fs::read(folder.join(name)).with_context(|| name.to_owned())?;
        wanted.push((name, finders(secret.trim_ascii_end())));
    }
    let (mut verdict, mut places) = (Verdict::default(), 0_usize);
    let mut look = |place: &str, text: &[u8], verdict: &mut Verdict| {
        places += 1;
        for (name, forms) in &wanted {
            if forms.iter().any(|form| form.find(text).is_some()) {
                verdict.fail(format!("{name} is in {place}"));
            }
        }
    };
    for service in Service::ALL {
        let name = service.name();
        let metrics = ground.system.metrics(service).await?;
        look(
            &format!("the metrics of {name}"),
            metrics.as_bytes(),
            &mut verdict,
        );
        let pid = ground.system.pid_of(service)?.as_raw_nonzero();
        for file in ["environ", "cmdline"] {
            let text = std::fs::read(format!("/proc/{pid}/{file}"))?;
            look(&format!("the {file} of {name}"), &text, &mut verdict);
        }
    }
    for file in files_below(data)? {
        if file.starts_with(&folder) {
            continue;
        }
        // PostgreSQL removes files of its own now and then.
        if let Ok(text) = std::fs::read(&file) {
            look(&file.display().to_string(), &text, &mut verdict);
        }
    }
    verdict.fact(format!(
        "{} secrets, raw, in hexadecimal and in base64, were looked for in {places} places",
        wanted.len()
    ));
    Ok(verdict)
}

/// Finds a secret, as it is and in the usual forms.
fn finders(secret: &[u8]) -> [Finder<'static>; 3] {
    let hexadecimal: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    // The last characters of base64 depend on what follows.
    let whole = secret.len() / 3 * 3;
    let base64 = STANDARD_NO_PAD.encode(secret.get(..whole).unwrap_or_default());
    [secret, hexadecimal.as_bytes(), base64.as_bytes()].map(|form| Finder::new(form).into_owned())
}

fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        // What is gone since it was listed has no secret.
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => files.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    Ok(files)
}
