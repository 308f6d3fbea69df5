//! Plots, as SVG: the distributions of times, and every figure beside its target.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::report::{Figure, Report, Target};

const COLORS: [&str; 4] = ["#1f6feb", "#8b949e", "#2da44e", "#bf8700"];
const WIDTH: f64 = 860.0;

/// Writes `latency.svg` and `targets.svg`, each when there is something to show.
pub fn write(report: &Report, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for (name, svg) in [("latency.svg", latency(report)), ("targets.svg", targets(report))] {
        if let Some(svg) = svg {
            let file = directory.join(name);
            std::fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(())
}

fn frame(height: f64, title: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#24292f\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"20\" y=\"24\" font-size=\"15\">{title}</text>\n{body}</svg>\n"
    )
}

/// Which share of all was done after how many milliseconds.
fn latency(report: &Report) -> Option<String> {
    const LEFT: f64 = 50.0;
    const TOP: f64 = 40.0;
    const HIGH: f64 = 260.0;
    const WIDE: f64 = WIDTH - 80.0;
    let tail = |curve: &crate::report::Curve| curve.percentiles.get(99).copied().unwrap_or_default();
    let longest = report.curves.iter().map(tail).fold(0.0, f64::max).ceil();
    if longest == 0.0 {
        return None;
    }
    let mut body = String::new();
    for tick in 0..=4_u32 {
        let share = f64::from(tick) / 4.0;
        let (x, y) = (LEFT + share * WIDE, TOP + (1.0 - share) * HIGH);
        let _ = writeln!(
            body,
            "<path d=\"M{LEFT} {y:.1}h{WIDE}\" stroke=\"#d0d7de\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.2} ms</text>",
            LEFT - 6.0,
            y + 4.0,
            share * 100.0,
            TOP + HIGH + 18.0,
            share * longest,
        );
    }
    for ((n, curve), color) in (0_u32..).zip(&report.curves).zip(COLORS.iter().cycle()) {
        let points: Vec<String> = (0_u32..)
            .zip(&curve.percentiles)
            .take_while(|(_, time)| **time <= longest)
            .map(|(percent, time)| {
                let y = TOP + (1.0 - f64::from(percent) / 100.0) * HIGH;
                format!("{:.1},{y:.1}", LEFT + time / longest * WIDE)
            })
            .collect();
        let y = TOP + HIGH + 44.0 + 16.0 * f64::from(n);
        let _ = writeln!(
            body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>\
             <path d=\"M{LEFT} {:.1}h24\" stroke=\"{color}\" stroke-width=\"3\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            points.join(" "),
            y - 4.0,
            LEFT + 32.0,
            curve.name,
        );
    }
    let height = TOP + HIGH + 56.0 + 16.0 * report.curves.len() as f64;
    Some(frame(height, &format!("Done within, mode {}", report.mode), &body))
}

/// Every figure as a share of its target; beyond the line it misses it.
fn targets(report: &Report) -> Option<String> {
    const LEFT: f64 = 400.0;
    const TOP: f64 = 44.0;
    const ROW: f64 = 20.0;
    /// Where the target stands, and where bars are cut off.
    const FULL: f64 = 260.0;
    const MOST: f64 = 1.6;
    let share = |figure: &Figure| match figure.target? {
        Target::AtMost(most) => Some(figure.value / most),
        Target::AtLeast(least) => Some(least / figure.value),
    };
    let shares: Vec<(&Figure, f64)> =
        report.figures.iter().filter_map(|figure| Some((figure, share(figure)?))).collect();
    if shares.is_empty() {
        return None;
    }
    let mut body = String::new();
    for (n, (figure, share)) in (0_u32..).zip(&shares) {
        let y = TOP + ROW * f64::from(n);
        let color = if *share <= 1.0 { "#2da44e" } else { "#cf222e" };
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}: {}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{color}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
            LEFT - 8.0,
            y + 11.0,
            figure.row,
            figure.name,
            share.min(MOST) * FULL,
            LEFT + share.min(MOST) * FULL + 6.0,
            y + 11.0,
            share,
        );
    }
    let height = TOP + ROW * shares.len() as f64 + 10.0;
    let _ = writeln!(
        body,
        "<path d=\"M{:.1} {:.1}V{:.1}\" stroke=\"#24292f\" stroke-dasharray=\"4 3\"/>",
        LEFT + FULL,
        TOP - 8.0,
        height - 6.0,
    );
    Some(frame(
        height,
        &format!("Share of the target that is used, mode {}: 1 or less meets it", report.mode),
        &body,
    ))
}
