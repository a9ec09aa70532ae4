//! Where each key of a bundle is written.

use crate::{
    SourceFile,
    diagnostic::{Findings, Place},
    yaml::{self, Node, Value},
};
use std::collections::HashMap;

/// Keys by their full name (`routes.login.auth`), in lower case, since names of header fields ignore it.
pub(super) struct Places(HashMap<String, Place>);

impl Places {
    /// The places of the base files and of the environment's overlay, whose keys decide where both have them.
    pub(super) fn of(files: &[SourceFile], environment: &str) -> Self {
        let overlay = format!("environments/{environment}.yaml");
        let mut places = HashMap::new();
        let is_base = |file: &SourceFile| {
            !file.name.starts_with("environments/") && !SourceFile::is_api_document(&file.name)
        };
        let numbered = || files.iter().enumerate();
        let base = numbered().filter(|(_, file)| is_base(file));
        for (index, file) in base.chain(numbered().filter(|(_, file)| file.name == overlay)) {
            // The bundle compiles, so there is nothing to find.
            if let Some(root) = yaml::parse(index, file, &mut Findings::default()) {
                add(&root, "", files, &mut places);
            }
        }
        Self(places)
    }

    /// The place of a key, or of the nearest one above it that is written.
    pub(super) fn of_key(&self, key: &str) -> Place {
        let key = key.to_ascii_lowercase();
        let mut name = key.as_str();
        loop {
            if let Some(place) = self.0.get(name) {
                return place.clone();
            }
            let Some((above, _)) = name.rsplit_once('.') else {
                return Place {
                    file: String::new(),
                    line: 0,
                    column: 0,
                    length: 0,
                };
            };
            name = above;
        }
    }

    /// The place of one item of a list, or of the list when it is not there.
    pub(super) fn of_item(&self, key: &str, item: &str) -> Place {
        let found = self.0.get(&name_of_item(&key.to_ascii_lowercase(), item));
        found.cloned().unwrap_or_else(|| self.of_key(key))
    }

    /// Whether a key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(&key.to_ascii_lowercase())
    }
}

fn name_of_item(key: &str, item: &str) -> String {
    format!("{key}[{item}]")
}

/// A single value is shown itself; a mapping or a list is shown by its key.
fn add(node: &Node, path: &str, files: &[SourceFile], places: &mut HashMap<String, Place>) {
    let Value::Map(entries) = &node.value else { return };
    for entry in entries {
        let key = entry.key.to_ascii_lowercase();
        let path = if path.is_empty() {
            key
        } else {
            format!("{path}.{key}")
        };
        let at = match &entry.value.value {
            Value::Map(_) | Value::List(_) | Value::Null => entry.key_at,
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => entry.value.at,
        };
        add(&entry.value, &path, files, places);
        if let Value::List(items) = &entry.value.value {
            for item in items {
                if let Value::Text(text) = &item.value {
                    places.insert(name_of_item(&path, text), Place::of(item.at, files));
                }
            }
        }
        places.insert(path, Place::of(at, files));
    }
}
