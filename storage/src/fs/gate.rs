//! A door that a test closes: whoever comes to it waits until it is opened again.

use parking_lot::{Condvar, Mutex};

#[derive(Debug, Default)]
struct State {
    is_closed: bool,
    waiting: usize,
}

/// The door. Open at first.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    /// Lets nobody pass.
    pub fn close(&self) {
        self.state.lock().is_closed = true;
    }

    /// Lets everybody pass.
    pub fn open(&self) {
        self.state.lock().is_closed = false;
        self.changed.notify_all();
    }

    /// Returns when the door is open.
    pub fn pass(&self) {
        let mut state = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| state.is_closed);
        state.waiting -= 1;
    }

    /// Returns when somebody stands before the closed door.
    pub fn until_somebody_waits(&self) {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| !state.is_closed || state.waiting == 0);
    }
}
