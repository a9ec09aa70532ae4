//! Path templates, and the matcher that finds the route for a canonical path.
//!
//! **Invariant:** the answer depends on the set of routes, never on their order: at each segment a static part
//! goes before a parameter (PA-4, one matcher, case-sensitive).

use crate::path;
use http::Method;
use std::{collections::BTreeMap, fmt};

/// A path template: `/api/v1/accounts/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Static(String),
    Parameter,
}

const MOST_PARTS: usize = 32;

impl Template {
    /// Reads a template; the error says why it cannot be one.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("a path begins with `/`");
        };
        if rest.split('/').nth(MOST_PARTS).is_some() {
            return Err("a path has at most 32 parts");
        }
        let mut parts = Vec::new();
        let mut example = String::new();
        let mut names: Vec<&str> = Vec::new();
        for part in rest.split('/') {
            example.push('/');
            let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            match name {
                Some(name) if !is_parameter(name) => return Err("a parameter is named by a-z, 0-9 and `_`"),
                Some(name) if names.contains(&name) => return Err("two parameters have the same name"),
                Some(name) => {
                    names.push(name);
                    example.push('x');
                    parts.push(Part::Parameter);
                }
                None if is_foreign_parameter(part) => {
                    return Err(
                        "`:name` and `$name` stand for themselves here; a parameter is written `{name}`",
                    );
                }
                None if part.contains(['{', '}', '*']) => {
                    return Err("a parameter is a whole part between two `/`, and there are no wildcards");
                }
                None => {
                    example.push_str(part);
                    parts.push(Part::Static(part.to_owned()));
                }
            }
        }
        path::check_path(&example).map_err(|fault| fault.detail)?;
        if path::with_ascii_unescaped(&example).is_some() {
            return Err("an escaped character would be read in two ways by what is behind the gateway");
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// Length of the shortest path that fits, in bytes.
    pub(crate) fn shortest(&self) -> usize {
        let length = |part: &Part| match part {
            Part::Static(text) => text.len(),
            Part::Parameter => 1,
        };
        let parts: usize = self.parts.iter().map(length).fold(0, usize::saturating_add);
        parts.saturating_add(self.parts.len())
    }

    /// As written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_parameter(name: &str) -> bool {
    name.bytes()
        .next()
        .is_some_and(|first| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// How other routers write a parameter. `$metadata` and its like are parts of their own (OData 4.01 §4).
fn is_foreign_parameter(part: &str) -> bool {
    const OF_ODATA: [&str; 9] = [
        "$metadata",
        "$batch",
        "$count",
        "$value",
        "$ref",
        "$links",
        "$all",
        "$entity",
        "$query",
    ];
    let is_word = |name: &str| {
        name.bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
    };
    part.strip_prefix([':', '$']).is_some_and(is_word) && !OF_ODATA.contains(&part)
}

/// A path whose parameters are written as other routers write them, in the form of this language.
pub(crate) fn with_parameters(path: &str) -> Option<String> {
    let part = |part: &str| match part.strip_prefix([':', '$']) {
        Some(name) if is_foreign_parameter(part) => format!("{{{}}}", name.to_ascii_lowercase()),
        _ => part.to_owned(),
    };
    let better = path.split('/').map(part).collect::<Vec<_>>().join("/");
    (better != path && Template::parse(&better).is_ok()).then_some(better)
}

/// All templates as one tree of segments.
#[derive(Debug)]
pub(crate) struct Matcher {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    statics: BTreeMap<String, usize>,
    parameter: Option<usize>,
    routes: Vec<(Method, usize)>,
}

/// Two routes, by their numbers, and a path that fits both equally well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contest {
    pub(crate) routes: (usize, usize),
    pub(crate) path: String,
}

/// What comparing all templates came to.
#[derive(Debug, Default)]
pub(crate) struct Contests {
    pub(crate) found: Vec<Contest>,
    /// There were too many ways to meet: not every pair was compared.
    pub(crate) is_cut_short: bool,
}

/// A path that means one route as it is written and another once it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TwoReadings;

impl Matcher {
    /// A matcher without routes.
    pub(crate) fn new() -> Self {
        Self {
            nodes: vec![Node::default()],
        }
    }

    /// Adds a route; the error is the route that already answers exactly these requests.
    pub(crate) fn add(&mut self, template: &Template, method: &Method, route: usize) -> Result<(), usize> {
        let mut at = 0;
        for part in &template.parts {
            at = self.child(at, part);
        }
        let Some(node) = self.nodes.get_mut(at) else {
            return Ok(());
        };
        if let Some((_, earlier)) = node.routes.iter().find(|(taken, _)| taken == method) {
            return Err(*earlier);
        }
        node.routes.push((method.clone(), route));
        Ok(())
    }

    fn child(&mut self, at: usize, part: &Part) -> usize {
        let fresh = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else {
            return at;
        };
        let child = match part {
            Part::Static(text) => *node.statics.entry(text.clone()).or_insert(fresh),
            Part::Parameter => *node.parameter.get_or_insert(fresh),
        };
        if child == fresh {
            self.nodes.push(Node::default());
        }
        child
    }

    /// The routes of the most specific template that matches, by method.
    ///
    /// # Errors
    /// [`TwoReadings`] when a service that decodes escapes before it routes would find another template: then
    /// the rules of one route would guard the other (PA-1).
    pub(crate) fn find(&self, canonical_path: &str) -> Result<Option<&[(Method, usize)]>, TwoReadings> {
        let node = self.node(canonical_path);
        if path::with_ascii_unescaped(canonical_path).is_some_and(|read| self.node(&read) != node) {
            return Err(TwoReadings);
        }
        Ok(node
            .and_then(|node| self.nodes.get(node))
            .map(|node| node.routes.as_slice()))
    }

    /// Every two routes that some path fits equally well: each is the more specific one at some part, and no third one
    /// is more specific than both. At most `most` are told.
    pub(crate) fn contests(&self, most: usize) -> Contests {
        let mut search = Search {
            matcher: self,
            depths: self.depths(),
            path: Vec::new(),
            most,
            steps: 0,
            contests: Contests::default(),
        };
        search.below(0);
        search.contests
    }

    /// For each node, how many parts further down routes end: bit 0 for its own, bit 1 for those of its children.
    fn depths(&self) -> Vec<u64> {
        let mut depths = vec![0_u64; self.nodes.len()];
        // Children come after their parents.
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let children = node.statics.values().copied().chain(node.parameter);
            let below = children
                .filter_map(|child| depths.get(child))
                .fold(0, |all, one| all | one);
            if let Some(depth) = depths.get_mut(at) {
                *depth = (below << 1) | u64::from(!node.routes.is_empty());
            }
        }
        depths
    }

    fn node(&self, path: &str) -> Option<usize> {
        self.walk(0, Some(path.strip_prefix('/')?))
    }

    /// Every node is visited at most once, so the cost is bounded by the size of the policy.
    fn walk(&self, at: usize, rest: Option<&str>) -> Option<usize> {
        let node = self.nodes.get(at)?;
        let Some(rest) = rest else {
            return Some(at).filter(|_| !node.routes.is_empty());
        };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        let by_static = node
            .statics
            .get(segment)
            .and_then(|child| self.walk(*child, rest));
        by_static.or_else(|| {
            let child = node.parameter.filter(|_| !segment.is_empty())?;
            self.walk(child, rest)
        })
    }
}

/// Pairs of nodes that are compared: far more than any policy for people has, and done in milliseconds.
const MOST_STEPS: usize = 200_000;

/// The search for contests: two ways that take the same paths are followed together.
struct Search<'m> {
    matcher: &'m Matcher,
    depths: Vec<u64>,
    /// The parts so far; a parameter is `x`.
    path: Vec<&'m str>,
    most: usize,
    steps: usize,
    contests: Contests,
}

/// Two nodes that some path leads to both, and the node that is at least as specific as each of them.
#[derive(Clone, Copy)]
struct Pair {
    /// Was the less specific one where the two parted.
    here: usize,
    there: usize,
    both: Option<usize>,
    /// `here` has been the more specific one since.
    is_even: bool,
}

impl<'m> Search<'m> {
    fn node(&self, at: usize) -> Option<&'m Node> {
        self.matcher.nodes.get(at)
    }

    /// Two ways part where one has a parameter and the other a static part.
    fn below(&mut self, at: usize) {
        let Some(node) = self.node(at) else { return };
        for (text, child) in &node.statics {
            self.path.push(text);
            if let Some(parameter) = node.parameter.filter(|_| !text.is_empty()) {
                self.meet(Pair {
                    here: parameter,
                    there: *child,
                    both: Some(*child),
                    is_even: false,
                });
            }
            self.below(*child);
            self.path.pop();
        }
        if let Some(parameter) = node.parameter {
            self.path.push("x");
            self.below(parameter);
            self.path.pop();
        }
    }

    fn meet(&mut self, pair: Pair) {
        let (Some(here), Some(there)) = (self.node(pair.here), self.node(pair.there)) else {
            return;
        };
        let depths = self.depths.get(pair.here).zip(self.depths.get(pair.there));
        let can_end_together = depths.is_some_and(|(here, there)| here & there != 0);
        if self.is_over() || !can_end_together {
            return;
        }
        self.report(pair, here, there);
        let both = pair.both.and_then(|both| self.node(both));
        let both_static = |text: &str| both.and_then(|both| both.statics.get(text).copied());
        for (text, child) in &here.statics {
            self.path.push(text);
            let parameter = there.parameter.filter(|_| !text.is_empty());
            let others = [(there.statics.get(text).copied(), false), (parameter, true)];
            for (other, is_more_specific) in others {
                if let Some(other) = other {
                    self.meet(Pair {
                        here: *child,
                        there: other,
                        both: both_static(text),
                        is_even: pair.is_even || is_more_specific,
                    });
                }
            }
            self.path.pop();
            self.steps = self.steps.saturating_add(1);
        }
        let Some(parameter) = here.parameter else { return };
        let statics = there.statics.iter().filter(|(text, _)| !text.is_empty());
        let statics = statics.map(|(text, child)| (text.as_str(), *child, both_static(text)));
        let same = there
            .parameter
            .map(|other| ("x", other, both.and_then(|both| both.parameter)));
        for (text, other, both) in statics.chain(same) {
            self.path.push(text);
            self.meet(Pair {
                here: parameter,
                there: other,
                both,
                is_even: pair.is_even,
            });
            self.path.pop();
        }
    }

    fn report(&mut self, pair: Pair, here: &Node, there: &Node) {
        let route = |node: &Node| node.routes.iter().map(|(_, route)| *route).min();
        let decides = |at: usize| self.node(at).is_some_and(|node| !node.routes.is_empty());
        let Some(routes) = route(here).zip(route(there)).filter(|_| pair.is_even) else {
            return;
        };
        if !pair.both.is_some_and(decides) {
            let path = format!("/{}", self.path.join("/"));
            self.contests.found.push(Contest { routes, path });
        }
    }

    fn is_over(&mut self) -> bool {
        self.steps = self.steps.saturating_add(1);
        self.contests.is_cut_short |= self.steps > MOST_STEPS;
        self.contests.is_cut_short || self.contests.found.len() >= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::{Matcher, Template, TwoReadings};
    use http::Method;

    fn matcher(templates: &[&str]) -> Matcher {
        let mut matcher = Matcher::new();
        for (route, template) in templates.iter().enumerate() {
            let template = Template::parse(template).expect("a template");
            matcher
                .add(&template, &Method::GET, route)
                .expect("no other route like it");
        }
        matcher
    }

    fn found(matcher: &Matcher, path: &str) -> Option<usize> {
        matcher
            .find(path)
            .expect("one reading")
            .and_then(|routes| routes.first())
            .map(|(_, route)| *route)
    }

    #[test]
    fn static_parts_go_before_parameters_in_any_order_of_writing() {
        let templates = ["/a/{x}", "/a/b", "/a/{x}/c", "/a/b/{y}", "/", "/a/"];
        let expected = ["/a/q", "/a/b", "/a/q/c", "/a/b/c", "/", "/a/"];
        for turn in 0..templates.len() {
            let mut turned = templates;
            turned.rotate_left(turn);
            let matcher = matcher(&turned);
            for (template, path) in templates.iter().zip(expected) {
                let route = found(&matcher, path).expect("a route");
                assert_eq!(turned[route], *template, "{path}");
            }
        }
    }

    #[test]
    fn a_static_dead_end_falls_back_to_the_parameter() {
        let matcher = matcher(&["/a/b/c", "/a/{x}"]);
        assert_eq!(found(&matcher, "/a/b"), Some(1));
        assert_eq!(found(&matcher, "/a/b/d"), None);
    }

    #[test]
    fn nothing_else_matches() {
        let matcher = matcher(&["/a/{x}", "/Case"]);
        for path in ["/a", "/a/", "/a/b/c", "/", "/case", "/b/x", ""] {
            assert_eq!(found(&matcher, path), None, "{path}");
        }
    }

    #[test]
    fn a_path_that_decodes_to_another_route_is_refused() {
        let matcher = matcher(&["/a/{x}", "/a/b:close", "/{y}"]);
        assert_eq!(matcher.find("/a/b%3Aclose"), Err(TwoReadings));
        assert_eq!(found(&matcher, "/a/b:close"), Some(1));
        assert_eq!(found(&matcher, "/a/user%40b%20c%3F"), Some(0));
        assert_eq!(found(&matcher, "/c%3Ad"), Some(2));
        assert_eq!(found(&matcher, "/a/b%3Aclose/d"), None);
    }

    #[test]
    fn the_same_shape_and_method_is_refused() {
        let mut matcher = matcher(&["/a/{x}"]);
        let same = Template::parse("/a/{y}").expect("a template");
        assert_eq!(matcher.add(&same, &Method::GET, 1), Err(0));
        assert_eq!(matcher.add(&same, &Method::POST, 1), Ok(()));
    }

    #[test]
    fn two_templates_contest_a_path_when_each_is_more_specific_somewhere() {
        let contested = |a: &str, b: &str| {
            let path = |first: &str, second: &str| {
                let contests = matcher(&[first, second]).contests(9).found;
                assert!(contests.len() < 2, "{contests:?}");
                contests.into_iter().next().map(|contest| contest.path)
            };
            assert_eq!(path(a, b), path(b, a));
            path(a, b)
        };
        assert_eq!(contested("/a/{x}/c", "/a/b/{y}").as_deref(), Some("/a/b/c"));
        assert_eq!(contested("/{x}/b/{z}", "/a/{y}/{w}").as_deref(), Some("/a/b/x"));
        for (a, b) in [
            ("/a/{x}", "/a/b"),
            ("/a/{x}/c", "/a/{x}/d"),
            ("/a/{x}/c", "/b/{x}/{y}"),
            ("/a/{x}", "/a/{x}/b"),
            ("/a/{x}/", "/a/b/{y}"),
        ] {
            assert_eq!(contested(a, b), None, "{a} {b}");
        }
    }

    #[test]
    fn a_third_template_that_is_more_specific_than_both_settles_it() {
        let found = |templates: &[&str]| matcher(templates).contests(9).found.len();
        assert_eq!(found(&["/z/{x}/c", "/z/b/{y}"]), 1);
        assert_eq!(found(&["/z/{x}/c", "/z/b/{y}", "/z/b/c"]), 0);
        assert_eq!(found(&["/{x}/b/{z}", "/a/{y}/{w}", "/a/b/c"]), 1);
        assert_eq!(found(&["/{x}/b/{z}", "/a/{y}/{w}", "/a/b/{v}"]), 0);
    }

    #[test]
    fn templates_that_meet_in_too_many_ways_are_told_and_not_compared_for_ever() {
        let many = |count: usize| {
            let first = (0..count).map(|number| format!("/q/{{x}}/s{number}/{{y}}/e"));
            let second = (0..count).map(|number| format!("/q/S/{{p}}/t{number}/f"));
            let templates: Vec<String> = first.chain(second).collect();
            let templates: Vec<&str> = templates.iter().map(String::as_str).collect();
            matcher(&templates).contests(9)
        };
        let few = many(300);
        assert!(!few.is_cut_short && few.found.is_empty(), "{few:?}");
        let too_many = many(1_000);
        assert!(too_many.is_cut_short && too_many.found.is_empty(), "{too_many:?}");
    }

    #[test]
    fn templates_that_cannot_be() {
        for text in [
            "a", "", "/a/{}", "/a/{X}", "/a/b{x}", "/*", "/a//b", "/..", "/:id", "/$id/a", "/{x}/{x}",
            "/a b", "/%6D", "/a%20b", "/{x",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
