//! What all runs came to: the table, and the file with every figure.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cases::Case;
use crate::figures::{Figures, median};
use crate::machine::Machine;
use crate::process::Problem;
use crate::targets::{Bound, Scale, Target, targets, with_unit};

const HEAD: [&str; 4] = ["what", "target", "measured", ""];

/// Gathers what all runs came to.
pub(crate) struct Report {
    machine: Machine,
    /// The runs of each case, in their order; `None` is one that failed.
    runs: BTreeMap<String, Vec<Option<Figures>>>,
    problems: Vec<(String, Problem)>,
}

impl Report {
    /// Begins with nothing.
    pub(crate) fn new(cases: &[Case]) -> Self {
        let runs = cases.iter().map(|case| (case.name.clone(), Vec::new())).collect();
        Self { machine: Machine::look(), runs, problems: Vec::new() }
    }

    pub(crate) fn add(&mut self, case: &str, figures: Figures) {
        self.runs.entry(case.to_owned()).or_default().push(Some(figures));
    }

    pub(crate) fn fail(&mut self, case: &str, problem: Problem) {
        self.runs.entry(case.to_owned()).or_default().push(None);
        self.problems.push((case.to_owned(), problem));
    }

    /// Tells whether an event was lost or a run did not come to its end.
    pub(crate) fn has_failed(&self) -> bool {
        !self.problems.is_empty()
    }

    /// Writes the table for a terminal.
    pub(crate) fn text(&self) -> String {
        let rows: Vec<[String; 4]> = [HEAD.map(str::to_owned)].into_iter().chain(self.rows()).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        let mut text = format!("{}\n\n", self.caption());
        for [what, target, measured, verdict] in &rows {
            let line = format!("{what:<0$}  {target:>1$}  {measured:>2$}  {verdict}", widths[0], widths[1], widths[2]);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for (case, problem) in &self.problems {
            text.push_str(&format!("FAILED: {case}: {problem}\n"));
        }
        text
    }

    /// Writes the table as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}.\n\n| {} |\n|---|--:|--:|---|\n", self.caption(), HEAD.join(" | "));
        for row in self.rows() {
            text.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        text
    }

    /// Writes every figure of every run.
    pub(crate) fn write(&self, path: &Path) {
        let cases = self.runs.iter().map(|(case, runs)| {
            let whole: Vec<Figures> = runs.iter().flatten().cloned().collect();
            serde_json::json!({ "case": case, "median": Figures::median(&whole), "runs": runs })
        });
        let problems =
            self.problems.iter().map(|(case, problem)| serde_json::json!({ "case": case, "problem": problem }));
        let document = serde_json::json!({
            "machine": self.machine,
            "cases": cases.collect::<Vec<_>>(),
            "lines": self.rows().map(|[what, target, measured, verdict]| {
                serde_json::json!({ "what": what, "target": target, "measured": measured, "verdict": verdict })
            }).collect::<Vec<_>>(),
            "problems": problems.collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(&document).expect("figures are plain data");
        match std::fs::write(path, text) {
            Ok(()) => eprintln!("all figures: {}", path.display()),
            Err(error) => eprintln!("cannot write {}: {error}", path.display()),
        }
    }

    fn caption(&self) -> String {
        let runs = self.runs.values().map(Vec::len).max().unwrap_or(0);
        let runs = if runs == 1 { "one run".to_owned() } else { format!("medians of {runs} runs") };
        format!("{}; {runs}", self.machine.line())
    }

    /// Returns the lines whose case was run.
    fn rows(&self) -> impl Iterator<Item = [String; 4]> {
        targets().into_iter().filter(|target| self.runs.contains_key(target.case)).map(|target| self.row(&target))
    }

    fn row(&self, target: &Target) -> [String; 4] {
        let unit = |value| with_unit(value, target.figure, target.scale);
        let bound = match target.bound {
            Some(Bound::AtLeast(bound)) => format!("≥ {}", unit(bound)),
            Some(Bound::AtMost(bound)) => format!("≤ {}", unit(bound)),
            None => String::new(),
        };
        let Some(value) = self.value(target) else {
            return [target.what.to_owned(), bound, "not measured".to_owned(), String::new()];
        };
        let verdict = match target.bound.map(|bound| bound.miss(value)) {
            None => String::new(),
            Some(0.0) => "reached".to_owned(),
            Some(miss) => format!("missed by {:.0} %", (miss * 100.0).max(1.0)),
        };
        [target.what.to_owned(), bound, unit(value), verdict]
    }

    /// Returns the median of a figure; what is compared is compared within each run.
    fn value(&self, target: &Target) -> Option<f64> {
        let of = |figures: &Option<Figures>| figures.as_ref()?.get(target.figure);
        let runs = self.runs.get(target.case)?;
        let against = |base: &str, compare: fn(f64, f64) -> f64| {
            let bases = self.runs.get(base)?;
            median(runs.iter().zip(bases).filter_map(|(run, base)| Some(compare(of(run)?, of(base)?))))
        };
        match target.scale {
            Scale::Absolute => median(runs.iter().filter_map(of)),
            Scale::Times(base) => against(base, |value, base| value / base),
            Scale::Above(base) => against(base, |value, base| value - base),
        }
    }
}
