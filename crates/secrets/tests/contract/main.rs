//! Every provider against a server that checks what is sent to it byte by byte, and that fails on command.
#![cfg(test)]

mod aws;
mod keys;
mod leases;
mod metadata;
mod resolving;
mod vault;
