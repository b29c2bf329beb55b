//! The rows as bars: in each, what is longest fills the width, so that ratios are seen.

use crate::{
    record::System,
    row::{Measure, Row},
    summary::Summary,
    svg::{Anchor, Svg},
    table::{digits, micros, thousands},
};

const WIDTH: f64 = 1060.0;
const LEFT: f64 = 400.0;
const RIGHT: f64 = 200.0;
const BAR: f64 = 15.0;
const SERIES: [(System, &str); 5] = [
    (System::Null, "c0"),
    (System::Ours, "c1"),
    (System::Apache, "c2"),
    (System::Nats, "c3"),
    (System::Baseline, "c4"),
];

pub(crate) fn render(summary: &Summary) -> String {
    let mut svg = Svg::default();
    let title = "TenonMQ beside Apache RocketMQ 5.3.3, NATS JetStream and a server that stores nothing";
    svg.text(16.0, 28.0, "title", Anchor::Start, title);
    let mut x = 16.0;
    for (system, class) in SERIES {
        svg.rectangle(x, 42.0, 12.0, 12.0, &format!("{class} bar"));
        svg.text(x + 18.0, 53.0, "", Anchor::Start, system.title());
        x += 150.0;
    }
    let mut y = 78.0;
    let top = y;
    let mut bars = Svg::default();
    for row in summary.rows().filter(|row| row.measure != Measure::Ready) {
        y = draw(summary, row, &mut bars, y);
    }
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let x = LEFT + share * (WIDTH - LEFT - RIGHT);
        svg.line((x, top), (x, y), "grid");
        svg.text(x, y + 18.0, "small", Anchor::Middle, format!("{:.0} %", share * 100.0));
    }
    let axis = "share of the longest bar of the row (in %; shorter is better, but for rates)";
    svg.text(LEFT, y + 38.0, "small", Anchor::Start, axis);
    svg.append(bars);
    svg.finish(WIDTH, y + 54.0, title)
}

/// Draws one row and returns where the next begins.
fn draw(summary: &Summary, row: &Row, svg: &mut Svg, top: f64) -> f64 {
    let figure = |system| match system {
        // The baseline of a row about CPU is a rate: it has no bar there.
        System::Baseline if row.measure != Measure::Rate => None,
        system => summary.figure(row, system),
    };
    let figures: Vec<_> = SERIES.iter().filter_map(|&(system, class)| Some((system, class, figure(system)?))).collect();
    let longest = figures.iter().map(|(.., figure)| *figure).fold(f64::MIN_POSITIVE, f64::max);
    let ours = figure(System::Ours);
    let unit = match row.measure {
        Measure::Cpu => "broker CPU for each",
        Measure::Rate => "rate: longer is better",
        Measure::P999 => "latency",
        Measure::Ready => "time",
    };
    svg.text(LEFT - 10.0, top + 12.0, "", Anchor::End, row.title.replace('`', ""));
    svg.text(LEFT - 10.0, top + 27.0, "small", Anchor::End, unit);
    let mut y = top;
    for (system, class, figure) in &figures {
        let width = (figure / longest * (WIDTH - LEFT - RIGHT)).max(1.5);
        svg.rectangle(LEFT, y, width, BAR - 2.0, &format!("{class} bar"));
        let value = match row.measure {
            Measure::Cpu => micros(*figure),
            Measure::Rate => format!("{}/s", thousands(*figure)),
            Measure::P999 | Measure::Ready => format!("{} ms", digits(*figure)),
        };
        let ratio = ours
            .filter(|_| *system != System::Ours)
            .map_or(String::new(), |ours| format!("  ({} × TenonMQ)", digits(figure / ours)));
        svg.text(LEFT + width + 6.0, y + 11.0, "small", Anchor::Start, format!("{value}{ratio}"));
        y += BAR;
    }
    y.max(top + 30.0) + 12.0
}
