//! Which exceptions there are, and which of them end soon.

use ::policy::Date;
use ::policy::describe::{Definition, Description, Kind};

use super::decided;
use crate::policy::table::Table;

/// Every waiver, the first to end first.
pub(super) fn answer(policy: &Description, today: Date) -> Table {
    let mut table = Table::new(&["waiver", "rule", "at", "until", "ends", "decided at", "reason"]);
    let mut waivers: Vec<&Definition> = policy.all(Kind::Waiver).collect();
    // `2026-01-31` sorts as the day it is.
    waivers.sort_by_key(|waiver| (waiver.text("until"), waiver.name()));
    for waiver in waivers {
        let until = waiver.text("until");
        table.rows.push(vec![
            waiver.name().to_owned(),
            waiver.text("rule"),
            waiver.text("at"),
            until.clone(),
            Date::parse(&until)
                .map(|until| ends(until.days_since(today)))
                .unwrap_or_default(),
            waiver.fact("until").map(decided).unwrap_or_default(),
            waiver.text("because"),
        ]);
    }
    table
}

/// How many days are left; the last day counts.
fn ends(days_left: i64) -> String {
    match days_left {
        ..0 => "EXPIRED".to_owned(),
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        days => format!("in {days} days"),
    }
}
