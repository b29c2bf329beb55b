//! When a message wants to become visible.

use tenonmq_protocol::{
    code::ResponseCode,
    message::{Properties, properties::names as property},
};

use crate::{
    config::Messages,
    core::clock::Clock,
    error::Refusal,
    timer::{Timer, out_ms},
};

const TIMER_WISHES: [&str; 3] = [property::TIMER_DELAY_SEC, property::TIMER_DELAY_MS, property::TIMER_DELIVER_MS];

/// What a message asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A delay level.
    Level(i32),
    /// A time of its own.
    At(Timer),
}

/// What a message asks for; `None` when it may be seen at once. A delay counts from now.
///
/// # Errors
/// 1 for a level that is no number, and for a time when timers are switched off; 13 for a time that is no number or too
/// far away. The answers are Apache's; the remark then goes on with the property and what is wrong with it.
pub fn wished(properties: &Properties<'_>, rules: &Messages, clock: &Clock) -> Result<Option<Wish>, Refusal> {
    if properties.iter().any(|(name, _)| is_wish(name)) { read(properties, rules, clock.now_ms()) } else { Ok(None) }
}

fn is_wish(name: &str) -> bool {
    matches!(name, property::DELAY | property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS)
}

#[cold]
fn read(properties: &Properties<'_>, rules: &Messages, now_ms: i64) -> Result<Option<Wish>, Refusal> {
    if let Some(text) = properties.get(property::DELAY) {
        let not_a_number = |_| {
            let remark = format!("the delay level of the message is not a number: DELAY is {text:?}");
            Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
        };
        let level: i32 = text.parse().map_err(not_a_number)?;
        if level > 0 {
            return Ok(Some(Wish::Level(level))); // the wishes for a time do not count then
        }
    }
    let Some((name, text)) = wish(properties) else { return Ok(None) };
    if !rules.timers {
        let remark = "accurate timer message is not enabled, timerWheelEnable is false";
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let refused = |why: &str| Err(illegal(rules, &format!("{name} is {text:?}, {why}")));
    let Some(due_ms) = time_of(name, text, now_ms) else { return refused("which is not a number") };
    if due_ms > now_ms {
        if due_ms - now_ms > max_delay_ms(rules) {
            return refused("which is further away than timerMaxDelaySec allows");
        }
        return Ok(Some(Wish::At(Timer { due_ms, out_ms: out_ms(due_ms, rules.timer_precision_ms) })));
    }
    if properties.contains(property::TIMER_DEL_UNIQKEY) {
        return refused("which has passed, and TIMER_DEL_UNIQKEY is set");
    }
    Ok(None)
}

/// The time of delivery that a message asks for, if it lies ahead: for one that was admitted before.
pub fn time_ahead(properties: &Properties<'_>, now_ms: i64, precision_ms: i64) -> Option<Timer> {
    let (name, text) = wish(properties)?;
    let due_ms = time_of(name, text, now_ms)?;
    (due_ms > now_ms).then(|| Timer { due_ms, out_ms: out_ms(due_ms, precision_ms) })
}

/// The property that asks for a time, and what it says.
fn wish<'p>(properties: &'p Properties<'_>) -> Option<(&'static str, &'p str)> {
    if properties.contains(property::TIMER_OUT_MS) {
        return None;
    }
    TIMER_WISHES.iter().find_map(|name| Some((*name, properties.get(name)?)))
}

/// The time of delivery in milliseconds; `None` when it is no number.
fn time_of(name: &str, text: &str, now_ms: i64) -> Option<i64> {
    let value: i64 = text.parse().ok()?;
    Some(match name {
        property::TIMER_DELAY_SEC => now_ms.saturating_add(value.saturating_mul(1000)),
        property::TIMER_DELAY_MS => now_ms.saturating_add(value),
        _ => value,
    })
}

fn illegal(rules: &Messages, why: &str) -> Refusal {
    let remark = format!(
        "timer message illegal, the delay time should not be bigger than the max delay {}ms; \
         or if set del msg, the delay time should be bigger than the current time: {why}",
        max_delay_ms(rules)
    );
    Refusal::new(ResponseCode::MESSAGE_ILLEGAL, remark)
}

fn max_delay_ms(rules: &Messages) -> i64 {
    i64::try_from(rules.max_timer_delay.as_millis()).unwrap_or(i64::MAX)
}
