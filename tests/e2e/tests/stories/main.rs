//! Stories of the built binary on real Consul servers.
#![allow(clippy::unwrap_used, reason = "a story fails by panicking, in its helpers too")]

mod fleet;
mod picture;
mod specs;

mod agent_service;
mod built;
mod changes;
mod containerpilot;
mod containerpilot_control;
mod counts;
mod deaths;
mod described;
mod doctor;
mod drift;
mod ends;
mod failover;
mod following;
mod from_consul_template;
mod golden;
mod harness;
mod helios;
mod jobs;
mod limited;
mod looking;
mod notified;
mod numbers;
mod outage;
mod packages;
mod people;
mod planned;
mod readme;
mod real_nginx;
mod real_nix;
mod rendered;
mod rights;
mod rolling;
mod said;
mod screens;
mod shell;
mod steering;
mod switched;
mod terminal;
mod traffic;
mod values;
mod variables;
