//! What was measured, against what was wanted.

use serde::Serialize;

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// The row of the benchmark.
    pub row: &'static str,
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it should be; nothing for what is only told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// A distribution of times, for a plot.
#[derive(Clone, Debug, Serialize)]
pub struct Curve {
    /// Of what.
    pub name: String,
    /// Percentiles 0 to 100, in milliseconds.
    pub percentiles: Vec<f64>,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// How NATS was run.
    pub mode: &'static str,
    /// Streams that shared the histories.
    pub partitions: u32,
    /// The machine and the server.
    pub machine: String,
    /// When it began, RFC 3339.
    pub time: String,
    /// The figures, as they came.
    pub figures: Vec<Figure>,
    /// Distributions.
    pub curves: Vec<Curve>,
}

impl Report {
    /// Adds a figure and shows it.
    pub fn add(
        &mut self,
        row: &'static str,
        name: &str,
        value: f64,
        unit: &'static str,
        target: Option<Target>,
    ) {
        let met = target.map(|target| match target {
            Target::AtMost(most) => value <= most,
            Target::AtLeast(least) => value >= least,
        });
        let figure = Figure { row, name: name.to_owned(), value, unit, target, met };
        println!("{}", line(&figure));
        self.figures.push(figure);
    }

    /// Adds a figure without a target.
    pub fn tell(&mut self, row: &'static str, name: &str, value: f64, unit: &'static str) {
        self.add(row, name, value, unit, None);
    }

    /// How many figures miss their targets.
    pub fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| figure.met == Some(false)).count()
    }
}

/// A figure as a line of the table.
pub fn line(figure: &Figure) -> String {
    let target = match figure.target {
        None => String::new(),
        Some(Target::AtMost(most)) => format!("<= {}", number(most)),
        Some(Target::AtLeast(least)) => format!(">= {}", number(least)),
    };
    let verdict = match figure.met {
        None => "",
        Some(true) => "met",
        Some(false) => "MISSED",
    };
    let (row, name, unit) = (figure.row, &figure.name, figure.unit);
    format!("{row:<11} {name:<58} {:>10} {unit:<9} {target:>10}  {verdict}", number(figure.value))
        .trim_end()
        .to_owned()
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
