//! A secret that somebody wrote into a policy is refused, and no finding repeats it.

use crate::world::shipped_with;
use policy::{compile, render, sarif};

/// The file, what is replaced, by what; `SECRET` is put in its place.
const WRITTEN: &[(&str, &str, &str, &str)] = &[
    (
        "upstreams.yaml",
        "unix:core-api.sock",
        "http://SECRET@127.0.0.1:80",
        "admin:hunter2",
    ),
    (
        "upstreams.yaml",
        "authorization: forward",
        "authorization: Bearer SECRET",
        "eyJhbGciOiJFZERTQSJ9.e30.c2ln",
    ),
    (
        "upstreams.yaml",
        "authorization: forward",
        "authorization: forward\n    password: SECRET",
        "hunter2",
    ),
    (
        "upstreams.yaml",
        "authorization: forward",
        "authorization: forward\n    password:SECRET",
        "hunter2",
    ),
    (
        "upstreams.yaml",
        "authorization: forward",
        "authorization: forward\n    db_password = SECRET",
        "hunter2",
    ),
    (
        "upstreams.yaml",
        "authorization: forward",
        "authorization: forward\n    password:\n      SECRET",
        "hunter2",
    ),
    (
        "upstreams.yaml",
        "authorization: forward",
        "authorization: forward\n    password: \"SECRET",
        "hunter2",
    ),
    (
        "upstreams.yaml",
        "authorization: forward",
        "authorization: forward\n    password: a: SECRET",
        "hunter2",
    ),
    (
        "listeners.yaml",
        "certificate: gateway",
        "certificate: \"-----BEGIN KEY-----\\nSECRET\"",
        "MC4CAQAwBQYDK2VwBCIEIC",
    ),
    (
        "listeners.yaml",
        "certificate: gateway",
        "certificate: SECRET",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ),
    (
        "identity.yaml",
        "keys: portico",
        "client_secret: SECRET",
        "hunter2",
    ),
    ("identity.yaml", "keys: portico", "keys: SECRET", "hunter2"),
    (
        "identity.yaml",
        "keys: portico",
        "keys: { kty: oct, k: SECRET }",
        "AyM1SysPpbyDfgZld3umj1qz",
    ),
    (
        "identity.yaml",
        "keys: portico",
        "keys:\n      kty: oct\n      k: SECRET",
        "AyM1SysPpbyDfgZld3umj1qz",
    ),
    (
        "identity.yaml",
        "issuer: https://",
        "issuer: https://SECRET@",
        "admin:hunter2",
    ),
    (
        "listeners.yaml",
        "[api.bank.example]",
        "[\"https://SECRET@api.bank.example\"]",
        "bob:hunter2",
    ),
    (
        "cors.yaml",
        "https://app.bank",
        "https://SECRET@app.bank",
        "admin:hunter2",
    ),
];

#[test]
fn a_secret_in_a_policy_is_refused_and_never_told() {
    for (file, old, new, secret) in WRITTEN {
        let files = shipped_with(file, old, &new.replace("SECRET", secret));
        let found = compile(&files, "production").expect_err(new);
        for told in [
            render::human(&found, &files),
            render::json(&found),
            sarif::check(&found, "policies"),
        ] {
            assert!(!told.contains(secret), "{new}: {told}");
            assert!(told.contains("secrets only by reference"), "{new}: {told}");
        }
    }
}

#[test]
fn the_message_about_a_secret_reads_well() {
    let files = shipped_with(
        "upstreams.yaml",
        "unix:core-api.sock",
        "http://admin:hunter2@127.0.0.1:80",
    );
    let found = compile(&files, "production").expect_err("a secret");
    insta::assert_snapshot!(render::human(&found, &files));
}
