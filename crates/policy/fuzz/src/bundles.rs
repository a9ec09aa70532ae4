//! The bundles that the checks start from.

use policy::SourceFile;
use std::{fs, path::Path};

/// A small bundle, with keys that the shipped policies do not use.
pub(crate) const OTHER: &str = r#"
version: 1
listeners: { public: { https: { bind: "[::]:443", tls: { min: "1.3", certificate: a } } } }
hosts: [api.bank.example, "[2001:db8::2]"]
addresses: { office: [203.0.113.0/24, "2001:db8::/32"], blocked: [203.0.113.7] }
upstreams: { core: { address: unix:a.sock, authorization: forward, timeouts: { connect: 1s, read: 1s, total: 1s } } }
identity: { staff: { issuer: https://a.example, audiences: [a], algorithms: [EdDSA], type: at+jwt, max_lifetime: 1min, leeway: 1s, keys: portico } }
headers: { api: { set: { X-Frame-Options: DENY }, remove: [Server] } }
cors: { any: { origins: ["*"], methods: [GET, POST], headers: [Accept], expose: [Location], max_age: 1min } }
floor:
  limits: { head: 16KiB, headers: 64, target: 8KiB, body: 1KiB }
  timeouts: { head: 5s, body: 15s }
  deny_from: [blocked]
  rate: { per-address: { limit: 100/min, burst: 20, key: [address] } }
  headers: api
routes:
  root: { match: { method: GET, path: / }, auth: none, because: it is empty, cors: any, upstream: core }
  one: { match: { method: POST, path: "/a/{x}" }, auth: staff, scopes: [a], allow_from: [office], rate: { ones: { limit: 1/s, burst: 1, key: [subject, body./a/0] } }, upstream: core }
  two: { match: { method: POST, path: "/a/b:c" }, auth: staff, scopes: [], upstream: core }
  three: { match: { method: DELETE, path: "/a/{x}/{y}" }, auth: staff, scopes: [a, b], limits: { target: 16B, body: 1B }, upstream: core }
"#;

/// The shipped policies, as they are.
pub(crate) fn shipped() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root
        .ancestors()
        .map(|above| above.join("policies"))
        .find(|policies| policies.is_dir());
    let root = root.expect("the policies of the checkout");
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .strip_prefix(&root)
                .expect("below")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && name != "tests" {
                folders.push(path);
            } else if path.is_file() && (name.ends_with(".yaml") || SourceFile::is_api_document(&name)) {
                files.push(SourceFile::from_bytes(name, &fs::read(path).expect("a policy")));
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}
