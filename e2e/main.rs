//! Whole stories on the shipped binary. See README.md.

#![cfg(test)]

mod browser;
mod chaos;
mod customers;
mod fleet;
mod lockouts;
mod member;
mod operators;
mod platform;
mod proof;
mod rollouts;
mod secrets;
mod stage;
mod supervisor;
mod told;
mod tour;
mod without_control_plane;
