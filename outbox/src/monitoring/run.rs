//! Reading, judging and telling, in turn.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tracing::{error, warn};

use super::{AlertSettings, Alerts, Finding, Notice, Part, Reading, Rules, Severity};
use crate::{
    clock::{Clock, SystemClock, millis},
    running::Running,
};

/// Notices that wait for one channel; beyond it the oldest are dropped, and logged.
const MOST_WAITING: usize = 64;

/// A way to people: `WebHook`, `Mail`, or what one writes oneself.
pub trait Channel: Send + Sync + 'static {
    /// Its name, for the log.
    fn name(&self) -> &str;

    /// Tells it; the error says why not, and it is tried again with the next pass. Must end within some seconds.
    fn tell<'a>(&'a self, notice: &'a Notice) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;
}

/// Watches over parts of a service. In one instance, or each instance tells the same.
pub struct Monitor {
    parts: Vec<Box<dyn Part>>,
    lines: Vec<Line>,
    rules: Rules,
    alerts: Arc<Mutex<Alerts>>,
    clock: Arc<dyn Clock>,
    period: Duration,
}

/// A channel, and what it is still to be told.
struct Line {
    channel: Box<dyn Channel>,
    waiting: VecDeque<Notice>,
}

impl Default for Monitor {
    fn default() -> Self {
        Self::new(Rules::default(), AlertSettings::default())
    }
}

impl Monitor {
    /// Watches nothing yet and tells nobody.
    pub fn new(rules: Rules, settings: AlertSettings) -> Self {
        Self {
            parts: Vec::new(),
            lines: Vec::new(),
            rules,
            alerts: Arc::new(Mutex::new(Alerts::new(settings))),
            clock: Arc::new(SystemClock),
            period: Duration::from_secs(15),
        }
    }

    /// Watches an outbox, its half messages, an inbox or a notifier.
    #[must_use]
    pub fn watch(mut self, part: impl Part) -> Self {
        self.parts.push(Box::new(part));
        self
    }

    /// Tells people this way too.
    #[must_use]
    pub fn tell(mut self, channel: impl Channel) -> Self {
        self.lines.push(Line { channel: Box::new(channel), waiting: VecDeque::new() });
        self
    }

    /// Tells the time. Default the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How often it looks. Default 15 s.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period.max(Duration::from_millis(1));
        self
    }

    /// The alerts, to mute them or to take one on while it runs.
    pub fn alerts(&self) -> Arc<Mutex<Alerts>> {
        Arc::clone(&self.alerts)
    }

    /// Looks once, and tells what is to be told. A part that cannot be read is critical itself: its database is away.
    /// Returns what was read.
    pub async fn pass(&mut self) -> Vec<Reading> {
        let (mut readings, mut findings) = (Vec::new(), Vec::new());
        for part in &self.parts {
            match part.read().await {
                Ok(reading) => readings.push(reading),
                Err(error) => findings.push(Finding {
                    group: "messaging".to_owned(),
                    rule: "unreadable".to_owned(),
                    part: part.name(),
                    severity: Severity::Critical,
                    text: error.to_string().chars().take(200).collect(),
                }),
            }
        }
        let now_ms = self.clock.now_ms();
        findings.extend(self.rules.findings(now_ms, &readings));
        let notices = self.alerts.lock().observe(now_ms, &findings);
        for line in &mut self.lines {
            line.waiting.extend(notices.iter().cloned());
            line.send().await;
        }
        readings
    }

    /// Starts watching, in a task of its own.
    pub fn start(mut self) -> RunningMonitor {
        let (mut running, mut stopped) = Running::new();
        running.spawn(async move {
            let clock = Arc::clone(&self.clock);
            while !*stopped.borrow() {
                self.pass().await;
                let next_ms = clock.now_ms().saturating_add(millis(self.period));
                tokio::select! {
                    () = clock.wait_until(next_ms) => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            }
        });
        RunningMonitor(running)
    }
}

impl Line {
    /// In order, up to the first that fails: it comes again with the next pass.
    async fn send(&mut self) {
        while self.waiting.len() > MOST_WAITING {
            if let Some(dropped) = self.waiting.pop_front() {
                error!(channel = self.channel.name(), notice = dropped.title(), "a notice is dropped, nobody takes it");
            }
        }
        while let Some(notice) = self.waiting.front() {
            if let Err(cause) = self.channel.tell(notice).await {
                warn!(channel = self.channel.name(), notice = notice.title(), cause, "a notice is not taken");
                return;
            }
            self.waiting.pop_front();
        }
    }
}

/// A monitor at work. Dropping it ends it.
#[derive(Debug)]
pub struct RunningMonitor(Running);

impl RunningMonitor {
    /// Ends after the pass that is under way.
    pub async fn shutdown(self) {
        self.0.shutdown().await;
    }
}
