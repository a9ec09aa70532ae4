//! `deploy/` agrees with the binary that is shipped: its commands exist, its settings load, its units are valid, its
//! containers hold what the threat model says.
#![cfg(test)]

mod commands;
mod containers;
mod portico;
mod scripts;
mod settings;
mod units;
