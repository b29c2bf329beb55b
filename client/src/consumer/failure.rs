//! Why a message could not be handled, and what shall become of it.

use std::{fmt::Display, time::Duration};

/// The cause of a failed try. It travels with the message (our broker keeps it, Apache's passes it over), so that dead
/// letters can be counted and sent again by what went wrong.
///
/// ```
/// use tenonmq_client::{ConsumeOutcome, Failure};
/// let full = std::io::Error::other("disk full");
/// let outcome = ConsumeOutcome::Failed(Failure::of(&full).retry_at_level(5));
/// assert_eq!(Failure::of(&full).class(), "std::io::error::Error");
/// let hopeless = ConsumeOutcome::Failed(Failure::new("schema.Unknown", "version 7").dead_letter());
/// assert_ne!(outcome, hopeless);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    class: String,
    digest: String,
    pub(super) wish: Wish,
}

/// What the handler asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Wish {
    /// A retry, after a pause that grows with the tries.
    #[default]
    Retry,
    /// A retry after that delay level.
    Level(u8),
    /// No retry.
    DeadLetter,
}

impl Failure {
    /// A cause by its class (what failures are counted by, such as an error's type) and a short text that tells failures
    /// of one class apart.
    pub fn new(class: impl Into<String>, digest: impl Into<String>) -> Self {
        Self { class: class.into(), digest: digest.into(), wish: Wish::Retry }
    }

    /// The error's type and the first line of its text.
    pub fn of<E: Display + ?Sized>(error: &E) -> Self {
        let text = error.to_string();
        Self::new(std::any::type_name::<E>(), text.lines().next().unwrap_or_default())
    }

    /// Asks for the next try after that delay level of the broker, 1 to 18.
    #[must_use]
    pub fn retry_at_level(mut self, level: u8) -> Self {
        self.wish = Wish::Level(level);
        self
    }

    /// Asks for no further try: to the dead-letter topic.
    #[must_use]
    pub fn dead_letter(mut self) -> Self {
        self.wish = Wish::DeadLetter;
        self
    }

    /// What failures are counted by; empty when the handler gave no cause.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// What tells failures of one class apart.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The wire's delay level: 0 leaves the pause to the broker, a negative one asks for the dead-letter topic.
    pub(super) fn delay_level(&self) -> i32 {
        match self.wish {
            Wish::Retry => 0,
            Wish::Level(level) => i32::from(level),
            Wish::DeadLetter => -1,
        }
    }
}

/// How long a queue whose head failed waits before it is tried again: Apache's default delay levels.
pub(super) fn pause_of_level(level: u8) -> Duration {
    const SECONDS: [u64; 18] = [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
    let at = usize::from(level).clamp(1, SECONDS.len()) - 1;
    Duration::from_secs(SECONDS.get(at).copied().unwrap_or(1))
}
