//! Signatures of notifications and of queries: HMAC-SHA256 over a text that begins with the time.
//!
//! The header `X-Signature` is `t=<ms since the Unix epoch>,v1=<64 hexadecimal digits>`; while a key is being replaced there
//! is one `v1` for each key, and one that fits is enough. What is signed, with `\n` between the parts:
//!
//! * a notification: `notification`, `t`, the header `X-Business-Type`, the header `X-Business-ID`, the body;
//! * a query: `query`, `t`, the header `X-Receiver`, the query string of the URL as it was sent.
//!
//! Headers are signed as they are sent: visible ASCII, everything else percent-encoded.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::millis;

/// Most `v1` of one header that are looked at.
const MOST_DIGESTS: usize = 8;

/// A secret that one receiver and we share. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// From any bytes; 32 random ones are best.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        Self(secret.as_ref().into())
    }

    /// A key for one receiver, made from this one: who has it learns nothing of the others.
    #[must_use]
    pub fn derived_for(&self, receiver: &str) -> Self {
        Self::new(self.digest(&[b"receiver\n", receiver.as_bytes()]).finalize().into_bytes())
    }

    /// The key as the receiver is given it, in hexadecimal digits of its bytes.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// The digest of a time and this key under this key, as DingTalk's robots want it.
    pub(crate) fn authenticate_with_itself(&self, now_ms: i64) -> [u8; 32] {
        self.digest(&[now_ms.to_string().as_bytes(), b"\n", &self.0]).finalize().into_bytes().into()
    }

    pub(super) fn digest(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Knows the keys of receivers: a map, a function, or [`DerivedKeys`]. Asked for each try, so that a key can be replaced
/// while running; it must not block.
pub trait Keys: Send + Sync + 'static {
    /// The receiver's keys: usually one, two while one is replaced by the other, none for a stranger.
    fn of(&self, receiver: &str) -> Vec<Key>;
}

impl Keys for HashMap<String, Key> {
    fn of(&self, receiver: &str) -> Vec<Key> {
        self.get(receiver).cloned().into_iter().collect()
    }
}

impl<F: Fn(&str) -> Vec<Key> + Send + Sync + 'static> Keys for F {
    fn of(&self, receiver: &str) -> Vec<Key> {
        self(receiver)
    }
}

/// One secret of ours, from which [each receiver's key](Key::derived_for) is made.
#[derive(Debug, Clone)]
pub struct DerivedKeys(pub Key);

impl Keys for DerivedKeys {
    fn of(&self, receiver: &str) -> Vec<Key> {
        vec![self.0.derived_for(receiver)]
    }
}

/// What a signature covers. The same type signs and verifies, so that both sides agree.
///
/// ```
/// use std::time::Duration;
/// use tenonmq_outbox::notification::{Key, Signed};
/// let key = Key::new("shared with merchant-7");
/// let signed = Signed::Notification { business_type: "paid", business_id: "order-42/paid", body: b"{}" };
/// let header = signed.sign(std::slice::from_ref(&key), 1_700_000_000_000);
/// let five_minutes = Duration::from_secs(300);
/// assert!(signed.verify(std::slice::from_ref(&key), &header, 1_700_000_000_900, five_minutes).is_ok());
/// let other = Signed::Notification { business_type: "paid", business_id: "order-43/paid", body: b"{}" };
/// assert!(other.verify(&[key], &header, 1_700_000_000_900, five_minutes).is_err());
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Signed<'a> {
    /// A notification, which we sign and its receiver verifies.
    Notification {
        /// The header `X-Business-Type`.
        business_type: &'a str,
        /// The header `X-Business-ID`.
        business_id: &'a str,
        /// The whole body.
        body: &'a [u8],
    },
    /// A query, which a receiver signs and we verify.
    Query {
        /// The header `X-Receiver`.
        receiver: &'a str,
        /// What is behind the `?` of the URL, as it is sent; empty without.
        query: &'a str,
    },
}

/// Why a signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureFault {
    /// It is not `t=<ms>,v1=<hex>`.
    #[error("the signature is not of the form t=<ms>,v1=<64 hexadecimal digits>")]
    Malformed,
    /// Its time is too far from now: a repeated request, or a wrong clock.
    #[error("the signature's time is {off_ms} ms away from now")]
    Stale {
        /// How far, in ms.
        off_ms: u64,
    },
    /// It was made with another key, or of something else.
    #[error("the signature does not fit")]
    Wrong,
}

impl Signed<'_> {
    /// The header `X-Signature`, with one digest for each key.
    pub fn sign(&self, keys: &[Key], now_ms: i64) -> String {
        let digests = keys.iter().map(|key| format!(",v1={}", hex(&self.digest(key, now_ms).finalize().into_bytes())));
        format!("t={now_ms}{}", digests.collect::<String>())
    }

    /// Whether `header` was made of this with one of `keys`, no longer than `tolerance` ago (or ahead, as clocks differ).
    /// Takes equally long however much of a digest is right.
    ///
    /// # Errors
    /// [`SignatureFault`].
    pub fn verify(&self, keys: &[Key], header: &str, now_ms: i64, tolerance: Duration) -> Result<(), SignatureFault> {
        let mut parts = header.split(',').map(str::trim);
        let time = parts.next().and_then(|part| part.strip_prefix("t=")).ok_or(SignatureFault::Malformed)?;
        let time_ms: i64 = time.parse().map_err(|_| SignatureFault::Malformed)?;
        let digests: Vec<[u8; 32]> =
            parts.filter_map(|part| part.strip_prefix("v1=")).take(MOST_DIGESTS).filter_map(unhex).collect();
        if digests.is_empty() {
            return Err(SignatureFault::Malformed);
        }
        let fits = |key: &Key| {
            let expected = self.digest(key, time_ms);
            digests.iter().any(|digest| expected.clone().verify_slice(digest).is_ok())
        };
        if !keys.iter().any(fits) {
            return Err(SignatureFault::Wrong);
        }
        match now_ms.abs_diff(time_ms) {
            off_ms if off_ms > millis(tolerance).unsigned_abs() => Err(SignatureFault::Stale { off_ms }),
            _ => Ok(()),
        }
    }

    fn digest(&self, key: &Key, time_ms: i64) -> Hmac<Sha256> {
        let time = time_ms.to_string();
        let time = time.as_bytes();
        match *self {
            Self::Notification { business_type, business_id, body } => key.digest(&[
                b"notification\n",
                time,
                b"\n",
                business_type.as_bytes(),
                b"\n",
                business_id.as_bytes(),
                b"\n",
                body,
            ]),
            Self::Query { receiver, query } => {
                key.digest(&[b"query\n", time, b"\n", receiver.as_bytes(), b"\n", query.as_bytes()])
            }
        }
    }
}

/// A text as a header carries it: visible ASCII as it is, everything else (and `%`) percent-encoded.
pub(super) fn header_text(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x20 | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let (pairs, mut bytes) = (text.as_bytes().chunks_exact(2), [0; 32]);
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(300);
    const NOW_MS: i64 = 1_700_000_000_000;

    fn paid<'a>(id: &'a str, body: &'a [u8]) -> Signed<'a> {
        Signed::Notification { business_type: "paid", business_id: id, body }
    }

    #[test]
    fn a_signature_holds_for_what_was_signed_and_nothing_else() {
        let key = Key::new("k");
        let header = paid("1", b"{}").sign(std::slice::from_ref(&key), NOW_MS);
        let check = |signed: Signed<'_>, keys: &[Key], header: &str| signed.verify(keys, header, NOW_MS, TOLERANCE);
        assert_eq!(check(paid("1", b"{}"), std::slice::from_ref(&key), &header), Ok(()));
        assert_eq!(check(paid("2", b"{}"), std::slice::from_ref(&key), &header), Err(SignatureFault::Wrong));
        assert_eq!(check(paid("1", b"{ }"), std::slice::from_ref(&key), &header), Err(SignatureFault::Wrong));
        assert_eq!(check(paid("1", b"{}"), &[Key::new("l")], &header), Err(SignatureFault::Wrong));
        assert_eq!(check(paid("1", b"{}"), &[], &header), Err(SignatureFault::Wrong));
        let later = header.replace("t=1700000000000", "t=1700000000001");
        assert_eq!(check(paid("1", b"{}"), &[key], &later), Err(SignatureFault::Wrong));
    }

    #[test]
    fn the_known_digest_of_the_documented_text() {
        // printf 'notification\n1700000000000\npaid\n1\n{}' | openssl dgst -sha256 -hmac k
        let header = paid("1", b"{}").sign(&[Key::new("k")], NOW_MS);
        assert_eq!(header, "t=1700000000000,v1=0f7b3604dfcef346722cc6d0e87d21d29e87c454fb744937afc9d724f9b32e21");
    }

    #[test]
    fn while_a_key_is_replaced_either_is_enough() {
        let (old, new) = (Key::new("old"), Key::new("new"));
        let header = paid("1", b"").sign(&[old.clone(), new.clone()], NOW_MS);
        for key in [old, new] {
            assert_eq!(paid("1", b"").verify(&[key], &header, NOW_MS, TOLERANCE), Ok(()));
        }
    }

    #[test]
    fn a_signature_from_another_time_is_stale_either_way() {
        let key = [Key::new("k")];
        let header = paid("1", b"").sign(&key, NOW_MS);
        for (now_ms, off_ms) in [(NOW_MS + 300_001, 300_001), (NOW_MS - 300_002, 300_002)] {
            let verified = paid("1", b"").verify(&key, &header, now_ms, TOLERANCE);
            assert_eq!(verified, Err(SignatureFault::Stale { off_ms }));
        }
        assert_eq!(paid("1", b"").verify(&key, &header, NOW_MS + 300_000, TOLERANCE), Ok(()));
    }

    #[test]
    fn what_is_no_signature_is_malformed_and_never_a_panic() {
        let long = format!("t=1,v1={}", "é".repeat(32));
        for header in
            ["", "t=", "t=x,v1=00", "v1=00", "t=1", "t=1,v1=", "t=1,v1=zz", "t=99999999999999999999,v1=0", &long]
        {
            let verified = paid("1", b"").verify(&[Key::new("k")], header, NOW_MS, TOLERANCE);
            assert_eq!(verified, Err(SignatureFault::Malformed), "{header}");
        }
    }

    #[test]
    fn derived_keys_differ_by_receiver_and_keys_are_not_printed() {
        let keys = DerivedKeys(Key::new("ours"));
        assert_ne!(keys.of("a"), keys.of("b"));
        assert_eq!(keys.of("a"), keys.of("a"));
        assert_eq!(format!("{keys:?}"), "DerivedKeys(Key(..))");
    }

    #[test]
    fn headers_are_visible_ascii() {
        assert_eq!(header_text("订单/1 %"), "%E8%AE%A2%E5%8D%95/1%20%25");
    }
}
