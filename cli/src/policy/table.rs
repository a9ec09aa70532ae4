//! An answer as a table: aligned for people, a list of objects for programs.

use ::policy::render;
use serde_json::{Map, Value};

/// Columns and rows; the last column may be wide.
pub(super) struct Table {
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[&'static str]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Aligned by the widest cell of each column. A first cell that repeats the one above is left out.
    pub(super) fn human(&self) -> String {
        let heading: Vec<String> = self.columns.iter().map(|column| (*column).to_owned()).collect();
        let lines: Vec<&Vec<String>> = [&heading].into_iter().chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut above = None;
        let mut text = Vec::new();
        for line in lines {
            let first = line.first();
            let cell = |(index, (cell, width)): (usize, (&String, &usize))| {
                let shown = if index == 0 && above == first { "" } else { cell };
                format!("{shown:<width$}")
            };
            let cells: Vec<String> = line.iter().zip(&widths).enumerate().map(cell).collect();
            text.push(render::visible(cells.join("  ").trim_end()));
            above = first;
        }
        text.join("\n")
    }

    /// One object for each row, its members named as the columns.
    pub(super) fn json(&self) -> Value {
        let object = |row: &Vec<String>| {
            let members = self.columns.iter().zip(row);
            let members =
                members.map(|(column, cell)| (column.replace(' ', "_"), Value::from(cell.as_str())));
            Value::Object(members.collect::<Map<String, Value>>())
        };
        self.rows.iter().map(object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_a_repeated_name_is_left_out() {
        let mut table = Table::new(&["route", "decided at"]);
        for [a, b] in [
            ["login", "a.yaml:1"],
            ["login", "b.yaml:2"],
            ["a_longer_name", "c\u{1b}:3"],
        ] {
            table.rows.push(vec![a.to_owned(), b.to_owned()]);
        }
        assert_eq!(
            table.human(),
            "route          decided at\nlogin          a.yaml:1\n               b.yaml:2\na_longer_name  c\u{fffd}:3"
        );
        assert_eq!(
            table.json()[1],
            serde_json::json!({"route": "login", "decided_at": "b.yaml:2"})
        );
    }
}
