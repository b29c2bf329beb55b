//! What became of many bits, by the part that they are in.

use std::{collections::BTreeMap, fmt};

use super::{Bit, Finding, UNGUARDED};

/// Counts by part.
#[derive(Debug, Default)]
pub struct Report {
    parts: BTreeMap<String, Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    tried: usize,
    harmless: usize,
    refused: usize,
    withheld: usize,
    changed: BTreeMap<&'static str, usize>,
    wrong: BTreeMap<&'static str, (usize, Bit)>,
}

impl Report {
    /// Adds what became of one bit of a part.
    pub fn add(&mut self, part: String, bit: Bit, finding: &Finding) {
        let counts = self.parts.entry(part).or_default();
        counts.tried += 1;
        match finding {
            Finding::Harmless => counts.harmless += 1,
            Finding::Refused => counts.refused += 1,
            Finding::Withheld(_) => counts.withheld += 1,
            Finding::Changed(state) => *counts.changed.entry(state).or_default() += 1,
            Finding::Wrong(field) => counts.wrong.entry(field).or_insert((0, bit)).0 += 1,
        }
    }

    /// Takes over what another report counted.
    pub fn merge(&mut self, other: Self) {
        for (part, counts) in other.parts {
            let sum = self.parts.entry(part).or_default();
            sum.tried += counts.tried;
            sum.harmless += counts.harmless;
            sum.refused += counts.refused;
            sum.withheld += counts.withheld;
            for (state, count) in counts.changed {
                *sum.changed.entry(state).or_default() += count;
            }
            for (field, (count, bit)) in counts.wrong {
                sum.wrong.entry(field).or_insert((0, bit)).0 += count;
            }
        }
    }

    /// Bits tried.
    pub fn tried(&self) -> usize {
        self.parts.values().map(|counts| counts.tried).sum()
    }

    /// Wrong messages that nothing excuses: with an example of each. `guarded` says whether the format guards all of a record.
    pub fn broken_promises(&self, guarded: bool) -> Vec<String> {
        let wrong = self.parts.iter().flat_map(|(part, counts)| counts.wrong.iter().map(move |wrong| (part, wrong)));
        wrong
            .filter(|(_, (field, _))| guarded || !UNGUARDED.contains(field))
            .map(|(part, (field, (count, bit)))| format!("{part}: {field} wrong {count} times, as by {bit:?}"))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<44} {:>8} {:>8} {:>8} {:>8}  wrong or changed",
            "part", "bits", "harmless", "refused", "withheld"
        )?;
        for (part, counts) in &self.parts {
            let wrong = counts.wrong.iter().map(|(field, (count, _))| format!("{field} {count}"));
            let changed = counts.changed.iter().map(|(state, count)| format!("({state} {count})"));
            let wrong: Vec<_> = wrong.chain(changed).collect();
            let Counts { tried, harmless, refused, withheld, .. } = counts;
            writeln!(f, "{part:<44} {tried:>8} {harmless:>8} {refused:>8} {withheld:>8}  {}", wrong.join(", "))?;
        }
        Ok(())
    }
}
