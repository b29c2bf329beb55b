//! Cost over size: a panel for each state, a line for each work, and the band in which it has to stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    summary::{Step, Summary},
    svg::{Anchor, Svg},
    table::thousands,
};

const PANEL: (f64, f64) = (300.0, 190.0);
const GAP: (f64, f64) = (80.0, 100.0);
const COLUMNS: usize = 2;
const LEFT: f64 = 70.0;
const TOP: f64 = 110.0;
/// The vertical axis ends here at least: twice the cost on an empty broker.
const LEAST_TOP: f64 = 1.6;
/// The promise: within 20 %.
const BAND: (f64, f64) = (0.8, 1.2);
const COLOURS: [&str; 4] = ["c1", "c2", "c3", "c4"];

pub(crate) fn render(summary: &Summary) -> String {
    let mut svg = Svg::default();
    let title = "What work costs beside what the broker holds";
    svg.text(16.0, 28.0, "title", Anchor::Start, title);
    let sub =
        "Broker CPU for each message, relative to an empty broker measured in turn (1 = the same). Grey: within 20 %.";
    svg.text(16.0, 48.0, "small", Anchor::Start, sub);
    let works: BTreeSet<&str> = summary.growth.values().flat_map(|works| works.keys()).map(String::as_str).collect();
    let works: Vec<&str> = works.into_iter().filter(|&work| work != "fill").collect();
    for (at, (work, colour)) in works.iter().zip(COLOURS).enumerate() {
        let x = 16.0 + at as f64 * 130.0;
        svg.rectangle(x, 62.0, 12.0, 12.0, &format!("{colour} bar"));
        svg.text(x + 18.0, 73.0, "", Anchor::Start, work);
    }
    for (at, (state, lines)) in summary.growth.iter().enumerate() {
        let corner =
            (LEFT + (at % COLUMNS) as f64 * (PANEL.0 + GAP.0), TOP + (at / COLUMNS) as f64 * (PANEL.1 + GAP.1));
        panel(&mut svg, corner, state, lines, &works);
    }
    let rows = summary.growth.len().div_ceil(COLUMNS) as f64;
    svg.finish(LEFT + COLUMNS as f64 * (PANEL.0 + GAP.0), TOP + rows * (PANEL.1 + GAP.1), title)
}

fn panel(
    svg: &mut Svg,
    (left, top): (f64, f64),
    state: &str,
    lines: &BTreeMap<String, BTreeMap<u64, Step>>,
    works: &[&str],
) {
    let lines: Vec<(usize, Vec<(u64, f64)>)> =
        works.iter().enumerate().filter_map(|(at, &work)| Some((at, points(lines.get(work)?)))).collect();
    let all = lines.iter().flat_map(|(_, points)| points);
    let highest = all.clone().map(|(_, ratio)| *ratio).fold(LEAST_TOP, f64::max) * 1.05;
    let sizes: BTreeSet<u64> = all.map(|(size, _)| *size).collect();
    let largest = sizes.last().copied().unwrap_or(1).max(1) as f64;
    let (width, height) = PANEL;
    let x = |size: u64| left + size as f64 / largest * width;
    let y = |ratio: f64| top + height - ratio / highest * height;
    svg.rectangle(left, y(BAND.1), width, y(BAND.0) - y(BAND.1), "band");
    let step = if highest > 8.0 { (highest / 4.0).ceil() } else { 0.5 };
    for mark in (0..).map(|mark| f64::from(mark) * step).take_while(|mark| *mark <= highest) {
        svg.line((left, y(mark)), (left + width, y(mark)), "grid");
        svg.text(left - 6.0, y(mark) + 4.0, "small", Anchor::End, format!("{mark} ×"));
    }
    svg.line((left, top), (left, top + height), "axis");
    svg.line((left, top + height), (left + width, top + height), "axis");
    for (at, size) in sizes.iter().enumerate() {
        // The first two lie close together: they take turns.
        let down = if at % 2 == 0 { 16.0 } else { 29.0 };
        svg.text(x(*size), top + height + down, "small", Anchor::Middle, thousands(*size as f64));
    }
    svg.text(left + width / 2.0, top + height + 46.0, "small", Anchor::Middle, format!("{state} (number)"));
    svg.text(left, top - 8.0, "", Anchor::Start, state);
    for (at, points) in lines {
        let points: Vec<_> = points.iter().map(|&(size, ratio)| (x(size), y(ratio))).collect();
        svg.curve(&points, COLOURS[at % COLOURS.len()]);
    }
}

/// Beside nothing the cost is that of an empty broker.
fn points(sizes: &BTreeMap<u64, Step>) -> Vec<(u64, f64)> {
    let ratio = |step: &Step| Some(step.beside.cpu_us? / step.alone.cpu_us?);
    let measured = sizes.iter().filter_map(|(&size, step)| Some((size, ratio(step)?)));
    std::iter::once((0, 1.0)).chain(measured).collect()
}
