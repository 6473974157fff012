//! The figures as a table for people or as JSON for programs.

use std::fmt::Write as _;

use serde_json::json;

use crate::{
    error::BoxError,
    load::{Round, ServerProcess},
};

/// The lines of a row, or why it has none.
pub(crate) type Outcome = Result<Vec<Line>, BoxError>;

/// One row, measured on one history.
pub(crate) struct Row {
    pub(crate) number: u8,
    pub(crate) history: &'static str,
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
}

/// A goal for the figure of a line.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// There is none: the figure explains another.
    None,
}

/// One line of the table.
pub(crate) struct Line {
    what: String,
    goal: Goal,
    /// What the goal is about: most often a ratio.
    pub(crate) figure: f64,
    unit: &'static str,
    /// The two sides in words.
    ours: String,
    baseline: String,
    /// Processor time of the server for each request, in microseconds, and its peak of resident memory, in MiB.
    pub(crate) cpu_micros: Option<f64>,
    peak_mib: Option<f64>,
}

impl Line {
    pub(crate) fn new(what: impl Into<String>, goal: Goal, figure: f64, unit: &'static str) -> Self {
        let (ours, baseline) = (String::new(), String::new());
        Self { what: what.into(), goal, figure, unit, ours, baseline, cpu_micros: None, peak_mib: None }
    }

    /// Requests a second, divided by those of the baseline.
    pub(crate) fn rates(
        what: impl Into<String>,
        goal: Goal,
        ours: &Round,
        baseline: &Round,
        process: &ServerProcess,
    ) -> Self {
        let side = |round: &Round| format!("{:.0}/s, {:.1} µs CPU", round.per_second, round.cpu_micros);
        Self {
            ours: side(ours),
            baseline: side(baseline),
            cpu_micros: Some(ours.cpu_micros),
            peak_mib: process.memory_mib().ok().map(|(_, peak)| peak),
            ..Self::new(what, goal, ours.per_second / baseline.per_second, "×")
        }
    }

    pub(crate) fn between(mut self, ours: impl Into<String>, baseline: impl Into<String>) -> Self {
        (self.ours, self.baseline) = (ours.into(), baseline.into());
        self
    }

    pub(crate) fn with_peak(mut self, peak_mib: f64) -> Self {
        self.peak_mib = Some(peak_mib);
        self
    }

    fn verdict(&self) -> &'static str {
        let is_reached = match self.goal {
            Goal::AtLeast(goal) => self.figure >= goal,
            Goal::AtMost(goal) => self.figure <= goal,
            Goal::None => return "",
        };
        if is_reached { "reached" } else { "MISSED" }
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::AtLeast(goal) => format!("≥ {goal}"),
            Goal::AtMost(goal) => format!("≤ {goal}"),
            Goal::None => String::new(),
        }
    }
}

/// How busy other programs kept the processors, before and after the run.
fn machine([before, after]: [f64; 2]) -> String {
    let busy = if before.max(after) > 0.1 { ": BUSY, so the figures say less" } else { "" };
    format!("processors used by other programs: {:.0} % before, {:.0} % after{busy}", before * 100.0, after * 100.0)
}

pub(crate) fn as_markdown(rows: &[Row], load: [f64; 2]) -> String {
    let mut text = String::from(
        "| row | history | what | goal | figure | | ours | baseline | CPU µs | peak MiB |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let number = |figure: Option<f64>| figure.map_or_else(String::new, |figure| format!("{figure:.1}"));
    for Row { number: row, history, name, outcome } in rows {
        match outcome {
            Err(error) => {
                let _ = writeln!(text, "| {row} | {history} | {name} | | | NOT MEASURED: {error} | | | | |");
            }
            Ok(lines) => lines.iter().for_each(|line| {
                let Line { what, figure, unit, ours, baseline, cpu_micros, peak_mib, .. } = line;
                let (goal, verdict) = (line.goal(), line.verdict());
                let (cpu, peak) = (number(*cpu_micros), number(*peak_mib));
                let _ = writeln!(
                    text,
                    "| {row} | {history} | {what} | {goal} | {figure:.2} {unit} | {verdict} | {ours} | {baseline} | {cpu} | {peak} |"
                );
            }),
        }
    }
    text + "64 connections with keep-alive unless a line says otherwise, one load generator on this machine. Medians of three rounds in rows 1, 3, 8, 12 and \
        14, of the pages of row 4 and the first lines of row 6; one run each otherwise\n"
        + &machine(load)
}

pub(crate) fn as_json(rows: &[Row], load: [f64; 2]) -> String {
    let line = |line: &Line| {
        let Line { what, figure, unit, ours, baseline, cpu_micros, peak_mib, .. } = line;
        json!({
            "what": what, "goal": line.goal(), "figure": figure, "unit": unit, "verdict": line.verdict(),
            "ours": ours, "baseline": baseline, "cpu_micros": cpu_micros, "peak_mib": peak_mib,
        })
    };
    let rows: Vec<_> = rows
        .iter()
        .map(|Row { number, history, name, outcome }| match outcome {
            Ok(lines) => json!({
                "row": number, "history": history, "name": name, "lines": lines.iter().map(line).collect::<Vec<_>>()
            }),
            Err(error) => {
                json!({"row": number, "history": history, "name": name, "not_measured": error.to_string()})
            }
        })
        .collect();
    json!({"rows": rows, "other_load": {"before": load[0], "after": load[1]}}).to_string()
}
