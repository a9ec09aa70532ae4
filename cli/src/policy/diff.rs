//! `portico policy diff`: what another bundle would change, the riskiest first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ::policy::describe::{Description, describe};
use ::policy::diff::{Change, Risk, Side, diff};
use ::policy::render;
use serde_json::{Value, json};
use service_runtime::settings::variable;

use super::arguments::PolicyDiffArguments;
use super::bundle::Bundle;
use crate::arguments::Format;
use crate::{Outcome, Unreadable, output};

/// Longer values stand on lines of their own.
const WIDEST_CHANGE: usize = 48;

pub(crate) fn run(arguments: &PolicyDiffArguments) -> anyhow::Result<Outcome> {
    let (old, new, running) = sides(arguments)?;
    let environments = match (&arguments.from, &arguments.to) {
        (Some(from), Some(to)) => BTreeMap::from([(format!("{from} → {to}"), (from.clone(), to.clone()))]),
        _ => environments(arguments, &old, &new, running)
            .into_iter()
            .map(|one| (one.clone(), (one.clone(), one)))
            .collect(),
    };
    let differences = compare(&old, &new, &environments)?;
    match arguments.format {
        Format::Human => {
            output::line(&as_text(&differences));
            if let Some(remark) = old.remark() {
                output::line(&remark);
            }
        }
        Format::Json => output::line(&serde_json::to_string_pretty(&as_json(&old, &new, &differences))?),
    }
    let worst = differences.iter().map(|difference| difference.change.risk).max();
    Ok(if worst.is_some() && worst >= arguments.fail_on {
        Outcome::Findings
    } else {
        Outcome::Done
    })
}

/// The old bundle, the new one, and the environment of the running system.
fn sides(arguments: &PolicyDiffArguments) -> Result<(Bundle, Bundle, Option<String>), Unreadable> {
    let is_between = arguments.from.is_some();
    let is_running = arguments.running.running;
    let (old, new) = match (is_running, arguments.bundles.as_slice()) {
        (false, []) if is_between => (Some("policies"), "policies"),
        (false, [both]) if is_between => (Some(both.as_str()), both.as_str()),
        (true, []) => (None, "policies"),
        (true, [new]) => (None, new.as_str()),
        (false, [old]) => (Some(old.as_str()), "policies"),
        (false, [old, new]) => (Some(old.as_str()), new.as_str()),
        (true, _) => {
            return Err(Unreadable(
                "--running is the old bundle: give the new one only".to_owned(),
            ));
        }
        (false, _) => {
            return Err(Unreadable(
                "compare with what? give an old bundle, or --running".to_owned(),
            ));
        }
    };
    if is_running && is_between && arguments.bundles.is_empty() {
        let (both, environment) = Bundle::running(&arguments.running)?;
        return Ok((both.clone(), both, environment));
    }
    let beside = if new.starts_with("git:") { "policies" } else { new };
    let new = Bundle::open(new, Path::new("policies"))?;
    match old {
        Some(old) => Ok((Bundle::open(old, Path::new(beside))?, new, None)),
        None => {
            let (old, environment) = Bundle::running(&arguments.running)?;
            Ok((old, new, environment))
        }
    }
}

fn environments(
    arguments: &PolicyDiffArguments,
    old: &Bundle,
    new: &Bundle,
    running: Option<String>,
) -> BTreeSet<String> {
    match arguments.env.as_deref() {
        // One that only one side has is no difference between two of them.
        Some("all") => {
            let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
                (old.environments().collect(), new.environments().collect());
            for alone in old.symmetric_difference(&new) {
                output::fault(&format!(
                    "{alone}: only one of the two has an overlay for it, so it is not compared"
                ));
            }
            old.intersection(&new).map(|name| (*name).to_owned()).collect()
        }
        Some(one) => BTreeSet::from([one.to_owned()]),
        None => {
            let ambient = || variable("APP_ENV").filter(|name| !name.is_empty());
            BTreeSet::from([running
                .or_else(ambient)
                .unwrap_or_else(|| "production".to_owned())])
        }
    }
}

/// One difference, and the environments in which it is one.
struct Difference {
    change: Change,
    place: String,
    /// Empty when it is the same in every environment that was compared.
    environments: Vec<String>,
}

fn compare(
    old: &Bundle,
    new: &Bundle,
    environments: &BTreeMap<String, (String, String)>,
) -> Result<Vec<Difference>, Unreadable> {
    let mut differences: Vec<Difference> = Vec::new();
    for (environment, (before, after)) in environments {
        let changes = diff(&described(old, before)?, &described(new, after)?);
        for change in changes {
            let known = differences
                .iter_mut()
                .find(|difference| difference.change == change);
            match known {
                Some(difference) => difference.environments.push(environment.clone()),
                None => differences.push(Difference {
                    place: match change.side {
                        Side::Old => old.place(&change.place),
                        Side::New => new.place(&change.place),
                    },
                    change,
                    environments: vec![environment.clone()],
                }),
            }
        }
    }
    for difference in &mut differences {
        if difference.environments.len() == environments.len() {
            difference.environments.clear();
        }
    }
    differences.sort_by(|a, b| {
        let (a, b) = (&a.change, &b.change);
        b.risk.cmp(&a.risk).then_with(|| a.key.cmp(&b.key))
    });
    Ok(differences)
}

fn described(bundle: &Bundle, environment: &str) -> Result<Description, Unreadable> {
    describe(&bundle.files, environment).map_err(|findings| bundle.refused(&findings, environment))
}

fn as_text(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "no difference: both enforce the same".to_owned();
    }
    let key_width = differences.iter().map(|one| one.change.key.chars().count()).max();
    let changes: Vec<String> = differences.iter().map(|one| in_short(&one.change)).collect();
    let is_short = |change: &&String| change.chars().count() <= WIDEST_CHANGE;
    let change_width = changes
        .iter()
        .filter(is_short)
        .map(|change| change.chars().count())
        .max();
    let (key_width, change_width) = (key_width.unwrap_or(0), change_width.unwrap_or(0));
    let mut lines = Vec::new();
    for (one, change) in differences.iter().zip(&changes) {
        let is_short = is_short(&change);
        let shown = if is_short { change.as_str() } else { "" };
        let Change { key, consequence, .. } = &one.change;
        lines.push(format!(
            "{:<8}  {key:<key_width$}  {shown:<change_width$}  {consequence}",
            one.change.risk
        ));
        if !is_short {
            lines.push(format!("          was  {}", in_words(one.change.old.as_deref())));
            lines.push(format!("          now  {}", in_words(one.change.new.as_deref())));
        }
        lines.push(format!("          {}", where_and_when(one)));
    }
    lines.push(format!("\n{}", summary(differences)));
    lines
        .iter()
        .map(|line| visible(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Control characters would reach the terminal; line ends between the lines may.
fn visible(line: &str) -> String {
    line.split('\n')
        .map(render::visible)
        .collect::<Vec<_>>()
        .join("\n")
}

fn in_short(change: &Change) -> String {
    format!(
        "{} → {}",
        in_words(change.old.as_deref()),
        in_words(change.new.as_deref())
    )
}

fn in_words(value: Option<&str>) -> &str {
    value.unwrap_or("—")
}

fn where_and_when(one: &Difference) -> String {
    let mut text = one.place.clone();
    if let Some(was) = &one.change.was {
        text.push_str(&format!("; was {was}"));
    }
    match one.change.followers.as_slice() {
        [] => {}
        [follower] => text.push_str(&format!("; {follower} follows it")),
        followers => text.push_str(&format!("; {} keys follow it", followers.len())),
    }
    if !one.environments.is_empty() {
        text.push_str(&format!("; only in {}", one.environments.join(", ")));
    }
    text
}

fn summary(differences: &[Difference]) -> String {
    let count = |risk: Risk| differences.iter().filter(|one| one.change.risk == risk).count();
    let counts: Vec<String> = Risk::ALL
        .into_iter()
        .rev()
        .map(|risk| (risk, count(risk)))
        .filter(|(_, count)| *count > 0)
        .map(|(risk, count)| format!("{count} {risk}"))
        .collect();
    let plural = if differences.len() == 1 {
        "difference"
    } else {
        "differences"
    };
    format!("{} {plural}: {}", differences.len(), counts.join(", "))
}

fn as_json(old: &Bundle, new: &Bundle, differences: &[Difference]) -> Value {
    let difference = |one: &Difference| {
        let change = &one.change;
        json!({
            "risk": one.change.risk.as_str(), "key": change.key, "was": change.was, "old": change.old, "new": change.new,
            "consequence": change.consequence, "place": one.place, "followers": change.followers,
            "environments": one.environments,
        })
    };
    json!({
        "old": old.name, "new": new.name,
        "differences": differences.iter().map(difference).collect::<Vec<Value>>(),
    })
}
