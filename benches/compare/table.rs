//! The tables for README, in Markdown.

use std::fmt::Write;

use crate::{
    record::System,
    row::{Measure, Row, Target},
    summary::{Medians, Summary},
};

const SYSTEMS: [System; 5] = [System::Null, System::Ours, System::Apache, System::Nats, System::Baseline];
/// Private memory after any row, in MiB.
const MOST_PRIVATE: f64 = 64.0;
/// How much dearer work may be beside a state.
const GROWTH: f64 = 1.2;

/// Every table there is something for.
pub(crate) fn render(summary: &Summary) -> String {
    let mut text = String::new();
    machines(summary, &mut text);
    if summary.has_rows() {
        figures(summary, &mut text);
        rates(summary, &mut text);
    }
    if summary.has_growth() {
        growth(summary, &mut text);
    }
    text
}

fn machines(summary: &Summary, text: &mut String) {
    for machine in &summary.machines {
        let memory = (machine.memory_mib as f64 / 1024.0).round();
        let _ = writeln!(
            text,
            "Run {}: {}, {} cores, {memory} GiB, Linux {}, {}",
            machine.run, machine.processor, machine.cores, machine.kernel, machine.commit
        );
    }
    text.push('\n');
}

fn figures(summary: &Summary, text: &mut String) {
    head(text, &["work", "", "null server", "TenonMQ", "Apache 5.3.3", "NATS", "baseline", "ratios", "target"]);
    for row in summary.rows() {
        let what = match row.measure {
            Measure::Cpu => "CPU",
            Measure::Rate => "rate",
            Measure::P999 => "p99.9",
            Measure::Ready => "time",
        };
        let mut cells = vec![format!("{} (`{}`)", row.title, row.name), what.to_owned()];
        cells.extend(SYSTEMS.map(|system| cell(summary, row, system)));
        cells.push(ratios(summary, row));
        cells.push(verdicts(summary, row));
        line(text, &cells);
    }
    memory(summary, text);
    for row in summary.rows() {
        for (system, medians) in row.systems.iter().filter_map(|&system| Some((system, summary.get(row, system)?))) {
            remark(text, row, system, medians);
        }
    }
}

fn memory(summary: &Summary, text: &mut String) {
    let Some(ours) = summary.private_mib(System::Ours) else { return };
    let mut cells = vec!["private memory after any of these".to_owned(), "most".to_owned()];
    cells.extend(SYSTEMS.map(|system| {
        let private = summary.private_mib(system).filter(|_| system != System::Baseline);
        private.map_or(String::new(), |mib| format!("{mib:.0} MiB"))
    }));
    let ratio =
        summary.private_mib(System::Apache).map_or(String::new(), |apache| format!("1 : {:.0} Apache", apache / ours));
    cells.push(ratio);
    cells.push(format!("≤ {MOST_PRIVATE} MiB: {}", verdict(Some(ours <= MOST_PRIVATE))));
    line(text, &cells);
    text.push('\n');
}

fn remark(text: &mut String, row: &Row, system: System, medians: &Medians) {
    let name = system.title();
    if let Some(note) = &medians.note {
        let _ = writeln!(text, "`{}`, {name}: {note}.", row.name);
    }
    if let Some(error) = medians.error.as_ref().filter(|_| medians.failures > 0) {
        let of = medians.failures + medians.rounds;
        let _ = writeln!(text, "`{}`, {name}: {} of {of} rounds failed: {error}.", row.name, medians.failures);
    }
}

fn rates(summary: &Summary, text: &mut String) {
    text.push('\n');
    head(text, &["rate, p99.9 latency", "null server", "TenonMQ", "Apache 5.3.3", "NATS", "baseline"]);
    for row in summary.rows().filter(|row| row.measure != Measure::Ready) {
        let mut cells = vec![format!("`{}`", row.name)];
        cells.extend(SYSTEMS.map(|system| {
            let Some(medians) = summary.get(row, system) else { return String::new() };
            let rate = medians.rate.map(|rate| format!("{}/s", thousands(rate)));
            let latency = medians.p999_ms.map(|latency| format!("{} ms", digits(latency)));
            rate.into_iter().chain(latency).collect::<Vec<_>>().join(", ")
        }));
        line(text, &cells);
    }
    text.push('\n');
}

fn growth(summary: &Summary, text: &mut String) {
    head(text, &["beside", "work", "alone", "beside it", "ratio", "target"]);
    for (state, works) in &summary.growth {
        for (work, sizes) in works {
            for (&size, step) in sizes {
                let (alone, beside) = (step.alone.cpu_us, step.beside.cpu_us);
                let ratio = alone.zip(beside).map(|(alone, beside)| beside / alone);
                let cpu = |figure: Option<f64>| figure.map_or_else(|| "failed".to_owned(), micros);
                line(
                    text,
                    &[
                        format!("{} {state}", thousands(size as f64)),
                        work.clone(),
                        cpu(alone),
                        cpu(beside),
                        ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
                        format!("≤ {GROWTH}: {}", verdict(ratio.map(|ratio| ratio <= GROWTH))),
                    ],
                );
            }
        }
    }
    text.push('\n');
}

fn cell(summary: &Summary, row: &Row, system: System) -> String {
    if system == System::Baseline {
        let rate = summary.get(row, system).and_then(|medians| medians.rate);
        return rate.map_or(String::new(), |rate| format!("{}/s", thousands(rate)));
    }
    let Some(medians) = summary.get(row, system) else { return String::new() };
    let Some(figure) = medians.of(row.measure) else { return "failed".to_owned() };
    let mark = if medians.note.is_some() || medians.failures > 0 { " *" } else { "" };
    let figure = match row.measure {
        Measure::Cpu => micros(figure),
        Measure::Rate => format!("{}/s", thousands(figure)),
        Measure::P999 | Measure::Ready => format!("{} ms", digits(figure)),
    };
    format!("{figure}{mark}")
}

fn ratios(summary: &Summary, row: &Row) -> String {
    let Some(ours) = summary.figure(row, System::Ours) else { return String::new() };
    let mut parts = Vec::new();
    if let Some(null) = summary.figure(row, System::Null) {
        parts.push(format!("{:.2} × null", ours / null));
    }
    for (system, name) in [(System::Apache, "Apache"), (System::Nats, "NATS")] {
        let Some(other) = summary.figure(row, system) else { continue };
        let times = if row.measure == Measure::Rate { ours / other } else { other / ours };
        parts.push(format!("1 : {times:.1} {name}"));
    }
    let rate = |system| summary.get(row, system).and_then(|medians| medians.rate);
    if let Some((ours, baseline)) = rate(System::Ours).zip(rate(System::Baseline)) {
        parts.push(format!("{:.0} % of the baseline's rate", 100.0 * ours / baseline));
    }
    parts.join(", ")
}

fn verdicts(summary: &Summary, row: &Row) -> String {
    let one = |target: &Target| {
        let met = verdict(summary.meets(row, *target));
        let text = match target {
            Target::OfNull(times) => format!("≤ {times} × null"),
            Target::PartOfApache(part) => format!("≤ 1/{part} of Apache"),
            Target::BelowNats => "below NATS".to_owned(),
            Target::OfBaselineRate(share) => format!("≥ {:.0} % of baseline", share * 100.0),
            Target::AtMost(limit) => format!("≤ {limit} ms"),
        };
        format!("{text}: {met}")
    };
    row.targets.iter().map(one).collect::<Vec<_>>().join("<br>")
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "not measured",
    }
}

pub(crate) fn micros(figure: f64) -> String {
    format!("{} µs", digits(figure))
}

/// Two or three digits that count.
pub(crate) fn digits(figure: f64) -> String {
    let decimals = if figure < 1.0 {
        2
    } else if figure < 100.0 {
        1
    } else {
        0
    };
    format!("{figure:.decimals$}")
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(figure: f64) -> String {
    let plain = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn head(text: &mut String, columns: &[&str]) {
    let columns: Vec<_> = columns.iter().map(|&column| column.to_owned()).collect();
    line(text, &columns);
    line(text, &vec!["---".to_owned(); columns.len()]);
}

fn line(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
