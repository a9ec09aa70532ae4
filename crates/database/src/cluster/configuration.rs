//! The cluster's own settings. They are written at every start, so that a new version of Portico brings its own.

use super::error::ClusterError;
use super::place::Place;
use super::{Authentication, Durability};
use crate::roles::AUDITOR;

/// Included by `postgresql.conf`, which stays as initdb wrote it.
pub(super) const FILE: &str = "portico.conf";

pub(super) fn write(
    place: &Place,
    authentication: Authentication,
    durability: Durability,
) -> Result<(), ClusterError> {
    place.write(&place.data.join(FILE), &server(place, durability), 0o600)?;
    place.write(&place.data.join("pg_hba.conf"), &access(authentication), 0o600)
}

fn server(place: &Place, durability: Durability) -> String {
    let socket_directory = place.socket_directory.to_string_lossy().replace('\'', "''");
    let (connections, durable) = match durability {
        Durability::Full => (
            100,
            "fsync = on\nsynchronous_commit = on\nfull_page_writes = on\n",
        ),
        // What a test wrote need not outlive the machine.
        Durability::None => (
            300,
            "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n",
        ),
    };
    format!(
        "# Written by Portico at every start; changes are lost.\n\
         listen_addresses = ''\n\
         unix_socket_directories = '{socket_directory}'\n\
         max_connections = {connections}\n\
         shared_buffers = 128MB\n\
         max_wal_size = 1GB\n\
         {durable}\
         password_encryption = 'scram-sha-256'\n\
         timezone = 'UTC'\n\
         jit = off\n\
         logging_collector = off\n\
         log_destination = 'stderr'\n\
         log_timezone = 'UTC'\n\
         log_line_prefix = '%m [%p] %q%u@%d %a '\n\
         log_min_duration_statement = 250\n\
         # A slow statement is logged without the values that were bound to it.\n\
         log_parameter_max_length = 0\n\
         log_parameter_max_length_on_error = 0\n\
         idle_in_transaction_session_timeout = 60s\n"
    )
}

/// Only the local socket, in a directory of mode 0700, reaches the server at all.
fn access(authentication: Authentication) -> String {
    let rules = match authentication {
        Authentication::Passwords => format!(
            "local all {AUDITOR} trust\n\
             local all all scram-sha-256\n"
        ),
        Authentication::None => "local all all trust\n".to_owned(),
    };
    format!("# Written by Portico at every start; changes are lost.\n{rules}")
}
