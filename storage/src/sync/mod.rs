//! The locks and atomics with which the store, and who waits on it, agree between threads.
//!
//! They are those of `parking_lot` and of the standard library. With the feature `loom` they are loom's, which tries every
//! order in which threads can meet and every value that a weak memory may show; then nothing runs outside a model.
//! Only the tests called `models` turn it on.

#[cfg(feature = "loom")]
mod modelled;
#[cfg(feature = "loom")]
mod witness;

#[cfg(feature = "loom")]
pub use self::modelled::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(feature = "loom")]
pub(crate) use self::witness::{Cells, Witness};
#[cfg(feature = "loom")]
pub use loom::sync::atomic;

#[cfg(not(feature = "loom"))]
pub use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
#[cfg(not(feature = "loom"))]
pub use std::sync::atomic;
