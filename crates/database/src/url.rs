//! Database addresses that sqlx and every libpq program (psql, psycopg) read the same way.

use std::fmt::Write as _;
use std::path::Path;

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
    fn an_address_without_a_password_names_none() {
        let url = over_socket(Path::new("/run/p"), "portico_auditor", None, "portico");
        assert_eq!(url, "postgresql:///portico?host=/run/p&user=portico_auditor");
    }
}
