//! The reconcilers: capture a World, plan, commit under a fence, report.
