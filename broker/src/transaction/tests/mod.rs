mod apache;
mod bench;
mod checking;
mod ending;
mod restarting;
mod threads_checks;
mod threads_ends;
mod wire;
