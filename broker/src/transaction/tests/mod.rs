mod apache;
mod bench;
mod checking;
mod ending;
mod restarting;
mod wire;
