//! The lease log's records: how what happened is written, and read again.
//!
//! A record is a checksum (CRC-32 of what follows), its length with head (both 4 bytes), a kind (1 byte), the number of the queue state
//! that it concerns (4 bytes), and what its kind says. Integers are big-endian.

use bytes::{Buf, BufMut};

use super::{
    lease::{Change, Lease, LeaseKey},
    order::Order,
};

/// Bytes before the kind.
const HEAD: usize = 8;
/// Longest record: names and messages of one ordered pop.
pub const RECORD_MAX: usize = 16 * 1024;

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The whole state of a queue follows: as many [`Event::Kept`] as it says. It counts once all are there.
    Queue {
        /// Whose it is.
        group: String,
        /// Topic.
        topic: String,
        /// Queue of the topic.
        queue_id: i32,
        /// Where the next pop begins.
        next: i64,
        /// Leases that follow.
        leases: u32,
        /// What an ordered group holds.
        order: Option<Order>,
    },
    /// A lease of the state that is being told.
    Kept(LeaseKey, Lease),
    /// Something happened.
    Change(Change),
    /// An ordered group holds this now; `None`: nothing.
    Ordered(Option<Order>),
    /// Messages of an ordered pop are done: these and those before.
    OrderAcked {
        /// The pop.
        pop_time: i64,
        /// All that are done, a bit each.
        bits: u64,
    },
    /// Group, topic or queue are gone, and the state with them.
    Dropped,
    /// First in each file: how many bytes the file before it had. Concerns no state.
    Continues {
        /// Length of its records.
        end: u64,
    },
}

mod kind {
    pub(super) const QUEUE: u8 = 1;
    pub(super) const KEPT: u8 = 2;
    pub(super) const LEASED: u8 = 3;
    pub(super) const ACKED: u8 = 4;
    pub(super) const MOVED: u8 = 5;
    pub(super) const RETURNED: u8 = 6;
    pub(super) const RESET: u8 = 7;
    pub(super) const ORDERED: u8 = 8;
    pub(super) const ORDER_ACKED: u8 = 9;
    pub(super) const DROPPED: u8 = 10;
    pub(super) const CONTINUES: u8 = 11;
}

/// Appends a record about the state `id`.
pub fn encode(id: u32, event: &Event, out: &mut impl Buffer) {
    framed(id, kind_of(event), out, |out| match event {
        Event::Queue { group, topic, queue_id, next, leases, order } => {
            put_text(group, out);
            put_text(topic, out);
            out.put_i32(*queue_id);
            out.put_i64(*next);
            out.put_u32(*leases);
            put_order(order.as_ref(), out);
        }
        Event::Kept(key, lease) => put_lease(*key, lease, out),
        Event::Change(change) => put_change(change, out),
        Event::Ordered(order) => put_order(order.as_ref(), out),
        Event::OrderAcked { pop_time, bits } => {
            out.put_i64(*pop_time);
            out.put_u64(*bits);
        }
        Event::Dropped => {}
        Event::Continues { end } => out.put_u64(*end),
    });
}

/// As [`encode`] of an [`Event::Change`], without owning it.
pub fn encode_change(id: u32, change: &Change, out: &mut impl Buffer) {
    framed(id, kind_of_change(change), out, |out| put_change(change, out));
}

/// The record at the start of `bytes`, with its length. `None` at the end of what was written, and where it is damaged.
pub fn decode(bytes: &[u8]) -> Option<(u32, Event, usize)> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    let (len, _) = rest.split_first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    if !(HEAD + 5..=RECORD_MAX).contains(&len) {
        return None;
    }
    let checked = bytes.get(4..len)?;
    if crc32fast::hash(checked) != u32::from_be_bytes(*crc) {
        return None;
    }
    let mut content = checked.get(4..)?;
    let (kind, id) = (content.try_get_u8().ok()?, content.try_get_u32().ok()?);
    Some((id, event(kind, &mut content)?, len))
}

/// Where records are encoded to.
pub trait Buffer: BufMut {
    /// What was written so far.
    fn written(&mut self) -> &mut [u8];
}

impl Buffer for Vec<u8> {
    fn written(&mut self) -> &mut [u8] {
        self
    }
}

fn framed<B: Buffer>(id: u32, kind: u8, out: &mut B, content: impl FnOnce(&mut B)) {
    let start = out.written().len();
    out.put_u64(0);
    out.put_u8(kind);
    out.put_u32(id);
    content(out);
    let Some(record) = out.written().get_mut(start..) else { return };
    let len = u32::try_from(record.len()).unwrap_or(u32::MAX);
    if let Some(place) = record.get_mut(4..HEAD) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    let crc = crc32fast::hash(record.get(4..).unwrap_or_default());
    if let Some(place) = record.get_mut(..4) {
        place.copy_from_slice(&crc.to_be_bytes());
    }
}

fn kind_of(event: &Event) -> u8 {
    match event {
        Event::Queue { .. } => kind::QUEUE,
        Event::Kept(..) => kind::KEPT,
        Event::Change(change) => kind_of_change(change),
        Event::Ordered(_) => kind::ORDERED,
        Event::OrderAcked { .. } => kind::ORDER_ACKED,
        Event::Dropped => kind::DROPPED,
        Event::Continues { .. } => kind::CONTINUES,
    }
}

fn kind_of_change(change: &Change) -> u8 {
    match change {
        Change::Leased { .. } => kind::LEASED,
        Change::Acked { .. } => kind::ACKED,
        Change::Moved { .. } => kind::MOVED,
        Change::Returned { .. } => kind::RETURNED,
        Change::Reset { .. } => kind::RESET,
    }
}

fn event(kind: u8, from: &mut &[u8]) -> Option<Event> {
    let event = match kind {
        kind::QUEUE => Event::Queue {
            group: text(from)?,
            topic: text(from)?,
            queue_id: from.try_get_i32().ok()?,
            next: from.try_get_i64().ok()?,
            leases: from.try_get_u32().ok()?,
            order: order(from)?,
        },
        kind::KEPT => {
            let (key, lease) = lease(from)?;
            Event::Kept(key, lease)
        }
        kind::LEASED => {
            let next = from.try_get_i64().ok()?;
            let (key, lease) = lease(from)?;
            Event::Change(Change::Leased { key, lease, next })
        }
        kind::ACKED => Event::Change(Change::Acked { key: key(from)?, bits: from.try_get_u32().ok()? }),
        kind::MOVED => Event::Change(Change::Moved {
            key: key(from)?,
            index: from.try_get_u32().ok()?,
            pop_time: from.try_get_i64().ok()?,
            invisible: from.try_get_i64().ok()?,
            physical: from.try_get_u64().ok()?,
        }),
        kind::RETURNED => Event::Change(Change::Returned {
            key: key(from)?,
            index: from.try_get_u32().ok()?,
            copy_end: from.try_get_u64().ok()?,
        }),
        kind::RESET => Event::Change(Change::Reset { next: from.try_get_i64().ok()? }),
        kind::ORDERED => Event::Ordered(order(from)?),
        kind::ORDER_ACKED => Event::OrderAcked { pop_time: from.try_get_i64().ok()?, bits: from.try_get_u64().ok()? },
        kind::DROPPED => Event::Dropped,
        kind::CONTINUES => Event::Continues { end: from.try_get_u64().ok()? },
        _ => return None,
    };
    Some(event)
}

fn put_change(change: &Change, out: &mut impl BufMut) {
    match change {
        Change::Leased { key, lease, next } => {
            out.put_i64(*next);
            put_lease(*key, lease, out);
        }
        Change::Acked { key, bits } => {
            put_key(*key, out);
            out.put_u32(*bits);
        }
        Change::Moved { key, index, pop_time, invisible, physical } => {
            put_key(*key, out);
            out.put_u32(*index);
            out.put_i64(*pop_time);
            out.put_i64(*invisible);
            out.put_u64(*physical);
        }
        Change::Returned { key, index, copy_end } => {
            put_key(*key, out);
            out.put_u32(*index);
            out.put_u64(*copy_end);
        }
        Change::Reset { next } => out.put_i64(*next),
    }
}

fn put_key(key: LeaseKey, out: &mut impl BufMut) {
    out.put_i64(key.start);
    out.put_i64(key.pop_time);
}

fn key(from: &mut &[u8]) -> Option<LeaseKey> {
    Some(LeaseKey { start: from.try_get_i64().ok()?, pop_time: from.try_get_i64().ok()? })
}

fn put_lease(key: LeaseKey, lease: &Lease, out: &mut impl BufMut) {
    put_key(key, out);
    out.put_i64(lease.invisible);
    out.put_i32(lease.revive_queue);
    out.put_u64(lease.physical);
    out.put_u32(lease.pending);
    out.put_u8(lease.count);
    out.put_u8(u8::from(lease.deltas.is_some()));
    for delta in lease.deltas.iter().flat_map(|deltas| deltas.iter()) {
        out.put_u32(*delta);
    }
}

fn lease(from: &mut &[u8]) -> Option<(LeaseKey, Lease)> {
    let key = key(from)?;
    let invisible = from.try_get_i64().ok()?;
    let revive_queue = from.try_get_i32().ok()?;
    let physical = from.try_get_u64().ok()?;
    let pending = from.try_get_u32().ok()?;
    let count = from.try_get_u8().ok()?;
    let deltas = match from.try_get_u8().ok()? {
        0 => None,
        _ => Some((0..count).map(|_| from.try_get_u32().ok()).collect::<Option<Box<[u32]>>>()?),
    };
    Some((key, Lease { invisible, revive_queue, physical, count, deltas, pending }))
}

fn put_text(text: &str, out: &mut impl BufMut) {
    out.put_u16(u16::try_from(text.len()).unwrap_or(0)); // names are far shorter: checked before a state is made
    if u16::try_from(text.len()).is_ok() {
        out.put_slice(text.as_bytes());
    }
}

fn text(from: &mut &[u8]) -> Option<String> {
    let len = usize::from(from.try_get_u16().ok()?);
    let (text, rest) = from.split_at_checked(len)?;
    *from = rest;
    String::from_utf8(text.to_vec()).ok()
}

fn put_order(order: Option<&Order>, out: &mut impl BufMut) {
    let Some(order) = order else { return out.put_u8(0) };
    out.put_u8(if order.attempt.is_some() { 2 } else { 1 });
    out.put_i64(order.pop_time);
    out.put_i64(order.invisible);
    out.put_i64(order.last_consumed);
    out.put_u64(order.acked);
    put_text(order.attempt.as_deref().unwrap_or_default(), out);
    out.put_u8(order.offsets.len() as u8);
    order.offsets.iter().for_each(|offset| out.put_i64(*offset));
    out.put_u8(order.visible_at.len() as u8);
    for (offset, at) in &order.visible_at {
        out.put_i64(*offset);
        out.put_i64(*at);
    }
    out.put_u8(order.counts.len() as u8);
    for (offset, count) in &order.counts {
        out.put_i64(*offset);
        out.put_i32(*count);
    }
}

fn order(from: &mut &[u8]) -> Option<Option<Order>> {
    let kind = from.try_get_u8().ok()?;
    if kind == 0 {
        return Some(None);
    }
    let mut order = Order {
        pop_time: from.try_get_i64().ok()?,
        invisible: from.try_get_i64().ok()?,
        last_consumed: from.try_get_i64().ok()?,
        acked: from.try_get_u64().ok()?,
        ..Order::default()
    };
    let attempt = text(from)?;
    order.attempt = (kind == 2).then(|| attempt.into());
    for _ in 0..from.try_get_u8().ok()? {
        order.offsets.push(from.try_get_i64().ok()?);
    }
    for _ in 0..from.try_get_u8().ok()? {
        order.visible_at.insert(from.try_get_i64().ok()?, from.try_get_i64().ok()?);
    }
    for _ in 0..from.try_get_u8().ok()? {
        order.counts.insert(from.try_get_i64().ok()?, from.try_get_i32().ok()?);
    }
    Some(Some(order))
}
