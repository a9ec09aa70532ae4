//! Where each key is written, for the tools. The plan of the gateway keeps only the lines that decide requests.

use crate::{
    Rule, SourceFile,
    compile::OVERLAYS,
    diagnostic::Findings,
    yaml::{self, Node, Value},
};
use std::collections::BTreeMap;

/// The line of every key of a bundle that compiles, as it counts in one environment.
#[derive(Debug, Default)]
pub(super) struct Places {
    written: BTreeMap<String, Rule>,
    /// The line of the base, where the overlay has another value.
    overridden: BTreeMap<String, Rule>,
}

impl Places {
    pub(super) fn of(files: &[SourceFile], environment: &str) -> Self {
        let mut places = Self::default();
        let mut overlay = BTreeMap::new();
        let policies = |(_, file): &(usize, &SourceFile)| !SourceFile::is_api_document(&file.name);
        for (index, file) in files.iter().enumerate().filter(policies) {
            // The bundle compiled: there are no findings.
            let Some(root) = yaml::parse(index, file, &mut Findings::default()) else {
                continue;
            };
            match file.name.strip_prefix(OVERLAYS) {
                None => collect(&root, "", &file.name, &mut places.written),
                Some(name) if name.strip_suffix(".yaml") == Some(environment) => {
                    collect(&root, "", &file.name, &mut overlay);
                }
                Some(_) => {}
            }
        }
        for (key, rule) in overlay {
            places.overlay(key, rule);
        }
        places
    }

    /// An overlay names a limit without the route or the floor that it stands in.
    fn overlay(&mut self, key: String, rule: Rule) {
        let key = match key.strip_prefix("rates.") {
            Some(limit) => {
                let end = format!(".rate.{limit}");
                self.written.keys().find(|key| key.ends_with(&end)).cloned()
            }
            None => Some(key),
        };
        if let Some(key) = key
            && let Some(base) = self.written.insert(key.clone(), rule)
        {
            self.overridden.insert(key, base);
        }
    }

    /// Whether the key itself is written somewhere.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.written.contains_key(&key.to_lowercase())
    }

    /// The line of the key, or of the nearest key around it when it is left out.
    pub(super) fn decides(&self, key: &str) -> Rule {
        let key = key.to_lowercase();
        let mut around = Some(key.as_str());
        while let Some(key) = around {
            if let Some(rule) = self.written.get(key) {
                return rule.clone();
            }
            around = key.rsplit_once('.').map(|(outer, _)| outer);
        }
        Rule::of_language("language: default")
    }

    /// The line of the base file, where the overlay has another one.
    pub(super) fn overridden(&self, key: &str) -> Option<Rule> {
        self.overridden.get(&key.to_lowercase()).cloned()
    }
}

/// Keys are compared in lower case, because names of header fields may be written in any.
fn collect(node: &Node, path: &str, file: &str, places: &mut BTreeMap<String, Rule>) {
    let Value::Map(entries) = &node.value else { return };
    for entry in entries {
        let key = match path {
            "" => entry.key.to_lowercase(),
            path => format!("{path}.{}", entry.key.to_lowercase()),
        };
        collect(&entry.value, &key, file, places);
        // A section that several files share has no one place.
        if !path.is_empty() || matches!(key.as_str(), "hosts" | "floor" | "lockout") {
            let rule = Rule::written(file, entry.key_at.line, &key);
            places.insert(key, rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_decides_and_the_line_of_the_base_is_kept() {
        let file = |name: &str, text: &str| SourceFile::new(name, text);
        let files = [
            file(
                "base.yaml",
                "hosts: [a]\nroutes:\n  login:\n    rate:\n      tries: { limit: 1/s, burst: 1 }\n",
            ),
            file(
                "environments/test.yaml",
                "environment: test\nrates:\n  tries:\n    limit: 2/s\n",
            ),
        ];
        let at = |environment: &str, key: &str| Places::of(&files, environment).decides(key).to_string();
        let key = "routes.login.rate.tries.limit";
        assert_eq!(at("production", key), format!("base.yaml:5 {key}"));
        assert_eq!(at("test", key), "environments/test.yaml:4 rates.tries.limit");
        assert_eq!(
            at("test", "routes.login.rate.tries.count"),
            "environments/test.yaml:3 rates.tries"
        );
        assert_eq!(at("test", "routes.login.auth"), "base.yaml:3 routes.login");
        assert_eq!(at("test", "nothing.of.this"), "language: default");
        let overridden = Places::of(&files, "test").overridden(key);
        assert_eq!(
            overridden.map(|rule| rule.to_string()),
            Some(format!("base.yaml:5 {key}"))
        );
        assert!(Places::of(&files, "production").overridden(key).is_none());
    }
}
