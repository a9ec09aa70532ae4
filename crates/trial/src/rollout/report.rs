//! What a drill has shown, as a table.

use std::fmt;

/// A row of the targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name and what it says.
    pub target: String,
    /// What is promised.
    pub bound: String,
    /// What was seen.
    pub measured: String,
    /// Whether it was kept.
    pub holds: bool,
}

/// What a drill has shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolloutReport {
    /// Its rows.
    pub rows: Vec<Row>,
}

impl RolloutReport {
    pub(super) fn add(
        &mut self,
        target: impl Into<String>,
        bound: impl Into<String>,
        measured: impl Into<String>,
        holds: bool,
    ) {
        self.rows.push(Row {
            target: target.into(),
            bound: bound.into(),
            measured: measured.into(),
            holds,
        });
    }

    /// The rows that were not kept.
    pub fn missed(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.holds)
    }
}

impl fmt::Display for RolloutReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| target | bound | measured | |\n| --- | --- | --- | --- |")?;
        for row in &self.rows {
            let kept = if row.holds { "kept" } else { "MISSED" };
            writeln!(
                f,
                "| {} | {} | {} | {kept} |",
                row.target, row.bound, row.measured
            )?;
        }
        Ok(())
    }
}

/// The value that so many hundredths do not exceed; 0 of none.
pub(super) fn percentile(values: &[i64], hundredths: usize) -> i64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * hundredths).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
