//! Who is connected.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use tenonmq_protocol::{Language, body::ConsumeType};

use super::{
    is_system_group,
    text::{Kind, Page},
    word,
};
use crate::core::Core;

pub(super) fn add(page: &mut Page, core: &Core) {
    producers(page, core);
    consumers(page, core);
}

fn producers(page: &mut Page, core: &Core) {
    let mut counts = BTreeMap::<(String, Cow<'static, str>), u64>::new();
    for member in core.clients.producer_groups().iter().flat_map(|group| group.members()) {
        *counts.entry((language(member.language()), version(member.version()))).or_default() += 1;
    }
    let mut family =
        page.family("rocketmq_producer_connections", Kind::Gauge, "Producers, counted in each of their groups");
    for ((language, version), count) in &counts {
        family.row(&[("language", language), ("version", version), ("protocol_type", "remoting")], count);
    }
}

fn consumers(page: &mut Page, core: &Core) {
    let mut counts = BTreeMap::<(Arc<str>, &'static str, String, Cow<'static, str>), u64>::new();
    for group in core.clients.consumer_groups() {
        let mode = mode(group.view().consume_type);
        for member in group.members() {
            let key = (Arc::clone(group.name()), mode, language(member.language()), version(member.version()));
            *counts.entry(key).or_default() += 1;
        }
    }
    let mut family =
        page.family("rocketmq_consumer_connections", Kind::Gauge, "Consumers, counted in each of their groups");
    for ((group, mode, language, version), count) in &counts {
        let labels = [
            ("consumer_group", &**group),
            ("language", language),
            ("version", version),
            ("consume_mode", mode),
            ("protocol_type", "remoting"),
            ("is_system", word(is_system_group(group))),
        ];
        family.row(&labels, count);
    }
}

fn language(language: Language) -> String {
    language.name().to_ascii_lowercase()
}

fn mode(how: ConsumeType) -> &'static str {
    match how {
        ConsumeType::Actively => "pull",
        ConsumeType::Passively => "push",
        ConsumeType::Pop => "pop",
    }
}

/// A version's name by its ordinal (`remoting.md` section 1.5): two for each release from 4.0.0 on, ten releases for each
/// minor version, ten of those for each major one. Older ones are taken together, and so are those beyond Apache's list.
fn version(ordinal: i32) -> Cow<'static, str> {
    const V4_0_0: i32 = 213;
    const V5_9_9: i32 = 611;
    if ordinal < V4_0_0 - 1 {
        return "v3".into();
    }
    if ordinal > V5_9_9 {
        return "higher_version".into();
    }
    let (release, suffix) = if ordinal % 2 == 0 { (ordinal + 1, "_snapshot") } else { (ordinal, "") };
    let number = (release - V4_0_0) / 2;
    format!("v{}_{}_{}{suffix}", 4 + number / 100, number / 10 % 10, number % 10).into()
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_have_apaches_names() {
        for (ordinal, name) in [
            (213, "v4_0_0"),
            (232, "v4_1_0_snapshot"),
            (317, "v4_5_2"),
            (411, "v4_9_9"),
            (412, "v5_0_0_snapshot"),
            (479, "v5_3_3"),
            (611, "v5_9_9"),
            (612, "higher_version"),
            (-1, "v3"),
        ] {
            assert_eq!(version(ordinal), name);
        }
    }
}
