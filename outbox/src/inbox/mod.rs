//! Messages that take effect once. (The table is there; the calls follow.)
