//! Whether many log-ins are one attack. Each process sees its own, and nobody is refused for it: somebody is told.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hmac, rand};
use lockout::{LogIns, SPRAYED_NAMES, Spray};
use tokio::time::Instant;

use super::keys::Key;
use crate::metrics;

const HOUR_S: u64 = 3_600;

/// What the log-ins of this process have in common.
#[derive(Debug)]
pub(super) struct Suspicions {
    began: Instant,
    hour: Mutex<Option<Hour>>,
    log_ins: Mutex<LogIns>,
}

/// Passwords are told apart for an hour, by a key that is nowhere but here.
#[derive(Debug)]
struct Hour {
    number: u64,
    key: hmac::Key,
    spray: Spray,
}

/// A password of a log-in, of no use to anybody else.
#[derive(Debug, Clone, Copy)]
pub(in crate::identity) struct PasswordMark {
    hour: u64,
    mark: u64,
}

impl Default for Suspicions {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            hour: Mutex::default(),
            log_ins: Mutex::default(),
        }
    }
}

impl Hour {
    fn begin(number: u64) -> Result<Self, Unspecified> {
        Ok(Self {
            number,
            key: hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())?,
            spray: Spray::default(),
        })
    }
}

impl Suspicions {
    /// Tells this password from others; None when there is no randomness.
    pub(super) fn mark(&self, password: &str) -> Option<PasswordMark> {
        let number = self.now_s() / HOUR_S;
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        if hour.as_ref().is_none_or(|hour| hour.number != number) {
            *hour = Hour::begin(number).ok();
        }
        let hour = hour.as_ref()?;
        let code = hmac::sign(&hour.key, password.as_bytes());
        let first = code.as_ref().first_chunk::<8>()?;
        Some(PasswordMark {
            hour: hour.number,
            mark: u64::from_be_bytes(*first),
        })
    }

    /// A log-in has failed.
    pub(super) fn failed(&self, mark: Option<PasswordMark>, name: Key) {
        self.ended(false);
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(mark), Some(hour)) = (mark, hour.as_mut()) else {
            return;
        };
        if hour.number == mark.hour && hour.spray.failed(mark.mark, name.tag()) {
            metrics::lockout("spray_suspected");
            let event = "auth.spray.suspected";
            tracing::warn!(
                event,
                names = SPRAYED_NAMES,
                "one password was tried at many names"
            );
        }
    }

    /// A password was right.
    pub(super) fn succeeded(&self) {
        self.ended(true);
    }

    fn ended(&self, is_right: bool) {
        let mut log_ins = self.log_ins.lock().unwrap_or_else(PoisonError::into_inner);
        if log_ins.ended(is_right, self.now_s()) {
            metrics::lockout("stuffing_suspected");
            let event = "auth.stuffing.suspected";
            tracing::warn!(event, "four of five log-ins fail, or more");
        }
    }

    fn now_s(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}
