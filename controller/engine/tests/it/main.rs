//! The real engine on the embedded server under paused time, with agents driven by hand.

mod agent;
mod blindness;
mod first_light;
mod leaders;
mod stage;
mod zz_real;
