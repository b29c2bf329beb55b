//! Who is told when notifications fail for good: once, however many they are.

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tenonmq_outbox::monitoring::{Channel, Notice};

/// Somebody on duty, who reads the standard output. A service tells a `WebHook` or a `Mail`.
#[derive(Clone, Default)]
pub(crate) struct Duty {
    notices: Arc<AtomicU32>,
}

impl Duty {
    /// How often people were disturbed.
    pub(crate) fn notices(&self) -> u32 {
        self.notices.load(Ordering::Relaxed)
    }
}

impl Channel for Duty {
    fn name(&self) -> &str {
        "duty"
    }

    fn tell<'a>(&'a self, notice: &'a Notice) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        println!("people are told: {}\n{}", notice.title(), notice.lines());
        self.notices.fetch_add(1, Ordering::Relaxed);
        Box::pin(ready(Ok(())))
    }
}
