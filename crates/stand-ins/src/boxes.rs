//! What was wrapped, under which key and in which context: it opens there and nowhere else.

use std::sync::Mutex;

use serde_json::Value;

/// Wrapped texts in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Boxes(Mutex<Vec<(String, Value, String)>>);

impl Boxes {
    /// Puts a text away. No two ciphertexts are alike.
    pub(crate) fn seal(&self, key: &str, context: &Value, plaintext: &str) -> String {
        let mut boxes = self.0.lock().unwrap();
        boxes.push((key.to_owned(), context.clone(), plaintext.to_owned()));
        format!("sealed-{:08}", boxes.len() - 1)
    }

    /// Gives it back to who has the key and the context.
    pub(crate) fn open(&self, key: &str, context: &Value, sealed: &str) -> Option<String> {
        let number: usize = sealed.strip_prefix("sealed-")?.parse().ok()?;
        let boxes = self.0.lock().unwrap();
        let (wanted, bound, plaintext) = boxes.get(number)?;
        (wanted == key && bound == context).then(|| plaintext.clone())
    }
}

/// A member of a question that must be a text.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
}
