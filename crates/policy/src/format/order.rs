//! The order in which keys are written, and where blank lines part them: as the table of the language has them.

use super::tree::{Content, Document, Item, Spacing};
use crate::language::{BASE, CASES, Form, Key, OVERLAY};

/// Puts every key in its place. Names of the author's choice, and keys that the language does not have, stay in the order
/// of the text; the latter come last.
pub(super) fn arrange(document: &mut Document<'_>) {
    let Content::Collection(root) = &mut document.root.content else {
        return;
    };
    let has = |key: &str| root.items.iter().any(|item| item.key.as_deref() == Some(key));
    let is_overlay = has("environment");
    let keys = match (is_overlay, has("tests")) {
        (true, _) => OVERLAY,
        (false, true) => CASES,
        (false, false) => BASE,
    };
    root.spacing = Spacing::Sections;
    for item in &mut root.items {
        let key = find(keys, item);
        // An overlay defines nothing: its few changes stand together, as the parts of the floor do.
        let is_defining = !is_overlay
            && !matches!(
                key,
                Some(Key {
                    form: Form::Mapping(_),
                    ..
                })
            );
        if let (Content::Collection(definitions), true) = (&mut item.content, is_defining) {
            definitions.spacing = Spacing::Definitions;
        }
    }
    keep_head(keys, &mut root.items);
    sort(&Form::Mapping(keys), &mut document.root);
}

fn find(keys: &'static [Key], item: &Item<'_>) -> Option<&'static Key> {
    keys.get(rank(keys, item))
}

/// Where an entry stands among its neighbours.
fn rank(keys: &[Key], item: &Item<'_>) -> usize {
    let place = keys.iter().position(|key| item.key.as_deref() == Some(key.name));
    place.unwrap_or(usize::MAX)
}

fn sort(form: &Form, item: &mut Item<'_>) {
    let Content::Collection(collection) = &mut item.content else {
        return;
    };
    match form {
        Form::Mapping(keys) | Form::ChoiceOr(_, keys) | Form::TextOr(_, keys) => {
            for item in &mut collection.items {
                if let Some(key) = find(keys, item) {
                    sort(&key.form, item);
                }
            }
            collection.items.sort_by_key(|item| rank(keys, item));
        }
        Form::Named(of) | Form::List { of, .. } => {
            for item in &mut collection.items {
                sort(of, item);
            }
        }
        Form::HeaderFields
        | Form::Text(_)
        | Form::Choice(_)
        | Form::Number { .. }
        | Form::Boolean
        | Form::Any => {}
    }
}

/// The comment at the top speaks about the file, also when another key comes to stand first.
fn keep_head(keys: &[Key], items: &mut [Item<'_>]) {
    let Some(to) = (0..items.len()).min_by_key(|index| items.get(*index).map(|item| rank(keys, item))) else {
        return;
    };
    let (Some(first), true) = (items.first_mut(), to > 0) else {
        return;
    };
    // A last paragraph that stands right above the first key speaks about that key.
    let own = first
        .before
        .iter()
        .rposition(|remark| remark.is_set_apart)
        .filter(|at| *at > 0);
    let at = match own {
        Some(at) if !first.is_set_apart => at,
        _ => first.before.len(),
    };
    let rest = first.before.split_off(at);
    first.is_set_apart &= !rest.is_empty();
    let mut head = std::mem::replace(&mut first.before, rest);
    if let Some(item) = items.get_mut(to) {
        head.append(&mut item.before);
        item.before = head;
    }
}
