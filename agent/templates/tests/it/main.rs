//! Values and templates into text and files, as the agent and the command line go through it.

mod languages;
mod messages;
mod stories;
mod world;
