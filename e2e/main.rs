//! Whole stories on the shipped binary. See README.md.

#![cfg(test)]

mod browser;
mod canary;
mod chaos;
mod chromium;
mod collector;
mod customers;
mod fleet;
mod hosted_login;
mod injection;
mod lockouts;
mod mail;
mod member;
mod operators;
mod passkeys;
mod platform;
mod proof;
mod rollouts;
mod second_factors;
mod secrets;
mod stage;
mod supervisor;
mod time;
mod told;
mod tour;
mod without_control_plane;
