//! Just enough SVG. Colours follow the reader's light or dark scheme.

use std::fmt::{Display, Write};

/// Text sizes and colours; `c0` to `c4` are for series. The greys of axes are readable on white and on black.
const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .small { font-size: 11px } .title { font-size: 16px; font-weight: 600 } \
.axis { stroke: #6e7781; stroke-width: 1; fill: none } .grid { stroke: #8c959f; stroke-opacity: .3; stroke-width: 1 } \
.band { fill: #8c959f; fill-opacity: .18 } .line { fill: none; stroke-width: 2 } \
.c0 { fill: #8c959f; stroke: #8c959f } .c1 { fill: #0969da; stroke: #0969da } .c2 { fill: #bc4c00; stroke: #bc4c00 } \
.c3 { fill: #1a7f37; stroke: #1a7f37 } .c4 { fill: #8250df; stroke: #8250df } .bar { stroke: none } .line { fill: none } \
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .axis { stroke: #9198a1 } \
.c1 { fill: #58a6ff; stroke: #58a6ff } .c2 { fill: #f0883e; stroke: #f0883e } .c3 { fill: #3fb950; stroke: #3fb950 } \
.c4 { fill: #bc8cff; stroke: #bc8cff } .line { fill: none } .bar { stroke: none } }";

/// Where a text stands at its point.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing that grows downwards.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    body: String,
}

impl Svg {
    pub(crate) fn text(&mut self, x: f64, y: f64, class: &str, anchor: Anchor, text: impl Display) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(&text.to_string());
        let _ =
            writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" class="{class}" text-anchor="{anchor}">{text}</text>"#);
    }

    pub(crate) fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" class="{class}"/>"#
        );
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(self.body, r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#);
    }

    /// A line through the points, with a dot at each.
    pub(crate) fn curve(&mut self, points: &[(f64, f64)], class: &str) {
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(self.body, r#"<polyline points="{}" class="{class} line"/>"#, path.join(" "));
        for (x, y) in points {
            let _ = writeln!(self.body, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" class="{class}"/>"#);
        }
    }

    /// Puts another drawing over this one.
    pub(crate) fn append(&mut self, other: Self) {
        self.body.push_str(&other.body);
    }

    /// The whole file.
    pub(crate) fn finish(self, width: f64, height: f64, title: &str) -> String {
        let title = escape(title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             height=\"{height:.0}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{}</svg>\n",
            self.body
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
