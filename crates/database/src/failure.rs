//! What a failed statement means to whoever asked for it. This is the one place that decides; the services turn it into their
//! answers.

use sqlx::Error;

/// What became of a statement that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It was never begun, or undone whole: there was no connection to be had, or the one at hand is of no use any more. It may
    /// be repeated.
    Away,
    /// The connection broke off: it was done, or not. It may be repeated where twice is once.
    Lost,
    /// Something else that was under way stood in its way, so it was undone whole. It may be repeated.
    Contended,
    /// It cannot be done, however often it is asked for: the fault is in what was asked.
    Wrong,
}

impl Failure {
    /// Reads an error of sqlx. The codes are those of PostgreSQL, Appendix A.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Database(said) => said.code().map_or(Self::Wrong, |code| Self::of_code(&code)),
            Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed | Error::BeginFailed => Self::Away,
            // Also while connecting, but nobody can tell from the error. What makes no sense comes from half an answer.
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => Self::Lost,
            _ => Self::Wrong,
        }
    }

    /// Whether the same request may well succeed a moment later.
    #[must_use]
    pub const fn passes(self) -> bool {
        !matches!(self, Self::Wrong)
    }

    fn of_code(code: &str) -> Self {
        match code {
            // The server gives a connection up; when, before or behind a commit, it does not say.
            "57P01" | "57P02" | "57P05" | "40003" => Self::Lost,
            // A statement or a lock that took too long; a twin was there first, and whoever looks again finds its row.
            "57014" | "55P03" | "23505" => Self::Contended,
            // A transaction that is over before its statements are, or failed already.
            "25P02" | "25P03" | "25P04" => Self::Away,
            // A prepared statement that the server does not have; a database that is just being made.
            "26000" | "3D000" => Self::Away,
            _ => match code.get(..2) {
                Some("08") => Self::Lost,
                // No resources; starting, stopping, recovering; disks; a login that is being rotated.
                Some("53" | "57" | "58" | "28") => Self::Away,
                // Deadlock, serialisation.
                Some("40") => Self::Contended,
                _ => Self::Wrong,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    /// What a server says with this code.
    #[derive(Debug)]
    struct Said(&'static str);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl std::error::Error for Said {}

    impl DatabaseError for Said {
        fn message(&self) -> &str {
            self.0
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            (!self.0.is_empty()).then_some(Cow::Borrowed(self.0))
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }

        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
    }

    #[test]
    fn what_the_server_says_tells_what_became_of_a_statement() {
        for (codes, means) in [
            // Connection exceptions, shutdowns, crashes.
            (
                &[
                    "08000", "08003", "08006", "08P01", "57P01", "57P02", "57P05", "40003",
                ][..],
                Failure::Lost,
            ),
            // Starting, stopping, full, without memory or disk; a login; transactions and statements that are gone.
            (
                &[
                    "57P03", "57P04", "57000", "53000", "53100", "53200", "53300", "53400", "58030", "58P01",
                    "28P01", "28000", "3D000", "25P02", "25P03", "25P04", "26000",
                ],
                Failure::Away,
            ),
            (
                &["40000", "40001", "40P01", "55P03", "57014", "23505"],
                Failure::Contended,
            ),
            (
                &[
                    "22012", "23514", "23503", "42501", "42P01", "0A000", "P0001", "XX000", "XX001", "",
                ],
                Failure::Wrong,
            ),
        ] {
            for code in codes {
                let error = Error::Database(Box::new(Said(code)));
                assert_eq!(Failure::of(&error), means, "{code}");
            }
        }
    }

    #[test]
    fn so_does_what_goes_wrong_without_a_server() {
        let reset = || Error::Io(std::io::ErrorKind::ConnectionReset.into());
        for (error, means) in [
            (Error::PoolTimedOut, Failure::Away),
            (Error::PoolClosed, Failure::Away),
            (Error::WorkerCrashed, Failure::Away),
            (Error::BeginFailed, Failure::Away),
            (reset(), Failure::Lost),
            (Error::Tls("the peer is gone".into()), Failure::Lost),
            (Error::Protocol("half a message".to_owned()), Failure::Lost),
            (Error::RowNotFound, Failure::Wrong),
            (Error::Decode("no number".into()), Failure::Wrong),
            (Error::ColumnNotFound("kid".to_owned()), Failure::Wrong),
        ] {
            assert_eq!(Failure::of(&error), means, "{error:?}");
            assert_eq!(Failure::of(&error).passes(), means != Failure::Wrong, "{error:?}");
        }
    }
}
