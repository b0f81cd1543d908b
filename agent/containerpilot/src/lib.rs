//! x
#![allow(dead_code)]
mod json5;
mod near;
mod number;
mod template;
