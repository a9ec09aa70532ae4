//! Database addresses that sqlx and every libpq program (psql, psycopg) read the same way.

use std::fmt::Write as _;
use std::path::Path;

use crate::pool;

/// The address of `database` behind the unix socket in `socket_directory`, as `role`. Without a password it is fit to
/// be shown: `postgresql:///portico?host=/run/…&user=portico_auditor`.
#[must_use]
pub fn over_socket(socket_directory: &Path, role: &str, password: Option<&str>, database: &str) -> String {
    let mut url = format!(
        "postgresql:///{}?host={}&user={}",
        escaped(database),
        escaped(&socket_directory.to_string_lossy()),
        escaped(role)
    );
    if let Some(password) = password {
        url.push_str("&password=");
        url.push_str(&escaped(password));
    }
    url
}

/// The server and database of `url` as another role: same host, port, socket and TLS parameters, and neither the user,
/// the password nor the session options that stand in `url`.
///
/// # Errors
/// When `url` is not a PostgreSQL address; it is not repeated.
pub fn for_role(url: &str, role: &str, password: Option<&str>) -> anyhow::Result<String> {
    let options = pool::parse(url)?;
    let unreadable = || anyhow::anyhow!("the database address has no `://`");
    let url = url.trim();
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    let (scheme, rest) = url.split_once("://").ok_or_else(unreadable)?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = place.split_once('/').unwrap_or((place, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let name_of = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).to_owned();
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(|pair| {
            let name = name_of(pair);
            !matches!(name.as_str(), "user" | "password") && !name.starts_with("options")
        })
        .collect();
    // Without a name, the database is the user's, and the user changes.
    let database = if path.is_empty() && !kept.iter().any(|pair| name_of(pair) == "dbname") {
        escaped(options.get_database().unwrap_or(options.get_username()))
    } else {
        path.to_owned()
    };
    let mut out = format!("{scheme}://{host}/{database}?");
    for pair in kept {
        out.push_str(pair);
        out.push('&');
    }
    out.push_str(&format!("user={}", escaped(role)));
    if let Some(password) = password {
        out.push_str("&password=");
        out.push_str(&escaped(password));
    }
    Ok(out)
}

/// Percent-encodes everything but unreserved characters and `/` (RFC 3986 §2.3).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'/') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::postgres::PgConnectOptions;

    #[test]
    fn an_address_survives_the_way_through_sqlx() {
        let url = over_socket(Path::new("/tmp/a b&c"), "portico_core", Some("p%w"), "portico");
        let options: PgConnectOptions = url.parse().unwrap();
        assert_eq!(options.get_socket().unwrap(), Path::new("/tmp/a b&c"));
        assert_eq!(
            (options.get_username(), options.get_database()),
            ("portico_core", Some("portico"))
        );
    }

    #[test]
    fn another_role_reaches_the_same_server_with_nothing_of_the_first_user() {
        let admin = "postgresql://admin:hunter2@db.example:5433/bank?sslmode=require&password=hunter3&user=root&options=-c%20role%3Dx&options[role]=y";
        assert_eq!(
            for_role(admin, "portico_auditor", None).unwrap(),
            "postgresql://db.example:5433/bank?sslmode=require&user=portico_auditor"
        );
        let core = for_role(admin, "portico_core", Some("p%w")).unwrap();
        let options: PgConnectOptions = core.parse().unwrap();
        assert_eq!(
            (
                options.get_username(),
                options.get_host(),
                options.get_port(),
                options.get_database()
            ),
            ("portico_core", "db.example", 5433, Some("bank"))
        );
        assert!(!core.contains("hunter"), "{core}");
    }

    #[test]
    fn the_database_that_the_first_user_would_reach_is_kept() {
        for (admin, expected) in [
            ("postgres://bank@db.example", "postgres://db.example/bank?user=r"),
            (
                "postgres:///?host=/run/p&dbname=bank",
                "postgres:///?host=/run/p&dbname=bank&user=r",
            ),
            (
                "postgres:///bank?host=/run/p",
                "postgres:///bank?host=/run/p&user=r",
            ),
        ] {
            assert_eq!(for_role(admin, "r", None).unwrap(), expected);
        }
        assert!(
            !for_role("hunter2", "r", None)
                .unwrap_err()
                .to_string()
                .contains("hunter2")
        );
    }

    #[test]
    fn an_address_without_a_password_names_none() {
        let url = over_socket(Path::new("/run/p"), "portico_auditor", None, "portico");
        assert_eq!(url, "postgresql:///portico?host=/run/p&user=portico_auditor");
    }
}
