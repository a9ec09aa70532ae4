//! The committed corpus of the fuzz targets, with the checks of the fuzz targets, wherever the tests run.

use crate::fuzz::{evaluate, parse};
use proptest::prelude::*;
use std::{fs, path::Path};

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(folder).expect("the corpus");
    entries
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
        .collect()
}

#[test]
fn every_file_of_the_corpus_is_compiled_or_refused_as_promised() {
    let files = corpus("parse");
    assert!(files.len() >= 20, "{}", files.len());
    files.iter().for_each(|file| parse(file));
}

#[test]
fn every_request_of_the_corpus_is_decided_as_promised() {
    let requests = corpus("evaluate");
    assert!(requests.len() >= 20, "{}", requests.len());
    requests.iter().for_each(|request| evaluate(request));
}

proptest! {
    #[test]
    fn any_request_is_decided_as_promised(request in proptest::collection::vec(any::<u8>(), 0..200)) {
        evaluate(&request);
    }
}
